"""Finding the people in a video with MediaPipe's pose landmarker (the extra ``pose``)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError, StickgenError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import (
    MAX_FRAMES,
    Frames,
    recordings,
)
from stickgen.mocap.importers.keypoint_rates import rate_of_times
from stickgen.mocap.projection import Recording

MOST_PEOPLE = 4
"""People that are looked for in a frame."""

_LEAST_TIMES = 3  # from which a rate can be told


def _recognises(path: Path, head: bytes) -> bool:
    return head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def read_video(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a video (MP4, MOV, MKV, WebM, AVI): estimate the landmarks of every frame, and clean them.

    Raises:
        DataError: no pose model was named, the video cannot be decoded, has frames of uneven length, or nobody is seen
            for long enough.
        StickgenError: MediaPipe or PyAV is not installed, or the model is not one of MediaPipe's.
    """
    if options.pose_model is None:
        raise DataError(
            f"{path}: a video needs a pose model: --pose-model pose_landmarker_full.task (see docs/video.md); or name "
            "keypoints that another estimator has found"
        )
    frames: Frames = {}
    times: dict[int, tuple[str, float]] = {}
    with _landmarker(options.pose_model) as landmarker:
        for number, (time, picture) in enumerate(_pictures(path)):
            if number >= MAX_FRAMES:
                raise DataError(f"{path}: more than {MAX_FRAMES} frames; divide the video")
            times[number] = ("time", time)
            frames[number] = _people(landmarker, picture, round(1000 * time))
    if len(times) < _LEAST_TIMES:
        raise DataError(f"{path}: {len(times)} frames; a video of half a second or more expected")
    return recordings(path, frames, options, fps=rate_of_times(times, str(path)))


def _landmarker(model: Path) -> Any:
    """Return MediaPipe's landmarker, to be closed by ``with``."""
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError:
        raise StickgenError(f"{model}: MediaPipe is not installed; pip install 'stickgen[pose]'") from None
    if not model.is_file():
        raise DataError(f"--pose-model {model}: no such file; docs/video.md says where to get one")
    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_poses=MOST_PEOPLE,
    )
    try:
        return vision.PoseLandmarker.create_from_options(options)
    except (ValueError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StickgenError(f"--pose-model {model}: not a pose landmarker of MediaPipe: {reason}") from None


def _pictures(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time in seconds and the picture, uint8 ``[H, W, 3]``, of every frame."""
    try:
        import av
    except ImportError:
        raise StickgenError(f"{path}: PyAV is not installed; pip install 'stickgen[pose]'") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: no video in it")
            for frame in container.decode(video=0):
                if frame.time is None:
                    raise DataError(f"{path}: frames without a time; convert the video first")
                # Phones film sideways and note the rotation, counterclockwise.
                picture = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
                yield frame.time, np.ascontiguousarray(picture)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be decoded: {error}") from None


def _people(landmarker: Any, picture: np.ndarray, milliseconds: int) -> list[np.ndarray]:
    import mediapipe

    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
    height, width, _ = picture.shape
    return [
        np.array([[one.x * width, one.y * height, one.visibility or 0.0] for one in landmarks])
        for landmarks in landmarker.detect_for_video(image, milliseconds).pose_landmarks
    ]


VIDEO = Importer(
    "video",
    "MP4, MOV, MKV, WebM or AVI; needs --pose-model and pip install 'stickgen[pose]'",
    _recognises,
    read_video,
)
