"""Every form of numbers and vectors, read back by another's reader or from its specification."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from stickgen.errors import ConfigError
from stickgen.mocap.importers.bvh import read_positions
from stickgen.motion.bones import _BONES
from stickgen.motion.skeleton import rest_pose, skeleton_of
from stickgen.render import FORMS, Panel, Style, save
from stickgen.render.draw import FADED, LINE
from stickgen.render.layout import Picture
from tests.render.figures import walking

FIXED = Style(size=96, camera="fixed")
CLOSE = 1e-4
"""Body heights: how exactly every form returns its motion."""
NASTY = "a <b>walk</b> & </title><script>alert(1)</script> \u2028 \"'"


def moving(dim: int, frames: int = 20, seed: int = 0) -> np.ndarray:
    """A figure whose joints go round in circles, so that bones turn, stretch and shrink, ``[T, D]`` float32."""
    skeleton = skeleton_of(dim)
    generator = np.random.default_rng(seed)
    count = len(skeleton.joints)
    turn = generator.uniform(0, 2 * np.pi, count) + np.linspace(0, 9, frames)[:, None] * generator.normal(size=count)
    joints = skeleton.to_joints(np.tile(np.array(rest_pose(dim)), (frames, 1)))
    joints = joints + 0.3 * np.stack((np.cos(turn), np.sin(turn)), axis=-1)
    joints[..., 0] += np.linspace(0, 3, frames)[:, None]
    return skeleton.from_joints(joints).astype(np.float32)


def ends_of(motion: np.ndarray, name: str) -> np.ndarray:
    """The ends of a segment ``[T, 2, 2]``."""
    number = [segment.name for segment in skeleton_of(motion.shape[-1]).segments].index(name)
    return motion.reshape(len(motion), -1, 2, 2)[:, number].astype(np.float64)


def names_of(dim: int) -> list[str]:
    return [segment.name for segment in skeleton_of(dim).segments]


def assert_similar(pixels: np.ndarray, points: np.ndarray) -> None:
    """Check that pixels ``[N, 2]``, y down, are points moved and scaled by one factor, to 1e-4 of the points' unit."""
    flipped = points * [1, -1]
    middle, centre = pixels.mean(0), flipped.mean(0)
    scale = ((pixels - middle) * (flipped - centre)).sum() / ((flipped - centre) ** 2).sum()
    assert scale > 10
    np.testing.assert_allclose((pixels - middle) / scale + centre, flipped, atol=CLOSE)


@pytest.mark.parametrize("dim", [20, 48])
def test_bvh_puts_every_joint_where_it_is(tmp_path: Path, dim: int) -> None:
    pytest.importorskip("pybvh")
    motion = moving(dim)
    save(tmp_path / "w.bvh", Panel(motion), fps=30)
    names, positions, frame_time = read_positions(tmp_path / "w.bvh")
    assert frame_time == pytest.approx(1 / 30, abs=1e-8)
    joints = skeleton_of(dim).joints
    found = positions[:, [names.index(joint) for joint in joints]]
    np.testing.assert_allclose(found[..., :2], skeleton_of(dim).to_joints(motion), atol=CLOSE)
    assert np.abs(found[..., 2]).max() == 0
    assert "head" in names


@pytest.mark.parametrize("dim", [20, 48])
def test_bvh_turns_its_bones_for_readers_of_rotations_alone(tmp_path: Path, dim: int) -> None:
    motion = moving(dim)
    save(tmp_path / "w.bvh", Panel(motion))
    lines = (tmp_path / "w.bvh").read_text().splitlines()
    names = [line.split()[1] for line in lines if line.split()[0] in ("ROOT", "JOINT")]
    start = next(i for i, line in enumerate(lines) if line.startswith("Frame Time"))
    turns = np.loadtxt(lines[start + 1 :]).reshape(len(motion), len(names), 6)[..., 3]
    assert np.abs(np.diff(turns, axis=0)).max() <= 360  # two bones of at most half a turn each
    depths = [line.count("\t") for line in lines if line.split()[0] in ("ROOT", "JOINT")]
    for limb, (start_joint, end_joint) in {
        "left": ("left_hip", "left_ankle" if dim == 20 else "left_knee"),
        "right": ("right_shoulder", "right_wrist" if dim == 20 else "right_elbow"),
    }.items():
        place, total = names.index(start_joint), np.zeros(len(motion))
        depth = depths[place]
        while depth >= 0:
            total += turns[:, place]
            while place and depths[place] >= depth:
                place -= 1
            depth -= 1
        skeleton = skeleton_of(dim)
        joints = skeleton.to_joints(motion)
        begin = {"left_hip": "pelvis", "right_shoulder": "neck"}[start_joint] if dim == 20 else start_joint
        way = joints[:, skeleton.joint(end_joint)] - joints[:, skeleton.joint(begin)]
        # At rest a limb hangs down.
        expected = np.degrees(np.arctan2(way[:, 1], way[:, 0])) + 90
        np.testing.assert_allclose(((total - expected) + 180) % 360 - 180, 0, atol=1e-2, err_msg=limb)


def test_bvh_of_a_bone_without_length_is_finite(tmp_path: Path) -> None:
    motion = moving(20)
    motion[5:9, 4:8] = np.tile(motion[5:9, 4:6], 2)  # the left leg
    motion[:, 16:20] = np.tile(motion[:, 16:18], 2)  # the right arm, all the time
    save(tmp_path / "w.bvh", Panel(motion))
    text = (tmp_path / "w.bvh").read_text()
    assert "nan" not in text
    assert "-0.000000" not in text


def decoded(file: object, number: int) -> np.ndarray:
    accessor = file.accessors[number]  # type: ignore[attr-defined]
    view = file.bufferViews[accessor.bufferView]  # type: ignore[attr-defined]
    blob = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]  # type: ignore[attr-defined]
    kind = {5126: "<f4", 5123: "<u2"}[accessor.componentType]
    values = np.frombuffer(blob, kind).reshape(accessor.count, -1)
    if accessor.min:
        np.testing.assert_array_equal(values.min(0), np.array(accessor.min, kind))
        np.testing.assert_array_equal(values.max(0), np.array(accessor.max, kind))
    return values


@pytest.mark.parametrize("dim", [20, 48])
def test_gltf_as_pygltflib_reads_it(tmp_path: Path, dim: int) -> None:
    pygltflib = pytest.importorskip("pygltflib")
    pair = np.stack((moving(dim), moving(dim, seed=1)), axis=1)
    save(tmp_path / "w.glb", Panel(pair, caption=NASTY), fps=30)
    file = pygltflib.GLTF2().load(str(tmp_path / "w.glb"))
    assert (tmp_path / "w.glb").stat().st_size % 4 == 0
    assert len(file.binary_blob()) == file.buffers[0].byteLength
    assert file.scenes[0].name == NASTY
    (animation,) = file.animations
    tracks = {
        (channel.target.node, channel.target.path): animation.samplers[channel.sampler]
        for channel in animation.channels
    }
    for actor, root in enumerate(file.scenes[0].nodes):
        nodes = {file.nodes[child].name: child for child in file.nodes[root].children}
        for name in names_of(dim):
            node = nodes[f"{name}_segment"]
            at, turn, size = (
                decoded(file, tracks[node, path].output).astype(float) for path in ("translation", "rotation", "scale")
            )
            np.testing.assert_allclose(decoded(file, tracks[node, "scale"].input)[:, 0], np.arange(20) / 30, atol=1e-6)
            # The first column of a unit quaternion's matrix, times the length.
            x, y, z, w = turn.T
            np.testing.assert_allclose(x**2 + y**2 + z**2 + w**2, 1, atol=1e-6)
            along = np.stack((1 - 2 * (y**2 + z**2), 2 * (x * y + z * w)), axis=1) * size[:, :1]
            found = np.stack((at[:, :2], at[:, :2] + along), axis=1)
            np.testing.assert_allclose(found, ends_of(pair[:, actor], name), atol=1e-6, err_msg=name)
            assert (turn[1:] * turn[:-1]).sum(axis=1).min() >= -1e-6  # the short way
        joints = skeleton_of(dim).to_joints(pair[:, actor])
        for number, joint in enumerate(skeleton_of(dim).joints):
            place = decoded(file, tracks[nodes[joint], "translation"].output)
            np.testing.assert_allclose(place[:, :2], joints[:, number], atol=1e-6)
    for mesh in file.meshes:
        points = decoded(file, mesh.primitives[0].attributes.POSITION)
        assert decoded(file, mesh.primitives[0].indices).max() == len(points) - 1
        across = np.linalg.norm(points[:, 1:], axis=1).max()
        assert across == pytest.approx(LINE / 2 if mesh.name == "bone" else 1)


@pytest.mark.parametrize("dim", [20, 48])
def test_openpose_files_have_a_person_an_actor(tmp_path: Path, dim: int) -> None:
    pair = np.stack((moving(dim), moving(dim, seed=1)), axis=1)
    save(tmp_path / "w.openpose.zip", Panel(pair), FIXED)
    with ZipFile(tmp_path / "w.openpose.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        frames = [json.loads(archive.read(name)) for name in names]
    assert (names[0], names[-1], len(names)) == ("w_000000000000_keypoints.json", "w_000000000019_keypoints.json", 20)
    numbers = np.array([[person["pose_keypoints_2d"] for person in frame["people"]] for frame in frames])
    points = numbers.reshape(20, 2, 25, 3)
    # Of the published list of BODY_25.
    places = {"neck": 1, "right_wrist": 4, "left_wrist": 7, "pelvis": 8, "right_ankle": 11, "left_ankle": 14}
    if dim == 48:
        places |= {"head": 0, "right_shoulder": 2, "right_elbow": 3, "left_shoulder": 5, "left_elbow": 6}
        places |= {"right_hip": 9, "right_knee": 10, "left_hip": 12, "left_knee": 13}
    joints = skeleton_of(dim).to_joints(pair)[:, :, [skeleton_of(dim).joint(name) for name in places]]
    found = points[:, :, list(places.values())]
    assert_similar(found[..., :2].reshape(-1, 2), joints.reshape(-1, 2))
    assert (found[..., 2] == 1).all()
    unknown = [keypoint for keypoint in range(25) if keypoint not in places.values()]
    assert (points[:, :, unknown] == 0).all()
    assert found[..., :2].min() >= 0
    assert (found[..., :2] <= [frames[0]["canvas_width"], frames[0]["canvas_height"]]).all()


@pytest.mark.parametrize("dim", [20, 48])
def test_a_table_has_a_row_a_frame_and_actor(tmp_path: Path, dim: int) -> None:
    pair = np.stack((moving(dim), moving(dim, seed=1)), axis=1)
    save(tmp_path / "w.csv", [Panel(pair), Panel(moving(dim, 7, seed=2))], fps=30)
    with (tmp_path / "w.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 20 + 7
    assert list(rows[0])[:6] == ["motion", "actor", "frame", "seconds", "neck_x", "neck_y"]
    second = [row for row in rows if (row["motion"], row["actor"]) == ("0", "1")]
    joints = [[[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in skeleton_of(dim).joints] for row in second]
    np.testing.assert_allclose(skeleton_of(dim).from_joints(np.array(joints)), pair[:, 1], atol=1e-6)
    assert [int(row["frame"]) for row in second] == list(range(20))
    assert float(second[9]["seconds"]) == pytest.approx(0.3)


@pytest.mark.parametrize("dim", [20, 48])
def test_svg_segments_are_those_of_the_motion(tmp_path: Path, dim: int) -> None:
    pair = np.stack((moving(dim), moving(dim, seed=1)), axis=1)
    save(tmp_path / "w.svg", Panel(pair, caption=NASTY, given=5))
    text = (tmp_path / "w.svg").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "href" not in text
    root, tag = ElementTree.fromstring(text), "{http://www.w3.org/2000/svg}"
    title = root.find(f"{tag}title")
    assert title is not None
    assert title.text == NASTY
    assert {animate.get("dur") for animate in root.iter(f"{tag}animate")} == {"0.8s"}
    figures = root.findall(f"{tag}g/{tag}g")
    assert len(figures) == 2
    for actor, figure in enumerate(figures):
        fading = figure.find(f"{tag}animate")
        assert fading is not None
        assert (fading.get("values"), fading.get("keyTimes")) == (f"{FADED};1", "0;0.25")
        paths = {path.get("class"): path for path in figure.iter(f"{tag}path")}
        for name in names_of(dim):
            animate = paths[name].find(f"{tag}animate")
            assert animate is not None
            ways = (animate.get("values") or "").split(";")
            assert len(ways) == 21  # the last frame is shown as long as every other
            assert ways[0] == paths[name].get("d")
            numbers = [way.replace("M", "").replace("L", " ").split() for way in ways]
            found = np.array(numbers, dtype=float).reshape(-1, 2, 2) * [1, -1]
            np.testing.assert_allclose(found[:-1], ends_of(pair[:, actor], name), atol=CLOSE)
            np.testing.assert_array_equal(found[-1], found[-2])


@pytest.mark.parametrize("dim", [20, 48])
def test_lottie_segments_are_those_of_the_motion(tmp_path: Path, dim: int) -> None:
    motion = moving(dim)
    save(tmp_path / "w.lottie.json", Panel(motion, caption=NASTY), FIXED, fps=30)
    content = json.loads((tmp_path / "w.lottie.json").read_text())
    assert (content["fr"], content["op"], content["nm"]) == (30, 20, NASTY)
    figure, ground = content["layers"]
    groups = {group["nm"]: group["it"] for group in figure["shapes"]}
    pixels, points = [], []
    for name in names_of(dim):
        keyframes = groups[name][0]["ks"]["k"]
        assert [key["t"] for key in keyframes] == list(range(20))
        pixels.append([key["s"][0]["v"] for key in keyframes])
        points.append(ends_of(motion, name))
    assert_similar(np.array(pixels).reshape(-1, 2), np.array(points).reshape(-1, 2))
    assert ground["nm"] == "ground"


@pytest.mark.parametrize(("dim", "frames"), [(20, 1), (48, 2)])
def test_lottie_keeps_to_the_official_schema(tmp_path: Path, dim: int, frames: int) -> None:
    jsonschema, specification = pytest.importorskip("jsonschema"), pytest.importorskip("lottie_specs")
    schema = json.loads((Path(specification.__file__).parent / "data" / "lottie.schema.json").read_text())
    pair = np.stack((moving(dim, frames), moving(dim, frames, seed=1)), axis=1)
    save(tmp_path / "w.lottie.json", Panel(pair, caption=NASTY, given=frames - 1))
    content = json.loads((tmp_path / "w.lottie.json").read_text())
    mistakes = jsonschema.Draft202012Validator(schema).iter_errors(content)
    assert [mistake.message for mistake in mistakes] == []


def test_webp_has_the_frames_that_are_drawn(tmp_path: Path) -> None:
    panels = [Panel(moving(20, 6), "a", "walk"), Panel(moving(48, 4), "b", "walk")]
    save(tmp_path / "w.webp", panels, Style(size=64), fps=12.5)
    drawn = [np.asarray(image) for image in Picture(panels, Style(size=64))]
    with Image.open(io.BytesIO((tmp_path / "w.webp").read_bytes())) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("WEBP", 6, 0)  # type: ignore[attr-defined]
        for number, frame in enumerate(drawn):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frame)
            assert image.info["duration"] == 80


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.suffix)
def test_what_every_form_holds(tmp_path: Path, form: object) -> None:
    if form.suffix == ".mp4":  # type: ignore[attr-defined]
        pytest.importorskip("av")
    style, name = Style(size=64), f"w{form.suffix.upper()}"  # type: ignore[attr-defined]
    one, pair = Panel(walking(2)), Panel(np.stack([walking(2, 48)] * 2, axis=1), "pair")
    for panels, held in (
        ([one], True),
        ([pair], form.figures is None),  # type: ignore[attr-defined]
        ([one, one], form.motions is None),  # type: ignore[attr-defined]
        ([one, pair], form.motions is None and not form.one_figure and not form.one_shape),  # type: ignore[attr-defined]
    ):
        if held:
            save(tmp_path / name, panels, style, overwrite=True)
            assert (tmp_path / name).stat().st_size > 100
        else:
            with pytest.raises(ConfigError, match=rf"{name}: (holds one|motions of one)"):
                save(tmp_path / name, panels, style, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_same_motion_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("pybvh")
    for form in FORMS:
        if form.suffix in (".motion", ".mp4", ".npz", ".png"):
            continue
        for folder in ("first", "second"):
            save(tmp_path / folder / f"w{form.suffix}", Panel(moving(20, 3)), Style(size=64))
        first, second = (tmp_path / folder / f"w{form.suffix}" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), form.suffix


def test_every_bone_of_the_figures_is_in_the_bvh() -> None:
    from stickgen.render.bvh import _TREES

    for skeleton, tree in _TREES.items():
        assert set(skeleton.joints) <= {node.at for node in tree}
        assert {node.name for node in tree} >= set(skeleton.joints)
        assert len(tree) > len(_BONES[skeleton])
