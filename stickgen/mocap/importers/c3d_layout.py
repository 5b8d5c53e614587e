"""Checks of a C3D file's layout before ezc3d reads it, which damaged lengths can crash."""

import math
import struct
from pathlib import Path

from stickgen.errors import DataError

MAX_BYTES = 2**31
"""Size of a file that is read."""

_INTEL = 84
_NUMBER_BYTES = {-1: 1, 1: 1, 2: 2, 4: 4}
"""Bytes of a parameter's entry by its type: text, byte, integer, float."""


def check_c3d(path: Path) -> None:
    """Refuse a file whose header, parameters and data do not fit each other or the file.

    The layout is that of the C3D user guide (c3d.org): a header of one block of 512 bytes, blocks of parameters, blocks
    of data.

    Raises:
        DataError: a length leads out of the file, a number of points differs between header and parameters, or the file
            is of another processor than Intel's.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{path}: {size} bytes; at most {MAX_BYTES} expected")
    content = path.read_bytes()
    try:
        _check(content)
    except (ValueError, struct.error, IndexError) as error:
        raise DataError(f"{path}: not a C3D file that can be read: {error}; it is damaged or truncated") from None


def _check(content: bytes) -> None:
    points, analog, first, last, _, scale, block = struct.unpack_from("<HHHHHfH", content, 2)
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"a scale of {scale}")
    parameters = _parameters(content, (content[0] - 1) * 512)
    used = _whole(parameters, "POINT", "USED")
    if used != points:
        raise ValueError(f"{points} points in the header, {used} in the parameters")
    if _whole(parameters, "POINT", "DATA_START", block) != block:
        raise ValueError("header and parameters name different blocks of data")
    frames = last - first + 1
    if frames < 1:
        raise ValueError(f"frames {first} to {last}")
    # 65535 is written for longer recordings, whose length is a parameter.
    if last != 0xFFFF and _whole(parameters, "POINT", "FRAMES", frames) not in (frames, 0xFFFF):
        raise ValueError("header and parameters name different numbers of frames")
    channels = _whole(parameters, "ANALOG", "USED", 0)
    samples = struct.unpack_from("<H", content, 18)[0]
    # Numbers are floats where the scale is negative, else 16-bit; a point takes four.
    needed = (block - 1) * 512 + frames * (4 * points + max(analog, channels * samples)) * (4 if scale < 0 else 2)
    if needed > len(content):
        raise ValueError(f"{points} points in {frames} frames do not fit into {len(content)} bytes")


def _parameters(content: bytes, start: int) -> dict[tuple[str, str], tuple[int, bytes]]:
    """Return type and data of every parameter, by its group and name, having walked through all records."""
    blocks, processor = content[start + 2], content[start + 3]
    if processor != _INTEL:
        raise ValueError(f"numbers of processor type {processor}; {_INTEL} (Intel) expected")
    end = min(start + blocks * 512, len(content))
    groups: dict[int, str] = {}
    found: dict[tuple[int, str], tuple[int, bytes]] = {}
    at = start + 4
    while at + 2 <= end:
        letters, number = struct.unpack_from("<bb", content, at)
        if letters == 0 or number == 0:
            break
        name = content[at + 2 : at + 2 + abs(letters)].decode("latin1")
        at += 2 + abs(letters)
        (offset,) = struct.unpack_from("<h", content, at)
        following = at + offset
        body = at + 2
        if number < 0:
            groups[-number] = name.upper()
        else:
            kind, dimensions = struct.unpack_from("<bB", content, body)
            if kind not in _NUMBER_BYTES or dimensions > 7:
                raise ValueError(f"parameter {name[:20]!r} of type {kind} and {dimensions} dimensions")
            sizes = content[body + 2 : body + 2 + dimensions]
            data = body + 2 + dimensions
            body = data + math.prod(sizes) * _NUMBER_BYTES[kind]
            found[number, name.upper()] = kind, content[data:body]
        # What describes the record comes last, its length first.
        if body >= end or body + 1 + content[body] > end or (offset and following < body + 1 + content[body]):
            raise ValueError(f"parameter {name[:20]!r} has a wrong length")
        if offset == 0:
            break
        at = following
    if any(number not in groups for number, _ in found):
        raise ValueError("a parameter of no group")
    return {(groups[number], name): entry for (number, name), entry in found.items()}


def _whole(
    parameters: dict[tuple[str, str], tuple[int, bytes]], group: str, name: str, otherwise: int | None = None
) -> int:
    kind, data = parameters.get((group, name), (0, b""))
    if not data and otherwise is not None:
        return otherwise
    if kind == 2 and len(data) == 2:
        return int(struct.unpack("<H", data)[0])
    if kind == 4 and len(data) == 4 and math.isfinite(value := struct.unpack("<f", data)[0]):
        return int(value)
    raise ValueError(f"parameter {group}:{name} is no number")
