from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stickgen.artifacts.base import load_base, save_base
from stickgen.data.file import open_clips, read_sequences, write_sequences
from stickgen.data.sequences import clips_from_sequences
from stickgen.errors import CheckpointError, ConfigError, DataError, OutputExistsError
from stickgen.mocap.captions import Captioner
from stickgen.mocap.cutting import PrepareOptions, make_sequences
from stickgen.mocap.importers.npz import read_npz
from stickgen.mocap.prepare import embed, encoder_for, prepare
from stickgen.mocap.projection import BODY_JOINTS, Recording
from stickgen.motion.actions import action_index
from stickgen.motion.physics import body_physics
from tests.mocap.bodies import walking_body, write_bvh
from tests.random_clips import random_sequence
from tests.runs import make_base


class Encoder:
    """A caption's length, in the first number."""

    record = {"id": "test/length", "dim": 1, "padded_to": 8, "normalized": False, "pooling": "none"}  # noqa: RUF012

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(captions), 8), np.float32)
        rows[:, 0] = [len(caption) for caption in captions]
        return rows


WALK = Recording(
    joints=walking_body(60),
    fps=25,
    take="07_01",
    captions=("A person walks.", "Someone strolls."),
    action="stroll",
    stickgen_action="walk",
    clip_id="07_01_0000",
    source="cmu",
    where="mocap.npz: clip 07_01_0000",
)


def prepared(
    sources: Sequence[Path], options: PrepareOptions | None = None, captioner: Captioner | None = None
) -> list[dict[str, Any]]:
    """The sequences of the file that is made."""
    output = sources[0].parent / "made.pt"
    prepare(sources, output, Encoder, options, captioner=captioner)
    return read_sequences(output)[0]


def sequences_of(*recordings: Recording, **options: Any) -> list[dict[str, Any]]:
    sequences = make_sequences(recordings, PrepareOptions(**options))
    embed(sequences, Encoder())
    return sequences


def test_a_sequence_has_everything() -> None:
    (sequence,) = sequences_of(WALK)
    assert sequence["description"] == "A person walks."
    assert sequence["motion"].shape == (60, 20)
    assert sequence["embedding"][0] == len("A person walks.")
    assert sequence["actions"].tolist() == [action_index("walk")] * 60
    np.testing.assert_array_equal(sequence["physics"], body_physics(sequence["motion"].numpy()))
    assert sequence["source"] == "cmu"
    assert sequence["quality_score"] >= 0.8
    assert sequence["meta"] == {
        "take": "07_01",
        "subject": "07",
        "action": "stroll",
        "view": "side",
        "clip_id": "07_01_0000",
    }
    (clip,) = clips_from_sequences([sequence], "memory")
    assert clip.take == "07_01"


def test_views_are_clips_of_one_take() -> None:
    side, front, yawed = sequences_of(WALK, views=("both", "30", "side"))
    assert [s["meta"]["view"] for s in (side, front, yawed)] == ["side", "front", "30"]
    assert {s["meta"]["take"] for s in (side, front, yawed)} == {"07_01"}
    assert side["motion"][-1, 2] > 1
    assert abs(front["motion"][-1, 2]) < 0.01


def test_a_body_on_a_plane_has_the_cameras_view_alone() -> None:
    flat = replace(WALK, joints=walking_body(60)[..., [2, 1]])  # seen from the side
    (sequence,) = sequences_of(flat, views=("both", "30"), random_views=2, name_views=True, dim=48)
    assert sequence["meta"]["view"] == "camera"
    assert sequence["description"] == "A person walks."
    torch.testing.assert_close(sequence["motion"], sequences_of(WALK, dim=48)[0]["motion"], atol=1e-5, rtol=0)


def test_several_bodies_are_actors_of_one_sequence() -> None:
    pair = np.stack([walking_body(60), walking_body(60, heading=180) + np.array([0.5, 0, 3])], axis=1)
    (sequence,) = sequences_of(replace(WALK, joints=pair), dim=20)
    assert sequence["motion"].shape == (60, 2, 20)
    first, second = clips_from_sequences([sequence], "pair")
    assert (first.partner is None, second.partner is None) == (False, False)
    # They walk towards each other, their distance in body heights, their middle at 0.
    pelvis = sequence["motion"][:, :, 2]
    assert pelvis[0, 0] == pytest.approx(-pelvis[0, 1])
    assert pelvis[-1, 0] > pelvis[0, 0]
    assert pelvis[-1, 1] < pelvis[0, 1]
    alone = sequences_of(WALK)[0]
    np.testing.assert_array_equal(first.physics, body_physics(first.motion.numpy()))
    torch.testing.assert_close(pelvis[-1, 0] - pelvis[0, 0], alone["motion"][-1, 2], atol=1e-4, rtol=0)


def test_all_captions_make_clips_of_their_own() -> None:
    assert [s["description"] for s in sequences_of(WALK, captions="all")] == ["A person walks.", "Someone strolls."]


def test_large_layout() -> None:
    assert sequences_of(WALK, dim=48)[0]["motion"].shape == (60, 48)


@pytest.mark.parametrize(
    ("frames", "window", "lengths"),
    [
        (25, 250, [25]),
        (250, 250, [250]),
        (251, 250, [126, 125]),
        (620, 250, [207, 206, 207]),
        (31, 30, [30]),
        (100, 30, [25, 25, 25, 25]),
    ],
)
def test_windows(frames: int, window: int, lengths: list[int]) -> None:
    cut = sequences_of(replace(WALK, joints=walking_body(frames)), window=window)
    assert sorted(len(s["motion"]) for s in cut) == sorted(lengths)
    assert len({s["meta"]["clip_id"] for s in cut}) == len(cut)
    assert {s["meta"]["take"] for s in cut} == {"07_01"}


def test_too_short() -> None:
    short = replace(WALK, joints=walking_body(24))
    assert len(sequences_of(short, WALK)) == 1
    with pytest.raises(DataError, match="none of the 1 recordings has the 25 frames"):
        sequences_of(short)


def test_labels_outside_the_vocabulary() -> None:
    (unknown,) = sequences_of(replace(WALK, stickgen_action=None))
    assert "actions" not in unknown
    (known,) = sequences_of(replace(WALK, action="run", stickgen_action=None))
    assert known["actions"][0] == action_index("run")
    with pytest.raises(DataError, match=r"mocap.npz: clip 07_01_0000: action 'stroll'"):
        sequences_of(replace(WALK, stickgen_action="stroll"))


@pytest.mark.parametrize(
    "options",
    [
        {"views": ()},
        {"views": ("above",)},
        {"random_views": -1},
        {"seed": -1},
        {"dim": 21},
        {"window": 10},
        {"captions": "some"},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, DataError)):
        PrepareOptions(**options)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Two BVH files of five and one second, and a table that describes them."""
    (tmp_path / "dance.bvh").write_text(write_bvh(frames=150, frame_time=1 / 30))
    (tmp_path / "hop.bvh").write_text(write_bvh(frames=150, frame_time=1 / 30, seed=1))
    (tmp_path / "captions.csv").write_text(
        "file,caption,action,take\n"
        'dance.bvh,"A person dances, wildly.",salsa,monday\n'
        "dance.bvh,Somebody dances.,,\n"
        "hop,A person hops.,jump,\n",
        encoding="utf-8-sig",
    )
    return tmp_path


def test_a_style_of_the_table_is_carried_to_the_clip(sources: Path) -> None:
    table = sources / "styles.csv"
    table.write_text("file,caption,style\ndance.bvh,A tired dance.,tired\nhop.bvh,A hop.,\n")
    prepare([sources / "dance.bvh", sources / "hop.bvh"], sources / "out.pt", Encoder, captioner=Captioner.of(table))
    sequences, _ = read_sequences(sources / "out.pt")
    assert [clip.style for clip in clips_from_sequences(sequences, "out.pt")] == ["tired", ""]
    assert "style" not in sequences[1]["meta"]


def test_a_file_is_written_that_can_be_read(sources: Path) -> None:
    output = sources / "made" / "clips.pt"
    table = sources / "captions.csv"
    files = [sources / "dance.bvh", sources / "hop.bvh"]
    summary = prepare(files, output, Encoder, PrepareOptions(views=("both",)), captioner=Captioner.of(table))
    sequences, info = read_sequences(output)
    assert (summary.clips, summary.takes, summary.left_out, summary.unlabelled) == (4, 2, 0, 2)
    assert info["text_encoder"] == Encoder.record
    assert info["fps"] == 25
    assert info["dim"] == 20
    assert info["views"] == ["side", "front"]
    assert info["clips"] == 4
    assert info["made_by"].startswith("stickgen ")
    assert [s["meta"]["take"] for s in sequences] == ["monday", "monday", "hop", "hop"]
    assert sequences[0]["description"] == "A person dances, wildly."
    assert sequences[0]["source"] == "mocap"
    assert len(sequences[0]["motion"]) == 122  # (150 - 3 dropped) / 30 * 25
    with pytest.raises(OutputExistsError):
        prepare(files, output, Encoder, captioner=Captioner.of(table))
    prepare(files, output, Encoder, PrepareOptions(source="studio"), captioner=Captioner.of(table), overwrite=True)
    assert read_sequences(output)[0][0]["source"] == "studio"


def test_the_encoder_is_asked_for_once_the_sources_are_known_to_do(sources: Path) -> None:
    def no_encoder() -> Encoder:
        raise AssertionError("asked for too early")

    output, table = sources / "clips.pt", sources / "captions.csv"
    with pytest.raises(DataError, match="no such file"):
        prepare([sources / "none.bvh"], output, no_encoder, captioner=Captioner.of(table))
    with pytest.raises(DataError, match="no caption"):
        prepare([sources / "dance.bvh"], output, no_encoder)
    longer = PrepareOptions(minimum=200)
    with pytest.raises(DataError, match="none of the 1 recordings"):
        prepare([sources / "dance.bvh"], output, no_encoder, longer, captioner=Captioner.of(table))
    with pytest.raises(OutputExistsError, match="is a folder"):
        prepare([sources / "dance.bvh"], sources, no_encoder, captioner=Captioner.of(table), overwrite=True)
    with pytest.raises(AssertionError, match="too early"):
        prepare([sources / "dance.bvh"], output, no_encoder, captioner=Captioner.of(table))


def test_only_keeps_a_label(sources: Path) -> None:
    files = [sources / "dance.bvh", sources / "hop.bvh"]
    options = PrepareOptions(only=("salsa",), captions="all")
    kept = prepared(files, options, Captioner.of(sources / "captions.csv"))
    assert [sequence["meta"]["take"] for sequence in kept] == ["monday", "monday"]
    assert [sequence["description"] for sequence in kept] == ["A person dances, wildly.", "Somebody dances."]
    with pytest.raises(DataError, match="--only tango: no clip has that label; there are jump, salsa"):
        prepare(
            files,
            sources / "out.pt",
            Encoder,
            PrepareOptions(only=("tango",)),
            captioner=Captioner.of(sources / "captions.csv"),
        )


def test_a_bvh_without_a_caption_is_named(sources: Path) -> None:
    with pytest.raises(DataError, match=r"dance\.bvh: no caption"):
        prepared([sources / "dance.bvh"])


def test_what_is_no_source_is_named(sources: Path) -> None:
    with pytest.raises(
        DataError, match=r"captions.csv: not a format that is recognised; BVH, .* or a data file expected"
    ):
        prepared([sources / "captions.csv"])
    packed = r"S\.SAFETENSORS: a packed file, which has lost meta.action and .*; name the \.pt it was made from"
    with pytest.raises(DataError, match=packed):
        prepared([sources / "S.SAFETENSORS"])
    with pytest.raises(DataError, match="no sources"):
        prepare([], sources / "out.pt", Encoder)


def test_the_embedding_is_saved_alone() -> None:
    sequences = sequences_of(WALK, replace(WALK, clip_id="b"))
    assert all(s["embedding"].untyped_storage().nbytes() == 8 * 4 for s in sequences)


def test_real_clips(shared_mocap: Path) -> None:
    recordings = [clip for clip in read_npz(shared_mocap / "cmu_styles.npz") if clip.action == "salsa"]
    assert len(recordings) == 108
    sequences = sequences_of(*recordings[:10], dim=48)
    clips = clips_from_sequences(sequences, "styles")
    assert all(clip.quality is not None and clip.quality >= 0.8 for clip in clips)
    assert all(bool((clip.actions == action_index("dance")).all()) for clip in clips if clip.actions is not None)
    heads = torch.stack([clip.motion[:, 3].median() for clip in clips])
    assert bool(((heads > 0.7) & (heads < 1.05)).all())


def test_captions_name_the_view_on_demand() -> None:
    views = ("side", "0", "front", "30")
    named = [s["description"] for s in sequences_of(WALK, views=views, name_views=True)]
    plain = {s["description"] for s in sequences_of(WALK, views=views)}
    (caption,) = plain
    assert set(named) == {caption, f"{caption}, seen from the front", f"{caption}, seen at an angle"}
    assert named[0] == caption
    assert named[3] == f"{caption}, seen at an angle"


def test_random_views_are_further_clips_of_the_take() -> None:
    other = replace(WALK, take="08_01", clip_id="08_01_0000")
    sequences = sequences_of(WALK, other, random_views=3)
    views = [s["meta"]["view"] for s in sequences]
    assert views[0] == views[4] == "side"
    yaws = [float(view) for view in views if view != "side"]
    assert len(set(yaws)) == 6
    assert all(-90 <= yaw <= 90 for yaw in yaws)
    assert [s["meta"]["take"] for s in sequences] == ["07_01"] * 4 + ["08_01"] * 4
    # Whoever walks forward still walks to +x, the slower the more the view is from the front.
    for sequence, view in zip(sequences, views, strict=True):
        if view != "side":
            ahead = float(sequence["motion"][-1, 2] / sequences[0]["motion"][-1, 2])
            assert ahead == pytest.approx(np.cos(np.radians(float(view))), abs=0.05)
    again = [s["meta"]["view"] for s in sequences_of(other, random_views=3)]
    assert again == views[4:], "a clip's views do not depend on its neighbours"
    assert [s["meta"]["view"] for s in sequences_of(other, random_views=3, seed=1)] != again


def test_data_files_are_taken_along_and_embedded_anew(tmp_path: Path) -> None:
    bvh = tmp_path / "walk.bvh"
    bvh.write_text(write_bvh())
    table = tmp_path / "captions.csv"
    table.write_text("file,caption,action\nwalk.bvh,A person walks.,walk\n")
    first, both = tmp_path / "first.pt", tmp_path / "both.pt"
    prepare([bvh], first, Encoder, captioner=Captioner.of(table))
    sequences, info = read_sequences(first)
    shouted = [{**s, "description": "WALKING", "meta": {**s["meta"], "take": "t2"}} for s in sequences]
    write_sequences(tmp_path / "second.pt", shouted, {"text_encoder": {"id": "another", "dim": 8}})
    summary = prepare([bvh, tmp_path / "second.pt"], both, Encoder, captioner=Captioner.of(table))
    assert (summary.clips, summary.gathered, summary.takes) == (2, 1, 2)
    mixed, record = read_sequences(both)
    assert record["text_encoder"] == info["text_encoder"]
    assert [s["embedding"][0] for s in mixed] == [len("A person walks."), len("WALKING")]
    alone = prepare([first], tmp_path / "alone.pt", Encoder)
    assert (alone.clips, alone.gathered) == (1, 1)


@pytest.fixture
def files(sources: Path) -> list[Path]:
    """A recording of salsa and a data file of clips labelled walk and run, of another source."""
    clips = [
        random_sequence(30, seed=i, actions=None, source="theirs", meta={"take": f"t{i}", "action": action})
        for i, action in enumerate(("walk", "run"))
    ]
    write_sequences(sources / "data.pt", clips, {})
    return [sources / "dance.bvh", sources / "data.pt"]


@pytest.mark.parametrize(("label", "takes"), [("salsa", ["monday"]), ("run", ["t1"])])
def test_a_label_may_be_in_one_source_alone(sources: Path, files: list[Path], label: str, takes: list[str]) -> None:
    output = sources / "out.pt"
    prepare(files, output, Encoder, PrepareOptions(only=(label,)), captioner=Captioner.of(sources / "captions.csv"))
    assert [s["meta"]["take"] for s in read_sequences(output)[0]] == takes


def test_a_label_that_is_in_no_source_is_told_with_those_of_all(sources: Path, files: list[Path]) -> None:
    options = PrepareOptions(only=("swim",))
    for given, known in ((files, "run, salsa, walk"), (files[1:], "run, walk")):
        with pytest.raises(DataError, match=f"--only swim: no clip has that label; there are {known}$"):
            prepare(given, sources / "out.pt", Encoder, options, captioner=Captioner.of(sources / "captions.csv"))


def test_a_source_id_is_recorded_for_clips_of_data_files_too(sources: Path, files: list[Path]) -> None:
    def ids(**options: Any) -> list[str]:
        output, table = sources / "out.pt", sources / "captions.csv"
        prepare(files, output, Encoder, PrepareOptions(**options), captioner=Captioner.of(table), overwrite=True)
        return [s["source"] for s in read_sequences(output)[0]]

    assert ids() == ["mocap", "theirs", "theirs"]
    assert ids(source="studio") == ["studio"] * 3


def test_files_that_fix_a_take_in_two_splits_are_not_joined(tmp_path: Path) -> None:
    for name, split in (("a.pt", "val"), ("b.pt", "test")):
        write_sequences(tmp_path / name, [random_sequence(meta={"take": "x", "split": split})], {})
    with pytest.raises(DataError, match="take 'x' is fixed in test and val"):
        prepare([tmp_path / "a.pt", tmp_path / "b.pt"], tmp_path / "out.pt", Encoder)
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("captions", ["first", "all"])
def test_the_file_does_not_depend_on_the_number_of_workers(tmp_path: Path, captions: Any) -> None:
    folder = tmp_path / "takes"
    folder.mkdir()
    rows = ["file,caption,action,style"]
    for number in range(20):
        name = f"{number:02d}_walk"
        np.savez(
            folder / f"{name}.npz",
            joints=walking_body(40 + number, heading=number),
            joint_names=np.array(BODY_JOINTS),
            fps=np.array(30),
        )
        rows += [f"{name},A person walks {number} times.,walk,calm", f"{name},Somebody walks.,,"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    written = []
    for workers in (1, 2):
        output = tmp_path / f"{workers}.pt"
        prepare(
            [folder],
            output,
            Encoder,
            PrepareOptions(views=("both",), random_views=1, captions=captions),
            captioner=Captioner.of(tmp_path / "captions.csv"),
            workers=workers,
        )
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_labels_without_a_class_are_counted(sources: Path) -> None:
    files = [sources / "dance.bvh", sources / "hop.bvh"]
    summary = prepare(files, sources / "out.pt", Encoder, captioner=Captioner.of(sources / "captions.csv"))
    assert (summary.unlabelled, summary.unknown_actions) == (1, {"salsa": 1})


def test_splits_and_subjects_of_a_table_are_written(sources: Path) -> None:
    table = sources / "table.csv"
    table.write_text("file,caption,subject,split,license\ndance.bvh,A dance.,anna,test,CC0\nhop.bvh,A hop.,,,\n")
    prepare([sources / "dance.bvh", sources / "hop.bvh"], sources / "out.pt", Encoder, captioner=Captioner.of(table))
    metas = [sequence["meta"] for sequence in read_sequences(sources / "out.pt")[0]]
    assert (metas[0]["subject"], metas[0]["split"]) == ("anna", "test")
    assert metas[0]["license"] == "CC0"
    assert metas[1].keys().isdisjoint({"subject", "split", "license"})
    packed = sources / "out.safetensors"
    prepare([sources / "out.pt"], packed, Encoder)
    assert open_clips(packed)[1]["licenses"] == open_clips(sources / "out.pt")[1]["licenses"] == {"mocap": ["CC0"]}


def test_a_pattern_that_matches_nothing_is_a_mistake(sources: Path) -> None:
    with pytest.raises(DataError, match=r"--caption-from 'x_\{action\}': matches no source; the first is 'dance'"):
        prepared([sources / "dance.bvh"], captioner=Captioner(pattern="x_{action}"))
    (made,) = prepared([sources / "dance.bvh"], captioner=Captioner(pattern="{action}", template="{action}ing"))
    assert made["description"] == "danceing"


def test_captions_are_for_the_encoder_of_the_base(tmp_path: Path) -> None:
    ours = "sentence-transformers/all-MiniLM-L6-v2"
    assert encoder_for(None, None) == ours
    assert encoder_for(None, "org/other") == "org/other"
    base = make_base(tmp_path / "base.safetensors")
    assert encoder_for(base, None) == encoder_for(base, ours) == ours
    assert encoder_for(make_base(tmp_path / "base.pth"), None) == ours
    with pytest.raises(ConfigError, match=rf"--encoder org/other: .*base\.safetensors was trained with {ours}"):
        encoder_for(base, "org/other")
    with pytest.raises(CheckpointError, match="no such file"):
        encoder_for(tmp_path / "none.pth", None)


def test_a_base_that_names_no_encoder_is_the_references(tmp_path: Path) -> None:
    base = load_base(make_base(tmp_path / "base.safetensors"))
    save_base(base.model, replace(base.record, text_encoder={}), tmp_path / "bare.safetensors")
    assert encoder_for(tmp_path / "bare.safetensors", None) == "BAAI/bge-large-en-v1.5"
    assert encoder_for(tmp_path / "bare.safetensors", "org/other") == "org/other"
