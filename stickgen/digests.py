"""Digests of files of tensors: written with them, compared when they are read.

A .safetensors file has its digest in its metadata; it covers names, types, shapes, numbers and the other metadata. A
.pth, .pt or .ckpt is a zip archive; its digest is the archive's comment and covers all bytes before it. PyTorch, PEFT
and safetensors read both as before. Files without a digest, as of other programs, are read unchecked.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stickgen.errors import StickgenError

if TYPE_CHECKING:
    from torch import Tensor

DIGEST_KEY = "stickgen_digest"
"""Under this key of the safetensors metadata lies the digest."""

DIGEST_PREFIX = "sha256:"
DIGEST_LENGTH = 16
"""Of a short digest, in hexadecimal digits."""

_END = b"PK\x05\x06"
_END_SIZE = 22
"""Of a zip archive's end without its comment, whose length is the last two bytes."""
_COMMENT = re.compile(rb"stickgen sha256:([0-9a-f]{64})")
_COMMENT_SIZE = len(b"stickgen sha256:") + 64


def write_torch(content: Any, path: Path) -> None:
    """Write what ``torch.save`` writes, with a digest.

    Args:
        content: tensors and plain values.
        path: the file.

    Raises:
        OSError: the file cannot be written.
    """
    import torch  # here, since the command line needs this module and not torch

    with path.open("w+b") as file:
        stream = _Stream(file)
        try:
            torch.save(content, stream)  # type: ignore[arg-type]  # which writes and flushes, and no more
        except RuntimeError:  # torch's own, of what the system has refused
            if stream.refused is None:
                raise
            raise stream.refused from None
        size = file.seek(0, 2)
        comment = f"stickgen {DIGEST_PREFIX}{_hash(file, size - 2)}".encode()
        file.seek(size - 2)
        file.write(len(comment).to_bytes(2, "little") + comment)


class _Stream:
    """A file as torch.save takes one, which remembers what the system has refused."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.refused: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.refused = error
            raise

    def flush(self) -> None:
        """Leave it to the end."""


def check_torch(path: Path, mistake: type[StickgenError]) -> bool:
    """Compare a .pth, .pt or .ckpt with its digest.

    Returns:
        whether it has one.

    Raises:
        StickgenError: as ``mistake``, where the content is not what was written.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False  # in the format of before torch 1.6, or none of torch's
        size = file.seek(0, 2)
        if _tail(file, _END_SIZE).startswith(_END):
            return False
        tail = _tail(file, _END_SIZE + _COMMENT_SIZE)
        found = _COMMENT.fullmatch(tail[_END_SIZE:])
        length = int.from_bytes(tail[_END_SIZE - 2 : _END_SIZE], "little")
        if not tail.startswith(_END) or length != _COMMENT_SIZE or found is None:
            raise mistake(f"{path}: not a torch file, or damaged: its end is not as it was written")
        if _hash(file, size - _COMMENT_SIZE - 2) != found[1].decode():
            raise mistake(f"{path}: damaged: its content is not what was written; restore it, or write it again")
    return True


def write_safetensors(tensors: Mapping[str, "Tensor"], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file, with a digest in its metadata.

    Args:
        tensors: contiguous, on the CPU.
        path: the file.
        metadata: texts by key.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save

    path.write_bytes(save(dict(tensors), {**metadata, DIGEST_KEY: DIGEST_PREFIX + tensor_digest(tensors, metadata)}))


def check_safetensors(
    tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str], path: Path, mistake: type[StickgenError]
) -> bool:
    """Compare what was read from a .safetensors file with the digest in its metadata.

    Returns:
        whether it has one.

    Raises:
        StickgenError: as ``mistake``, where the content is not what was written.
    """
    key = digest_key(metadata)
    if key is None:
        return False
    rest = {name: text for name, text in metadata.items() if name != key}
    if key != DIGEST_KEY or metadata[key] != DIGEST_PREFIX + tensor_digest(tensors, rest):
        raise mistake(f"{path}: damaged: its content is not what was written; restore it, or write it again")
    return True


def digest_key(metadata: Mapping[str, str]) -> str | None:
    """Return the key of the digest in a file's metadata; None where there is none.

    A digest is also known by its value: a damaged key must not make a file look like one of before digests.
    """
    return next((k for k, text in metadata.items() if k == DIGEST_KEY or text.startswith(DIGEST_PREFIX)), None)


def tensor_digest(tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> str:
    """Return a digest of tensors, with their names, types and shapes, and of texts by key."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().contiguous()
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        if value.numel():
            digest.update(memoryview(_as_bytes(value)))
    return digest.hexdigest()


def short_digest(*tensors: "Tensor") -> str:
    """Return a digest of the numbers of tensors, as hexadecimal digits."""
    digest = hashlib.sha256()
    for value in tensors:
        if value.numel():
            digest.update(memoryview(_as_bytes(value.contiguous())))
    return digest.hexdigest()[:DIGEST_LENGTH]


def _as_bytes(value: "Tensor") -> Any:
    """Return the numbers of a contiguous tensor as an array of bytes."""
    import torch

    return value.reshape(-1).view(torch.uint8).numpy()


def _tail(file: IO[bytes], size: int) -> bytes:
    file.seek(max(file.seek(0, 2) - size, 0))
    return file.read(size)


def _hash(file: IO[bytes], size: int) -> str:
    """Return the digest of a file's first bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()
