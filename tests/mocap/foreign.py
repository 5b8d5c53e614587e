"""Files of other people's formats, written from their specifications, and what is in them, computed independently."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from stickgen.mocap.importers.smpl import JOINT_NAMES, OFFSETS, PARENTS
from stickgen.mocap.projection import BODY_JOINTS
from tests.mocap.bodies import walking_body

Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=float)
"""Turns y up into z up."""


def dance(frames: int = 60, *, seed: int = 0, z_up: bool = True, joints: int = 22) -> tuple[np.ndarray, np.ndarray]:
    """Axis-angle poses ``[T, joints · 3]`` and places ``[T, 3]`` in metres of a body that waves all limbs."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2, frames)[:, None]
    poses = 0.5 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8, joints * 3) * t + rng.uniform(0, 6, joints * 3))
    root = Rotation.from_rotvec([0, 0.4, 0]) * Rotation.from_rotvec(0.3 * poses[:, :3])
    place = np.concatenate([0.5 * t, 0.9 + 0 * t, 1.0 * t], axis=1)
    if z_up:
        root, place = Rotation.from_matrix(Z_UP) * root, place @ Z_UP.T
    poses[:, :3] = root.as_rotvec()
    return poses, place


def smpl_reference(poses: np.ndarray, place: np.ndarray, height: float) -> np.ndarray:
    """Joints ``[T, 22, 3]`` joint by joint and frame by frame, by SciPy's rotations."""
    result = np.zeros((len(poses), len(PARENTS), 3))
    for frame, (pose, at) in enumerate(zip(poses, place, strict=True)):
        turns: list[Rotation] = []
        for joint, parent in enumerate(PARENTS):
            own = Rotation.from_rotvec(pose[3 * joint : 3 * joint + 3])
            turns.append(own if parent < 0 else turns[parent] * own)
            bone = np.zeros(3) if parent < 0 else turns[parent].apply(OFFSETS[joint] * height)
            result[frame, joint] = at if parent < 0 else result[frame, parent] + bone
    return result


def body_of(joints: np.ndarray) -> np.ndarray:
    """The 13 joints of a figure but the head, which importers move, of SMPL's 22."""
    return joints[:, [JOINT_NAMES.index(name) for name in BODY_JOINTS if name != "head"]]


def without_head(joints: np.ndarray) -> np.ndarray:
    """The same of a recording's joints."""
    return joints[..., [index for index, name in enumerate(BODY_JOINTS) if name != "head"], :]


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def smpl_body(frames: int = 40) -> np.ndarray:
    """SMPL's 22 joints ``[T, 22, 3]`` of a body that walks straight on, y up, facing +z."""
    body = walking_body(frames, fps=20)
    place = dict(zip(BODY_JOINTS, np.moveaxis(body, 1, 0), strict=True))
    pelvis = (place["left_hip"] + place["right_hip"]) / 2
    place |= {"pelvis": pelvis}
    for number, share in ((1, 0.25), (2, 0.5), (3, 0.7)):
        place[f"spine{number}"] = pelvis + share * (place["neck"] - pelvis)
    for side in ("left", "right"):
        place[f"{side}_collar"] = (place["neck"] + place[f"{side}_shoulder"]) / 2
        place[f"{side}_foot"] = place[f"{side}_ankle"] + np.array([0, -0.06, 0.12])
    return np.stack([place[name] for name in JOINT_NAMES], axis=1)


def features_of(joints: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Feature vectors ``[T, 4 + 12 · J − 5]`` of joints ``[T, J, 3]`` that face angles ``[T]`` from +z to +x.

    From the paper's definition: the root's frame is turned back by the facing angle; velocities are between a frame and
    the next, in the frame of the next; angles are halved.
    """
    frames, count = len(joints), joints.shape[1]
    features = np.zeros((frames, 4 + 9 * (count - 1) + 3 * count + 4))
    for t in range(frames):
        root = joints[t, 0]
        back = Rotation.from_rotvec([0, -angles[t], 0])
        local = joints[t, 1:] - [root[0], 0, root[2]]
        features[t, 3] = root[1]
        features[t, 4 : 4 + 3 * (count - 1)] = back.apply(local).reshape(-1)
        if t + 1 < frames:
            features[t, 0] = -(angles[t + 1] - angles[t]) / 2
            step = Rotation.from_rotvec([0, -angles[t + 1], 0]).apply(joints[t + 1, 0] - root)
            features[t, 1:3] = step[[0, 2]]
    return features


KINECT = (
    "pelvis", "spine2", "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "left_wrist", "right_shoulder",
    "right_elbow", "right_wrist", "right_wrist", "left_hip", "left_knee", "left_ankle", "left_foot", "right_hip",
    "right_knee", "right_ankle", "right_foot", "neck", "left_wrist", "left_wrist", "right_wrist", "right_wrist",
)  # fmt: skip
"""Which of SMPL's joints stands for each of Kinect's 25."""


def skeleton_text(frames: list[dict[str, np.ndarray]]) -> str:
    """A ``.skeleton`` file of frames of ``{body id: joints [25, 3]}``."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for name, joints in bodies.items():
            lines += [f"{name} 0 1 1 1 1 0 0.02 -0.1 2", "25"]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 300.1 200.2 1100.3 500.4 0.1 0.2 0.3 0.4 2" for x, y, z in joints]
    return "\n".join(lines) + "\n"


_ASF_BONES = (
    # name, parent, direction and length by end points (start is the parent's end), axis in degrees, channels
    ("lowerback", "root", (0, 1.1, -0.01), (5, 0, 0), "rx ry rz"),
    ("thorax", "lowerback", (0, 1.45, 0), (-3, 2, 0), "rx ry rz"),
    ("upperneck", "thorax", (0, 1.58, 0.01), (0, 0, 4), "rx ry rz"),
    ("head", "upperneck", (0, 1.75, 0.02), (0, 0, 0), "rx ry rz"),
    ("lclavicle", "thorax", (0.18, 1.42, 0), (0, 0, 10), "ry rz"),
    ("lhumerus", "lclavicle", (0.45, 1.4, 0), (180, 30, 90), "rx ry rz"),
    ("lradius", "lhumerus", (0.7, 1.4, 0.02), (180, 30, 90), "rx"),
    ("rclavicle", "thorax", (-0.18, 1.42, 0), (0, 0, -10), "ry rz"),
    ("rhumerus", "rclavicle", (-0.45, 1.4, 0), (180, -30, -90), "rx ry rz"),
    ("rradius", "rhumerus", (-0.7, 1.4, 0.02), (180, -30, -90), "rx"),
    ("lhipjoint", "root", (0.1, 0.9, 0), (0, 0, 0), ""),
    ("lfemur", "lhipjoint", (0.18, 0.5, 0.01), (0, 0, 20), "rx ry rz"),
    ("ltibia", "lfemur", (0.24, 0.1, -0.01), (0, 0, 20), "rx"),
    ("rhipjoint", "root", (-0.1, 0.9, 0), (0, 0, 0), ""),
    ("rfemur", "rhipjoint", (-0.18, 0.5, 0.01), (0, 0, -20), "rx ry rz"),
    ("rtibia", "rfemur", (-0.24, 0.1, -0.01), (0, 0, -20), "rx"),
)  # fmt: skip


def acclaim(frames: int = 60, *, seed: int = 0, scale: float = 20.0) -> tuple[str, str, np.ndarray]:
    """A skeleton (.asf) and a motion (.amc), and the figure's joints ``[T, 14, 3]`` by SciPy, the head at its base."""
    rng = np.random.default_rng(seed)
    rest = {"root": np.array([0, 1.0, 0])} | {name: np.array(end) for name, _, end, _, _ in _ASF_BONES}
    asf = [
        "# written by hand", ":version 1.10", ":name VICON", ":units", "  mass 1.0", "  length 0.45", "  angle deg",
        ":documentation", "  none", ":root", "  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0",
        "  orientation 0 0 0", ":bonedata",
    ]  # fmt: skip
    for number, (name, parent, _, axis, dof) in enumerate(_ASF_BONES, start=1):
        bone = (rest[name] - rest[parent]) * scale
        length = np.linalg.norm(bone)
        direction = " ".join(f"{v:.9f}" for v in bone / length)
        asf += [
            "  begin",
            f"    id {number}",
            f"    name {name}",
            f"    direction {direction}",
            f"    length {length:.9f}",
        ]
        asf += [f"    axis {axis[0]} {axis[1]} {axis[2]} XYZ"]
        if dof:
            asf += [f"    dof {dof}", "    limits (-180 180)", *["           (-180 180)"] * (len(dof.split()) - 1)]
        asf += ["  end"]
    asf += [":hierarchy", "  begin"]
    for parent in dict.fromkeys(parent for _, parent, *_ in _ASF_BONES):
        asf.append(f"    {parent} " + " ".join(name for name, above, *_ in _ASF_BONES if above == parent))
    asf += ["  end"]
    amc = ["#!OML:ASF somewhere", ":FULLY-SPECIFIED", ":DEGREES"]
    swing = {name: rng.uniform(-25, 25, 3) for name, *_ in _ASF_BONES}
    truth: list[list[np.ndarray]] = []
    wanted = (
        "thorax",
        "upperneck",
        *(f"{s}{b}" for s in "lr" for b in ("clavicle", "humerus", "radius", "hipjoint", "femur", "tibia")),
    )
    for frame in range(frames):
        wave = np.sin(frame / 10 + np.arange(3))
        root, turn = np.array([0.2, 20, 0.5 * frame]), np.array([4, 30, -5]) * wave
        amc += [str(frame + 1), "root " + " ".join(f"{v:.9f}" for v in (*root, *turn))]
        # "xyz" in SciPy's words: about the fixed axes, x first.
        turned = {"root": Rotation.from_euler("xyz", turn, degrees=True)}
        ends = {"root": root}
        for name, parent, _, axis, dof in _ASF_BONES:
            angles = {channel: swing[name]["xyz".index(channel[1])] * wave[0] for channel in dof.split()}
            if dof:
                amc.append(f"{name} " + " ".join(f"{angles[channel]:.9f}" for channel in dof.split()))
            own = Rotation.from_euler("xyz", [angles.get(f"r{a}", 0) for a in "xyz"], degrees=True)
            frame_of = Rotation.from_euler("xyz", axis, degrees=True)
            turned[name] = turned[parent] * frame_of * own * frame_of.inv()
            ends[name] = ends[parent] + turned[name].apply((rest[name] - rest[parent]) * scale)
        truth.append([ends[name] for name in wanted])
    names = ("neck", "head", *(f"{side}_{part}" for side in ("left", "right") for part in _ACCLAIM_JOINTS))
    order = [names.index(joint) for joint in BODY_JOINTS]
    return "\n".join(asf) + "\n", "\n".join(amc) + "\n", np.array(truth)[:, order]


_ACCLAIM_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

KIT = (
    "pelvis", "spine1", "spine2", "neck", "head", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
    "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "right_ankle", "right_foot", "left_hip",
    "left_knee", "left_ankle", "left_ankle", "left_foot",
)  # fmt: skip
"""Which of SMPL's joints stands for each of KIT-ML's 21."""


def with_kinects_head(joints: np.ndarray) -> np.ndarray:
    """The figure's joints ``[T, 14, 3]`` of SMPL's 22, whose head is taken for the middle of the skull."""
    return joints[:, [JOINT_NAMES.index(name) for name in BODY_JOINTS]]


CENTRES = {"hip": "HJC", "knee": "KJC", "ankle": "AJC", "shoulder": "SJC", "elbow": "EJC", "wrist": "WJC"}
"""Joint centres of the Conventional Gait Model, without the side."""


def centres(body: np.ndarray, names: dict[str, str] | None = None) -> dict[str, np.ndarray]:
    """Points ``[T, 3]`` of a body ``[T, 14, 3]`` in millimetres, z up: joint centres, markers round neck and head."""
    names = names or CENTRES
    place = dict(zip(BODY_JOINTS, np.moveaxis(body, 1, 0), strict=True))
    points = {
        f"{side[0].upper()}{names[part]}": place[f"{side}_{part}"] for side in ("left", "right") for part in names
    }
    for name, shift in (("C7", (0, 60, 0)), ("CLAV", (0, -60, 0))):
        points[name] = place["neck"] + np.array(shift)
    for name, shift in (("LFHD", (60, -90, 0)), ("RFHD", (-60, -90, 0)), ("LBHD", (60, 90, 0)), ("RBHD", (-60, 90, 0))):
        points[name] = place["head"] + np.array(shift)
    return points


def write_c3d(path: Path, points: dict[str, np.ndarray], rate: float = 100.0, prefix: str = "") -> Path:
    """A file written by ezc3d."""
    import ezc3d

    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [rate]
    file["parameters"]["POINT"]["LABELS"]["value"] = [prefix + name for name in points]
    places = np.stack(list(points.values()), axis=1)
    file["data"]["points"] = np.concatenate([places.transpose(2, 1, 0), np.ones((1, *places.shape[1::-1]))])
    file.write(str(path))
    return path
