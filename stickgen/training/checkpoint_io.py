"""Writing checkpoints so that no kill and no full disk leaves a run without one."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io import TorchCheckpointIO

from stickgen.artifacts.run import previous_checkpoint
from stickgen.digests import check_torch, write_torch
from stickgen.errors import OutputError
from stickgen.files import atomic_write


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, flushes it, reads it again, and only then gives it its name.

    Lightning's own class writes into the system's temporary folder and copies from there over the old file. A replaced
    ``last.ckpt`` stays as ``previous.ckpt``, since a disk may still lose what it has confirmed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint, with a digest.

        Raises:
            OutputError: it cannot be written, or is not read again as it was written; the older one is kept.
        """
        path = Path(path)
        with atomic_write(path, overwrite=True, keep=previous_checkpoint(path), verify=_verify) as scratch:
            write_torch(checkpoint, scratch)


def _verify(written: Path) -> None:
    check_torch(written, OutputError)
