"""What an importer is: a format's name, how to recognise it, and how to read it."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stickgen.errors import ConfigError
from stickgen.mocap.keypoints.layouts import MIN_CONFIDENCE
from stickgen.mocap.projection import Recording
from stickgen.motion.skeleton import FPS
from stickgen.untrusted import check_fps

SKIP_SECONDS = 0.1
"""Time dropped at the start of BVH files by default: many blend out of a T-pose there."""

HEAD_BYTES = 4096
"""How much of a file :attr:`Importer.recognises` is given."""


@dataclass(frozen=True)
class ImportOptions:
    """What a file cannot say about itself; an importer ignores what its format does not need.

    Attributes:
        joint_map: names that override the recognition of joints, from ours to the file's.
        up: the up axis of the sources, or "auto".
        skip_seconds: time dropped at the start of formats that often begin in a T-pose.
        fps: frames a second of formats that do not record a rate; None: the format's usual rate.
        image_size: width and height of the picture, where keypoints are shares of it and the file does not name it.
        min_confidence: confidence from which a keypoint counts.
        pose_model: MediaPipe's pose landmarker (``.task``), for videos.
    """

    joint_map: Mapping[str, str] = field(default_factory=dict)
    up: str = "auto"
    skip_seconds: float = SKIP_SECONDS
    fps: float | None = None
    image_size: tuple[int, int] | None = None
    min_confidence: float = MIN_CONFIDENCE
    pose_model: Path | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value cannot work.
        """
        if not 0 <= self.skip_seconds < math.inf:
            raise ConfigError(f"skip_seconds={self.skip_seconds}: a time of 0 s or more expected")
        try:
            check_fps(FPS if self.fps is None else self.fps)
        except ValueError as error:
            raise ConfigError(f"--fps {self.fps:g}: {error}") from None
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"--min-confidence {self.min_confidence:g}: 0 to 1 expected")


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of a text like "1920x1080".

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip().lower())
    if not match:
        raise ConfigError(f"--image-size {text}: width and height expected, as 1920x1080")
    return int(match[1]), int(match[2])


def _alone(path: Path) -> Sequence[Path]:
    return ()


@dataclass(frozen=True)
class Importer:
    """A format of motion.

    Attributes:
        name: what the format is called, for messages and tables ("BVH").
        description: one line: which files, and what is read of them.
        recognises: whether a path holds this format. It is given the path and the first :data:`HEAD_BYTES` bytes of the
            file, b"" for a folder, and decides by the content: names differ. It raises nothing.
        read: the recordings of a path that ``recognises`` accepted; a DataError for what cannot be used.
        beside: other files that are read with a path, if they exist; a text file of its name need not be listed.
    """

    name: str
    description: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path, ImportOptions], list[Recording]]
    beside: Callable[[Path], Sequence[Path]] = _alone
