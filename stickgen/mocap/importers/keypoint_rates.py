"""The frame rate of keypoint files: named, or told by the times of the frames."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.untrusted import check_fps

TIMES: dict[str, float | None] = {
    "timestamp": None,
    "timestamp_ms": 1e-3,
    "ms": 1e-3,
    "time_ms": 1e-3,
    "time": 1.0,
    "timestamp_s": 1.0,
}
"""Names under which programs write the time of a frame, with the unit in seconds; None: ms where all are whole."""

_UNEVEN = 0.25  # of an interval
_UNEVEN_SHARE = 0.1  # of the intervals: single frames may be late


def rate(content: Any, where: str) -> float | None:
    """Return the frame rate that a JSON object names under ``fps``, itself or in a part about the video; else None.

    Raises:
        DataError: there are several rates, or it is no rate.
    """
    if not isinstance(content, Mapping):
        return None
    parts = [content, *(content.get(key) for key in ("meta_info", "video_info", "video", "info", "metadata", "meta"))]
    rates = [part[key] for part in parts if isinstance(part, Mapping) for key in ("fps", "frame_rate") if key in part]
    return one_rate(rates, where)


def one_rate(rates: Sequence[Any], where: str) -> float | None:
    """Return the only rate, None where there is none.

    Raises:
        DataError: there are several rates, or it is no rate.
    """
    if not all(isinstance(value, int | float) for value in rates):
        raise DataError(f"{where}: fps: a number expected")
    numbers = sorted({float(value) for value in rates})
    if len(numbers) > 1:
        raise DataError(
            f"{where}: mixed frame rates: {', '.join(f'{number:g}' for number in numbers)}; divide the file, "
            "one rate each"
        )
    for number in numbers:
        try:
            check_fps(number)
        except ValueError as error:
            raise DataError(f"{where}: fps: {error}") from None
    return numbers[0] if numbers else None


def rate_of_times(times: Mapping[int, tuple[str, float]], where: str) -> float | None:
    """Return the frame rate of frames' times, None where there are fewer than three.

    Args:
        times: of every frame number what :func:`frame_time` returns.
        where: the file, for messages.

    Raises:
        DataError: frames are not evenly spaced.
    """
    numbers = sorted(times)
    if len(numbers) < 3:
        return None
    unit = TIMES[times[numbers[0]][0]]
    if unit is None:
        unit = 1e-3 if all(time.is_integer() for _, time in times.values()) else 1.0
    at = np.array([times[number][1] for number in numbers]) * unit
    intervals = np.diff(at) / np.diff(numbers)
    usual = float(np.median(intervals))
    if not (math.isfinite(usual) and usual > 0):
        raise DataError(f"{where}: times of the frames do not increase; leave them out and give the rate with --fps")
    if np.mean(np.abs(intervals - usual) > _UNEVEN * usual) > _UNEVEN_SHARE:
        raise DataError(
            f"{where}: mixed frame rates: frames {intervals.min():.3g} to {intervals.max():.3g} s long; export a video "
            "of one rate"
        )
    # The mean of all intervals is exact where times are rounded to milliseconds.
    return one_rate([round(float((numbers[-1] - numbers[0]) / (at[-1] - at[0])), 3)], where)


def frame_time(entry: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the time of a frame and the key of :data:`TIMES` that it has; None where it has none."""
    for key in TIMES:
        value = entry.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return key, float(value)
    return None
