"""Reading pickles of NumPy arrays without executing what they name."""

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError

MAX_BYTES = 2**29
"""Size of a pickle that is read; a minute of two SMPL bodies takes some megabytes."""

MAX_STEPS = 100_000
"""Steps of a pickle; a file of arrays has some hundreds."""

# What pickled arrays, dtypes and NumPy numbers are made of, under the names of NumPy 1 and 2; they carry no code.
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric", "numpy")
_NAMES = ("_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows NumPy's arrays and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the permitted constructors.

        Raises:
            pickle.UnpicklingError: another is asked for.
        """
        if module in _MODULES and name in _NAMES:
            return _CONSTRUCTORS[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):
            return _no_bytes
        raise pickle.UnpicklingError(f"it names {module}.{name}"[:200])


def read_pickle(path: Path) -> Any:
    """Read a pickle of plain values and arrays of numbers.

    Raises:
        DataError: it is damaged, too large, or holds anything else, which is refused and not executed.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{path}: a pickle of {size} bytes; at most {MAX_BYTES} expected")
    try:
        content = path.read_bytes()
        _check_steps(content)
        return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        if "it names" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which would have to be executed, and was refused "
                f"({' '.join(str(error).split())}); save plain arrays"
            ) from None
        raise DataError(f"{path}: not a pickle, or damaged") from None
    except Exception:  # damaged pickles make the unpickler raise whatever their opcodes lead to
        raise DataError(f"{path}: not a pickle, or damaged") from None


def arrays_in(content: Any, path: Path, **shapes: tuple[int | None, ...]) -> dict[str, np.ndarray]:
    """Return arrays of a pickled dict as float64.

    Args:
        content: what was read.
        path: the file, for messages.
        shapes: by key, the shape of an array, None for any length.

    Raises:
        DataError: one is missing, holds no real numbers, or has another shape.
    """
    if not isinstance(content, dict):
        raise DataError(f"{path}: a dict of arrays expected, {type(content).__name__} found")
    arrays: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        value: Any = content.get(key)
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        real = isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.number)
        if not real or np.issubdtype(value.dtype, np.complexfloating):
            raise DataError(f"{path}: {key}: an array of numbers expected, {kind} found")
        fits = len(value.shape) == len(shape) and all(
            want in (None, is_) for want, is_ in zip(shape, value.shape, strict=True)
        )
        if not fits:
            expected = ", ".join("any" if want is None else str(want) for want in shape)
            raise DataError(f"{path}: {key}: shape [{expected}] expected, {list(value.shape)} found")
        arrays[key] = np.asarray(value, dtype=np.float64)
    return arrays


def _check_steps(content: bytes) -> None:
    """Refuse a pickle whose few bytes ask for gigabytes: the memo grows to the largest place that is named in it.

    Raises:
        ValueError: so it does, or it has more steps than a file of arrays needs.
    """
    for number, (step, argument, _) in enumerate(pickletools.genops(content)):
        place = argument if step.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument else 0
        if number > MAX_STEPS or place > MAX_STEPS:
            raise ValueError("more steps than a file of arrays needs")


class _Ndarray:
    """Stands for ``numpy.ndarray``, which a pickle only names and never calls."""

    def __new__(cls) -> Any:
        raise pickle.UnpicklingError("it names a call of numpy.ndarray")


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """Make the empty array that a pickled state then fills."""
    if kind is not _Ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError("it names a subclass of numpy.ndarray")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _dtype(code: Any, *_: Any) -> np.dtype:
    """Make the type of numbers or strings; objects and structures are refused."""
    if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?[biufcSU][0-9]*", code)):
        raise pickle.UnpicklingError(f"it names arrays of {code!r:.40}")
    return np.dtype(code)


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Make an array of protocol 5 out of its bytes."""
    return np.frombuffer(buffer, dtype=_plain(dtype)).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    """Make a NumPy number out of its bytes."""
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype=_plain(dtype), count=1)[0]


def _plain(dtype: Any) -> np.dtype:
    if not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("it names an array without a type")
    return dtype


def _no_bytes() -> bytes:
    """Return no bytes, as old protocols write them."""
    return b""


def _encode(text: Any, encoding: Any) -> bytes:
    """Return the bytes that protocol 2 writes as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it names an encoding")
    return text.encode("latin1")


_CONSTRUCTORS: dict[str, Any] = {
    "_reconstruct": _reconstruct,
    "_frombuffer": _frombuffer,
    "scalar": _scalar,
    "ndarray": _Ndarray,
    "dtype": _dtype,
}
