"""Reading files of tensors."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stickgen import files
from stickgen.errors import CheckpointError


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a .safetensors file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged: {error}") from None


def read_torch(path: Path) -> Any:
    """Return the content of a .pth, .pt or .ckpt file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds objects that would have to be executed.
    """
    return files.read_torch(
        path,
        mistake=CheckpointError,
        instead="where it was made, save the tensors alone: torch.save(checkpoint['model_state_dict'], 'base.pth')",
    )
