"""Comparing files with their digests; what ``stickgen verify`` does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stickgen.artifacts.adapter import load_adapter
from stickgen.artifacts.peft_format import CONFIG_FILE, WEIGHTS_FILE
from stickgen.artifacts.run import RunFolder, read_checkpoint, read_json
from stickgen.artifacts.tensors import read_metadata, read_safetensors, read_torch
from stickgen.data.file import open_clips
from stickgen.data.packed import FORMATS
from stickgen.digests import check_torch, digest_key
from stickgen.errors import CheckpointError, StickgenError

_TORCH = (".pth", ".pt", ".ckpt")


@dataclass(frozen=True)
class Verified:
    """What was found of a file.

    Attributes:
        path: the file.
        digest: whether it has a digest, which then agrees with its content.
        damage: what is wrong with it; None where nothing is.
    """

    path: Path
    digest: bool
    damage: str | None = None


def verify(path: Path) -> list[Verified]:
    """Read a file of tensors whole, or all files of a run or an adapter, and compare them with their digests.

    Args:
        path: a .safetensors, .pth, .pt or .ckpt; or a folder.

    Raises:
        CheckpointError: there is no such file or folder, or nothing in it that can be verified.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    found = [_verified(file) for file in (_files(path) if path.is_dir() else [path])]
    if not found:
        raise CheckpointError(f"{path}: holds nothing to verify; name a run, an adapter or a file of tensors")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that stickgen reads again."""
    run = RunFolder(folder)
    places = [folder, run.adapter, run.checkpoints]
    for place in places:
        for file in sorted(place.glob("*")):
            if file.suffix in (".safetensors", *_TORCH) or file in (run.settings, run.environment, run.metrics):
                yield file


def _verified(path: Path) -> Verified:
    try:
        return Verified(path, _compare(path))
    except StickgenError as error:
        return Verified(path, False, str(error))
    except OSError as error:
        return Verified(path, False, f"{path}: {error.strerror}")


def _compare(path: Path) -> bool:
    """Read a file as its users do, and return whether it has a digest.

    Raises:
        StickgenError: it is damaged.
    """
    if path.name == "config.yaml":
        RunFolder(path.parent).read_config()
        return False
    if path.suffix == ".json":
        read_json(path)
        return False
    if path.suffix == ".ckpt":
        read_checkpoint(path)
        return check_torch(path, CheckpointError)
    if path.suffix in _TORCH:
        read_torch(path)
        return check_torch(path, CheckpointError)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: no file of tensors; {', '.join(('.safetensors', *_TORCH))} expected")
    metadata = read_metadata(path)
    if metadata.get("format") in FORMATS:
        clips, _ = open_clips(path)
        for info in clips.infos:
            clips.load(info.position)
    elif path.name == WEIGHTS_FILE and (path.parent / CONFIG_FILE).is_file():
        load_adapter(path.parent)
    else:
        read_safetensors(path)
    return digest_key(metadata) is not None
