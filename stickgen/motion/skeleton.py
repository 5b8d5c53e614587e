"""The two stick figures: 5 segments in 20 numbers, 12 segments in 48.

A frame is the concatenation of its segments, each ``(x1, y1, x2, y2)``; y points up, feet are near y = 0, and a
normalised body is about 1 high. Every function takes NumPy arrays or torch tensors and returns the same kind.
"""

from dataclasses import dataclass
from typing import Any

from stickgen.errors import DataError

FPS = 25
"""Frames a second of every clip, prediction and animation."""

Array = Any
"""A NumPy array or a torch tensor."""


@dataclass(frozen=True)
class Segment:
    """A straight limb of the figure, from one named joint to another."""

    name: str
    start: str
    end: str


@dataclass(frozen=True)
class Skeleton:
    """A layout of segments.

    Attributes:
        name: the ``type`` written into ``.motion`` files.
        joints: the joint names, in the order of :meth:`to_joints` and :meth:`from_joints`.
        segments: the segments, in the order of the numbers of a frame.
    """

    name: str
    joints: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def dim(self) -> int:
        """Numbers in a frame: four a segment."""
        return 4 * len(self.segments)

    def joint(self, name: str) -> int:
        """Return the position of a joint in :attr:`joints`."""
        return self.joints.index(name)

    def from_joints(self, joints: Array) -> Array:
        """Lay joints ``[..., J, 2]`` out as frames ``[..., dim]``."""
        ends = [self.joint(name) for s in self.segments for name in (s.start, s.end)]
        return joints[..., ends, :].reshape(*joints.shape[:-2], self.dim)

    def to_joints(self, motion: Array) -> Array:
        """Read the joints ``[..., J, 2]`` out of frames ``[..., dim]``.

        Where segments share a joint, the first segment that has it is read: in model output shared joints need
        not coincide exactly. The pelvis of the 12-segment figure is the end of its lower torso.
        """
        points = motion.reshape(*motion.shape[:-1], 2 * len(self.segments), 2)
        names = [name for s in self.segments for name in (s.start, s.end)]
        return points[..., [names.index(joint) for joint in self.joints], :]

    def segment_lengths(self, motion: Array) -> Array:
        """Return the length of every segment, ``[..., S]``, of frames ``[..., dim]``."""
        ends = motion.reshape(*motion.shape[:-1], len(self.segments), 2, 2)
        return ((ends[..., 1, :] - ends[..., 0, :]) ** 2).sum(-1) ** 0.5


STICK_5 = Skeleton(
    name="stick_figure_5_segment",
    joints=("neck", "pelvis", "left_ankle", "right_ankle", "left_wrist", "right_wrist"),
    segments=(
        Segment("torso", "neck", "pelvis"),
        Segment("left_leg", "pelvis", "left_ankle"),
        Segment("right_leg", "pelvis", "right_ankle"),
        Segment("left_arm", "neck", "left_wrist"),
        Segment("right_arm", "neck", "right_wrist"),
    ),
)
"""The 20-number figure."""

STICK_12 = Skeleton(
    name="stick_figure_12_segment_v3",
    joints=(
        "neck", "head", "chest", "pelvis", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
        "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee",
        "right_ankle",
    ),
    segments=(
        Segment("head", "neck", "head"),
        Segment("upper_torso", "neck", "chest"),
        Segment("lower_torso", "chest", "pelvis"),
        Segment("left_upper_arm", "left_shoulder", "left_elbow"),
        Segment("left_forearm", "left_elbow", "left_wrist"),
        Segment("right_upper_arm", "right_shoulder", "right_elbow"),
        Segment("right_forearm", "right_elbow", "right_wrist"),
        Segment("left_thigh", "left_hip", "left_knee"),
        Segment("left_shin", "left_knee", "left_ankle"),
        Segment("right_thigh", "right_hip", "right_knee"),
        Segment("right_shin", "right_knee", "right_ankle"),
        Segment("pelvis_width", "left_hip", "right_hip"),
    ),
)  # fmt: skip
"""The 48-number figure."""

SKELETONS: dict[int, Skeleton] = {s.dim: s for s in (STICK_5, STICK_12)}
"""The known figures by the numbers of a frame."""


def other_side(joint: str) -> str:
    """Return the name of the joint on the other side of the body: ``right_knee`` for ``left_knee``."""
    side, _, part = joint.partition("_")
    return f"{ {'left': 'right', 'right': 'left'}[side] }_{part}" if side in ("left", "right") else joint


def skeleton_of(dim: int) -> Skeleton:
    """Return the figure whose frames have ``dim`` numbers.

    Raises:
        DataError: no figure has that many.
    """
    try:
        return SKELETONS[dim]
    except KeyError:
        known = " or ".join(str(d) for d in SKELETONS)
        raise DataError(f"motion has {dim} numbers a frame; {known} expected (see docs/data.md)") from None


_REST: dict[str, tuple[float, float]] = {
    "neck": (0.0, 0.77), "head": (0.02, 0.865), "chest": (0.0, 0.742), "pelvis": (0.0, 0.466),
    "left_shoulder": (0.0, 0.742), "left_elbow": (-0.015, 0.582), "left_wrist": (0.06, 0.48),
    "right_shoulder": (0.0, 0.742), "right_elbow": (-0.015, 0.582), "right_wrist": (0.06, 0.48),
    "left_hip": (0.0, 0.466), "left_knee": (0.03, 0.24), "left_ankle": (0.0, 0.0),
    "right_hip": (0.0, 0.466), "right_knee": (0.03, 0.24), "right_ankle": (0.0, 0.0),
}  # fmt: skip


def rest_pose(dim: int) -> list[float]:
    """Return a frame of a figure that stands at rest at x = 0, seen from its side, facing +x.

    The proportions are those of the standing frames of CMU motion capture as ``stickgen prepare`` projects them.

    Raises:
        DataError: no figure has that many numbers.
    """
    return [number for s in skeleton_of(dim).segments for name in (s.start, s.end) for number in _REST[name]]


def to_stick_5(motion: Array) -> Array:
    """Reduce frames ``[..., dim]`` of a larger figure to the ``[..., 20]`` of the 5-segment one.

    Legs then run straight from the pelvis centre to the ankle and arms from the neck to the wrist.

    Raises:
        DataError: no figure has so many numbers.
    """
    if motion.shape[-1] == STICK_5.dim:
        return motion
    larger = skeleton_of(motion.shape[-1])
    joints = larger.to_joints(motion)
    return STICK_5.from_joints(joints[..., [larger.joint(name) for name in STICK_5.joints], :])
