"""Error and time of reading every format that `stickgen prepare` takes.

    python -m benchmarks.formats --mocap path/to/cmu --clips 100

One motion is written in each format: that of the first BVH file in the folder `bvh` of --mocap (CMU's motion capture),
or without one a generated dance. It is read back, projected to the 48-number figure, and compared with the same motion
projected directly. Errors are distances of joints in body heights. Files are written as their specifications say
(tests/mocap/foreign.py), C3D by ezc3d, motion files by stickgen; BVH is the real file, compared with the same take in
`cmu_sample.npz`. Times are of reading, resampling to 25 fps and projecting --clips copies on one core, scaled to 1,000.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.joints import body_joints, find_joints
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.importers.smpl import HEIGHT, JOINT_NAMES, PARENTS
from stickgen.mocap.projection import BODY_JOINTS, Recording, project
from stickgen.motion.resampling import resample
from stickgen.motion.skeleton import STICK_12
from stickgen.render.motion_file import write_motion
from tests.mocap import foreign
from tests.mocap.bodies import write_bvh

_OF_CMU = (
    "hip", "lThigh", "rThigh", "abdomen", "lShin", "rShin", "chest", "lFoot", "rFoot", "chest", "lFoot", "rFoot",
    "neck", "lCollar", "rCollar", "head", "lShldr", "rShldr", "lForeArm", "rForeArm", "lHand", "rHand",
)  # fmt: skip
"""CMU's joint for each of SMPL's: both rest in a T-pose, so that their rotations mean the same."""


@dataclass(frozen=True)
class Motion:
    """A motion: SMPL's joints ``[T, 22, 3]`` in metres, y up, their rotations ``[T, 66]`` and places ``[T, 3]``."""

    joints: np.ndarray
    poses: np.ndarray
    place: np.ndarray
    fps: float

    def at(self, fps: float) -> np.ndarray:
        """Return the joints at another rate."""
        return np.asarray(resample(self.joints, self.fps, fps))

    def every(self, step: int) -> "Motion":
        """Return one frame of every ``step``."""
        return Motion(self.joints[::step], self.poses[::step], self.place[::step], self.fps / step)


@dataclass(frozen=True)
class Case:
    """A file and what is in it.

    Attributes:
        name: the format.
        by: who wrote the file.
        path: the file.
        truth: figures ``[T', 48]`` at 25 fps, one an actor.
    """

    name: str
    by: str
    path: Path
    truth: list[np.ndarray]


def generated(frames: int = 1200) -> Motion:
    """Return a dance at 120 fps."""
    poses, place = foreign.dance(frames, z_up=False)
    return Motion(foreign.smpl_reference(poses, place, HEIGHT), poses, place, 120.0)


def of_cmu(path: Path, most: int = 1200) -> Motion:
    """Return a motion of CMU in cgspeed's conversion, by pybvh's rotations and places."""
    import pybvh
    from pybvh.rotations import euler_to_rotmat

    motion = pybvh.read_bvh_file(path, world_up="+y")
    topology = motion.fk_topology
    local = euler_to_rotmat(motion.joint_angles, topology.euler_orders)
    turned = np.broadcast_to(np.eye(3), (len(local), len(topology.offsets), 3, 3)).copy()
    for node, (parent, joint) in enumerate(zip(topology.parent_idx, topology.joint_idx, strict=True)):
        own = local[:, joint] if joint >= 0 else np.eye(3)
        turned[:, node] = own if parent < 0 else turned[:, parent] @ own
    nodes = [node.name for node in motion.nodes]
    chosen = [nodes.index(name) for name in _OF_CMU]
    joints = motion.node_positions()[:, chosen] * 0.01
    for index, name in enumerate(JOINT_NAMES):
        if name.endswith("foot"):
            joints[:, index] += np.einsum("tij,j->ti", turned[:, chosen[index]], np.array([0, -0.06, 0.12]))
        elif name == "spine2":
            joints[:, index] = (joints[:, 3] + joints[:, 12]) / 2
    poses = []
    for index, parent in enumerate(PARENTS):
        above = turned[:, chosen[parent]].swapaxes(1, 2) if parent >= 0 else np.eye(3)
        poses.append(Rotation.from_matrix(above @ turned[:, chosen[index]]).as_rotvec())
    drop = slice(12, 12 + most)  # the take blends out of a T-pose
    return Motion(joints[drop], np.concatenate(poses, axis=1)[drop], joints[drop, 0], 1 / motion.frame_time)


def figure_of(joints: np.ndarray, fps: float) -> np.ndarray:
    """Return the figure of SMPL's joints without any file."""
    body = body_joints(joints, JOINT_NAMES, find_joints(JOINT_NAMES, "truth"))
    return project(resample(body, fps), dim=48)


def cases(motion: Motion, folder: Path) -> Iterator[Case]:
    """Write the motion in every format."""

    def save(name: str, array: np.ndarray) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array.astype(np.float32))
        return path

    spec = "the specification"
    for name, fps, order in (("HumanML3D", 20.0, JOINT_NAMES), ("KIT-ML", 12.5, foreign.KIT)):
        joints = motion.at(fps)
        if name == "KIT-ML":
            joints = np.stack([joints[:, JOINT_NAMES.index(joint)] for joint in order], axis=1)
        truth = [figure_of(motion.at(fps), fps)]
        yield Case(f"{name} positions", spec, save(f"{name}/new_joints/1.npy", joints), truth)
        vectors = foreign.features_of(joints, _facing(joints, order))
        yield Case(f"{name} vectors", spec, save(f"{name}/new_joint_vecs/1.npy", vectors), truth)
    z_up = (Rotation.from_matrix(foreign.Z_UP) * Rotation.from_rotvec(motion.poses[:, :3])).as_rotvec()
    poses, place = np.concatenate([z_up, motion.poses[:, 3:]], axis=1), motion.place @ foreign.Z_UP.T
    amass = folder / "amass" / "1_poses.npz"
    amass.parent.mkdir()
    np.savez(amass, poses=np.pad(poses, ((0, 0), (0, 90))), trans=place, mocap_framerate=motion.fps)
    yield Case("AMASS", spec, amass, [figure_of(motion.joints, motion.fps)])
    half = motion.every(2)
    dance = {"smpl_poses": np.pad(half.poses, ((0, 0), (0, 6))), "smpl_trans": half.place * 90, "smpl_scaling": [90.0]}
    dance = {key: np.asarray(value) for key, value in dance.items()}
    aist = foreign.write_pickle(folder / "gBR_sBM_cAll_d04_mBR3_ch01.pkl", dance)
    yield Case("AIST++", spec, aist, [figure_of(half.joints, half.fps)])
    person = {"trans": place[::2], "root_orient": poses[::2, :3], "pose_body": poses[::2, 3:66]}
    other = person | {"trans": person["trans"] + np.array([0, 1.0, 0])}
    pair = {"mocap_framerate": half.fps, "person1": person, "person2": other}
    alone = figure_of(half.joints, half.fps)
    yield Case("InterHuman", spec, foreign.write_pickle(folder / "i/motions/1.pkl", pair), [alone, alone])
    joints = motion.at(30)
    kinect = joints[:, [JOINT_NAMES.index(name) for name in foreign.KINECT]]
    (folder / "S001C001P001R001A001.skeleton").write_text(foreign.skeleton_text([{"1": frame} for frame in kinect]))
    body = foreign.with_kinects_head(joints)
    yield Case("NTU RGB+D", spec, folder / "S001C001P001R001A001.skeleton", [project(resample(body, 30), dim=48)])
    centred = foreign.with_kinects_head(motion.joints)
    foreign.write_c3d(folder / "1.c3d", foreign.centres(1000 * centred @ foreign.Z_UP.T), motion.fps)
    yield Case("C3D", "ezc3d", folder / "1.c3d", [project(resample(centred, motion.fps), dim=48)])
    asf, amc, truth = foreign.acclaim(len(motion.joints))
    (folder / "1.asf").write_text(asf)
    (folder / "1.amc").write_text(amc)
    body = body_joints(truth, BODY_JOINTS, find_joints(BODY_JOINTS, "truth"))
    yield Case("Acclaim", spec, folder / "1.amc", [project(resample(body, 120), dim=48)])
    figure = figure_of(motion.joints, motion.fps)
    write_motion(folder / "1.motion", figure)
    yield Case("motion file", "stickgen", folder / "1.motion", [figure])
    np.savez(folder / "out.npz", motion=figure[None], caption=["A person moves."], fps=25)
    yield Case("generated motion", "stickgen", folder / "out.npz", [figure])
    frames = len(half.joints)
    for name, scheme in (("dataset-2_walk_old_001", "bandai"), ("Old_FW", "hundred_styles")):
        (folder / f"{name}.bvh").write_text(write_bvh(scheme, frames=frames, frame_time=1 / 60, order="ZYX"))
        (folder / "reference.bvh").write_text(write_bvh(frames=frames, frame_time=1 / 60))
        ((path, importer),) = find_sources([folder / "reference.bvh"])
        (recording,) = importer.read(path, ImportOptions()) if importer else []
        yield Case(f"BVH, names of {scheme}", spec, folder / f"{name}.bvh", [_figures(recording)[0]])


def real_bvh(mocap: Path) -> Iterator[Case]:
    """Compare real files with the clips of the same takes, which were converted by other code."""
    ((path, importer),) = find_sources([mocap / "cmu_sample.npz"])
    clips = importer.read(path, ImportOptions()) if importer else []
    for file in sorted((mocap / "bvh").glob("*.bvh")):
        clip = next((clip for clip in clips if clip.take == file.stem), None)
        if clip is not None:
            yield Case(f"BVH {file.stem}", "cgspeed of CMU (real)", file, [_figures(clip)[0]])


def measure(case: Case, clips: int) -> tuple[float, float, float]:
    """Return the mean and the largest error in body heights, and the seconds for 1,000 clips."""
    ((path, importer),) = find_sources([case.path])
    assert importer is not None
    (recording,) = importer.read(path, ImportOptions())
    errors = []
    for figure, truth in zip(_figures(recording), case.truth, strict=True):
        frames = min(len(figure), len(truth))
        one, other = (STICK_12.to_joints(motion[:frames]) for motion in (figure, truth))
        # Where a body starts is not what is compared: actors of a pair share one origin.
        one, other = one - one[:1].mean(axis=1, keepdims=True), other - other[:1].mean(axis=1, keepdims=True)
        errors.append(np.linalg.norm(one - other, axis=-1))
    started = time.perf_counter()
    for _ in range(clips):
        _figures(importer.read(path, ImportOptions())[0])
    seconds = (time.perf_counter() - started) * 1000 / clips
    return float(np.concatenate(errors).mean()), float(np.concatenate(errors).max()), seconds


def _figures(recording: Recording) -> list[np.ndarray]:
    joints = resample(recording.joints, recording.fps)
    figure = project(joints, dim=48, height=recording.height, floor=recording.floor)
    return [figure] if figure.ndim == 2 else [figure[:, actor] for actor in range(figure.shape[1])]


def _facing(joints: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return the angle from +z to +x that the hips face, ``[T]``."""
    left = joints[:, names.index("left_hip")] - joints[:, names.index("right_hip")]
    return np.unwrap(np.arctan2(-left[:, 2], left[:, 0]))


def main(measured: Callable[[Case, int], tuple[float, float, float]] = measure) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, help="folder with bvh/ and cmu_sample.npz")
    parser.add_argument("--clips", type=int, default=20, help="how often each file is read for its time")
    args = parser.parse_args()
    motion = of_cmu(sorted((args.mocap / "bvh").glob("*.bvh"))[0]) if args.mocap else generated()
    print("| format | written by | mean error | largest error | 1,000 clips |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for case in (*(real_bvh(args.mocap) if args.mocap else ()), *cases(motion, Path(folder))):
            mean, largest, seconds = measured(case, args.clips)
            print(f"| {case.name} | {case.by} | {mean:.1e} | {largest:.1e} | {seconds:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
