"""A body in space and BVH files of it, for the importers' tests."""

import numpy as np

from stickgen.mocap.projection import BODY_JOINTS

STANDING = {
    "neck": (0, 1.5, 0), "head": (0, 1.68, 0),
    "left_shoulder": (0.2, 1.45, 0), "left_elbow": (0.2, 1.15, 0), "left_wrist": (0.2, 0.9, 0.05),
    "right_shoulder": (-0.2, 1.45, 0), "right_elbow": (-0.2, 1.15, 0), "right_wrist": (-0.2, 0.9, 0.05),
    "left_hip": (0.1, 0.95, 0), "left_knee": (0.1, 0.5, 0), "left_ankle": (0.1, 0.08, 0),
    "right_hip": (-0.1, 0.95, 0), "right_knee": (-0.1, 0.5, 0), "right_ankle": (-0.1, 0.08, 0),
}  # fmt: skip
"""Metres, y up, facing +z: the left side is at +x."""


def walking_body(frames: int = 50, fps: float = 25, speed: float = 1.3, heading: float = 0.0) -> np.ndarray:
    """Joints ``[T, 14, 3]`` of a body that glides along its facing direction; heading in degrees from +z to +x."""
    t = np.arange(frames) / fps
    body = np.array([STANDING[name] for name in BODY_JOINTS], dtype=float)[None].repeat(frames, axis=0)
    swing = 0.3 * np.sin(2 * np.pi * 0.9 * t)
    for name, sign in (("left_ankle", 1), ("right_ankle", -1), ("left_wrist", -1), ("right_wrist", 1)):
        body[:, BODY_JOINTS.index(name), 2] += sign * swing
    body[..., 2] += (speed * t)[:, None]
    angle = np.radians(heading)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return body @ turn.T


# Names of one skeleton in four vocabularies, in the order: hips, spine, neck, head, and for left and right
# collar, shoulder, elbow, wrist, hip, knee, ankle. `{}` takes the side.
SCHEMES = {
    "cgspeed": ("hip", "chest", "neck", "head", "lrCollar lrShldr lrForeArm lrHand lrThigh lrShin lrFoot", "l", "r"),
    "cmu": (
        "Hips", "Spine", "Neck", "Head",
        "lrShoulder lrArm lrForeArm lrHand lrUpLeg lrLeg lrFoot", "Left", "Right",
    ),
    "mixamo": (
        "mixamorig:Hips", "mixamorig:Spine", "mixamorig:Neck", "mixamorig:Head",
        "mixamorig:lrShoulder mixamorig:lrArm mixamorig:lrForeArm mixamorig:lrHand mixamorig:lrUpLeg mixamorig:lrLeg "
        "mixamorig:lrFoot", "Left", "Right",
    ),
    "bandai": (
        "Hips", "Chest", "Neck", "Head",
        "Shoulder_lr UpperArm_lr LowerArm_lr Hand_lr UpperLeg_lr LowerLeg_lr Foot_lr", "L", "R",
    ),
    "hundred_styles": (
        "Hips", "Chest", "Neck", "Head", "lrCollar lrShoulder lrElbow lrWrist lrHip lrKnee lrAnkle", "Left", "Right",
    ),
    "biped": (
        "Bip01 Pelvis", "Bip01 Spine", "Bip01 Neck", "Bip01 Head",
        "Bip01 lr Clavicle,Bip01 lr UpperArm,Bip01 lr Forearm,Bip01 lr Hand,Bip01 lr Thigh,Bip01 lr Calf,"
        "Bip01 lr Foot", "L", "R",
    ),
}  # fmt: skip


def write_bvh(
    scheme: str = "cmu",
    *,
    frames: int = 40,
    frame_time: float = 0.04,
    order: str = "ZXY",
    positions: str = "XYZ",
    joint_positions: str = "none",
    rotations_first: bool = False,
    up: str = "y",
    scale: float = 100.0,
    seed: int = 0,
    without: str = "",
) -> str:
    """BVH text of a seeded random dance of the standing body.

    Whatever the options, the body moves the same: rotations are the same matrices in another order of angles, positions
    the same translations in another order of channels.

    Args:
        joint_positions: "none", "whole" (channels replace the OFFSET) or "deviation" (they are added to it).
        without: a joint to leave out, with its children.
    """
    from pybvh.rotations import rotmat_to_euler

    hips, spine, neck, head, limbs, left, right = SCHEMES[scheme]
    separator = "," if "," in limbs else None
    place = STANDING
    parts = ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    nodes: list[tuple[str, int, np.ndarray]] = []  # name, parent, place at rest

    def add(name: str, parent: int, at: tuple[float, ...]) -> int:
        nodes.append((name, parent, np.array(at, dtype=float)))
        return len(nodes) - 1

    root = add(hips, -1, (0, 0.95, 0))
    chest = add(spine, root, (0, 1.2, 0))
    add(head, add(neck, chest, place["neck"]), place["head"])
    for side, word in (("left", left), ("right", right)):
        names = dict(zip(parts, (n.replace("lr", word) for n in limbs.split(separator)), strict=True))
        x = place[f"{side}_shoulder"][0]
        at = add(names["collar"], chest, (x / 4, 1.42, 0))
        for part in ("shoulder", "elbow", "wrist"):
            at = add(names[part], at, place[f"{side}_{part}"])
        at = root
        for part in ("hip", "knee", "ankle"):
            at = add(names[part], at, place[f"{side}_{part}"])

    to_up = {"y": np.eye(3), "z": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])}[up]
    rng = np.random.default_rng(seed)
    t = np.arange(frames) * frame_time
    lines, columns = ["HIERARCHY"], []

    def turn(axis: int, angle: np.ndarray) -> np.ndarray:
        c, s, i = np.cos(angle), np.sin(angle), (np.eye(3)[axis], np.eye(3)[axis - 2], np.eye(3)[axis - 1])
        a, b, d = i
        return (
            np.outer(a, a)[None]
            + c[:, None, None] * (np.outer(b, b) + np.outer(d, d))[None]
            + s[:, None, None] * (np.outer(d, b) - np.outer(b, d))[None]
        )

    def write(node: int, depth: int) -> None:
        name, parent, at = nodes[node]
        pad = "  " * depth
        offset = (at - nodes[parent][2] if parent >= 0 else np.zeros(3)) @ to_up.T * scale
        lines.append(f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {name}")
        lines.extend([f"{pad}{{", f"{pad}  OFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}"])
        amplitude = rng.uniform(-0.4, 0.4, size=3)
        phase = rng.uniform(0, 6, size=3)
        rotation = np.eye(3)[None].repeat(frames, axis=0)
        for axis in range(3):
            rotation = rotation @ turn(axis, amplitude[axis] * np.sin(2 * np.pi * 0.5 * t + phase[axis]))
        rotation = to_up @ rotation @ to_up.T
        angles = np.degrees(rotmat_to_euler(rotation, order))
        stretch = 0.02 * np.sin(t[:, None] + phase) * scale
        channels = [(f"{axis}rotation", angles[:, i]) for i, axis in enumerate(order)]
        if parent < 0:
            walk = np.stack([0 * t, at[1] + 0 * t, t], axis=1) @ to_up.T * scale
            moved = [(f"{axis}position", walk[:, "XYZ".index(axis)]) for axis in positions]
            channels = channels + moved if rotations_first else moved + channels
        elif joint_positions != "none":
            values = stretch + (offset if joint_positions == "whole" else 0)
            channels = [(f"{axis}position", values[:, "XYZ".index(axis)]) for axis in positions] + channels
        lines.append(f"{pad}  CHANNELS {len(channels)} {' '.join(c for c, _ in channels)}")
        columns.extend(values for _, values in channels)
        children = [i for i, (_, p, _) in enumerate(nodes) if p == node and nodes[i][0] != without]
        for child in children:
            write(child, depth + 1)
        if not children:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 1 0", f"{pad}  }}"])
        lines.append(f"{pad}}}")

    write(root, 0)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {frame_time}"]
    lines += [" ".join(f"{v:.6f}" for v in row) for row in np.stack(columns, axis=1)]
    return "\n".join(lines) + "\n"
