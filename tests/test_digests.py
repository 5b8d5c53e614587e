"""Every file of tensors that is written has a digest; whatever bit of one is flipped, reading it is refused."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stickgen.artifacts.adapter import Adapter, load_adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.artifacts.reference import read_reference_adapter, write_reference_adapter
from stickgen.artifacts.tensors import read_safetensors, read_torch
from stickgen.data.file import open_clips, write_sequences
from stickgen.digests import check_torch, write_safetensors, write_torch
from stickgen.errors import CheckpointError, StickgenError
from stickgen.lora import LoRASettings
from stickgen.model import StickFigureTransformer
from tests.random_clips import random_sequences
from tests.runs import run_command

FLIPS = 150


def model() -> StickFigureTransformer:
    torch.manual_seed(0)
    sizes = {"input_dim": 20, "d_model": 16, "nhead": 2, "num_layers": 1, "output_dim": 20, "embedding_dim": 8}
    return StickFigureTransformer(**sizes, causal=True).eval()


def adapter() -> Adapter:
    state = {"layers.0.lora_A": torch.randn(2, 16), "layers.0.lora_B": torch.randn(16, 2)}
    return Adapter(state, LoRASettings(2, 4.0), base_fingerprint="f" * 32, base_record=BaseRecord({}))


def clips(path: Path) -> None:
    store, _ = open_clips(path)
    for info in store.infos:
        store.load(info.position)


Kind = tuple[Callable[[Path], Any], Callable[[Path], Any]]
KINDS: dict[str, Kind] = {
    "base.safetensors": (lambda path: save_base(model(), BaseRecord({}), path), load_base),
    "base.pth": (lambda path: save_base(model(), BaseRecord({}), path), load_base),
    "adapter_model.safetensors": (
        lambda path: save_adapter(adapter(), path.parent, overwrite=True),
        lambda path: load_adapter(path.parent),
    ),
    "lora.pth": (lambda path: write_reference_adapter(adapter(), path), read_reference_adapter),
    "bare.safetensors": (
        lambda path: write_reference_adapter(adapter(), path, bare=True),
        lambda path: read_reference_adapter(path, 4.0),
    ),
    "clips.safetensors": (lambda path: write_sequences(path, random_sequences(3), {}), clips),
    "last.ckpt": (lambda path: write_torch({"state": {"a": torch.randn(99)}, "step": 3}, path), read_torch),
}


def flipped(whole: bytes, count: int) -> list[bytes]:
    """Copies with one bit flipped: half of them anywhere, half near either end, where the formats' own words are."""
    chance = random.Random(0)
    copies = []
    for kind in range(count):
        copy = bytearray(whole)
        near = min(600, len(copy) - 1)
        at = (chance.randrange(len(copy)), chance.randrange(near), -1 - chance.randrange(near))[kind % 3]
        copy[at] ^= 1 << chance.randrange(8)
        copies.append(bytes(copy))
    return copies


@pytest.mark.parametrize("name", list(KINDS))
def test_a_flipped_bit_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    write, read = KINDS[name]
    folder = tmp_path / "files"
    path = folder / name
    folder.mkdir()
    write(path)
    read(path)
    whole = path.read_bytes()
    for content in flipped(whole, FLIPS):
        path.write_bytes(content)
        with pytest.raises(StickgenError) as refused:
            read(path)
        assert str(refused.value).startswith(str(folder))
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)
    read(path)


def test_rank_and_alpha_of_an_adapter_are_those_that_its_tensors_were_written_with(tmp_path: Path) -> None:
    save_adapter(adapter(), tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 5'))
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: rank, alpha or their rule are not those"):
        load_adapter(tmp_path / "adapter")


def test_files_of_others_have_no_digest_and_are_read(tmp_path: Path) -> None:
    state = {"a": torch.randn(3)}
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "a.safetensors", metadata={"format": "pt"})
    for name in ("a.pth", "old.pth"):
        assert not check_torch(tmp_path / name, CheckpointError)
        assert torch.equal(read_torch(tmp_path / name)["a"], state["a"])
    assert torch.equal(read_safetensors(tmp_path / "a.safetensors")[0]["a"], state["a"])


def test_others_read_our_files(tmp_path: Path) -> None:
    state = {
        "a": torch.randn(3, 4), "b": torch.tensor(2.0), "c": torch.empty(0, 3), "d": torch.randn(5).bfloat16(),
        "e": torch.arange(3), "f": torch.tensor([True, False]),
    }  # fmt: skip
    write_torch(state, tmp_path / "a.pth")
    write_safetensors(state, tmp_path / "a.safetensors", {"format": "pt", "more": "text"})
    read = [torch.load(tmp_path / "a.pth", weights_only=True, mmap=mmap) for mmap in (False, True)]
    for found in (*read, load_file(tmp_path / "a.safetensors"), read_safetensors(tmp_path / "a.safetensors")[0]):
        assert found.keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in found.items())
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["more"] == "text"
    assert check_torch(tmp_path / "a.pth", CheckpointError)


def test_a_disk_that_is_full_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not PyTorch's, which speaks of positions in its own buffer."""

    def full(self: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written = []

    class Full:
        def write(self, data: bytes) -> int:
            written.append(len(data))
            if len(written) > 3:
                full(self, data)
            return len(data)

    from stickgen import digests

    class Stream(digests._Stream):
        def __init__(self, file: Any) -> None:
            super().__init__(Full())  # type: ignore[arg-type]

    monkeypatch.setattr(digests, "_Stream", Stream)
    with pytest.raises(OSError, match="No space left") as refused:
        write_torch({"a": torch.randn(5)}, tmp_path / "a.pth")
    assert refused.value.errno == errno.ENOSPC


def test_verify_reads_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("base.safetensors", "base.pth", "clips.safetensors"):
        KINDS[name][0](tmp_path / name)
    write_sequences(tmp_path / "clips.pt", random_sequences(3), {})
    save_adapter(adapter(), tmp_path / "adapter")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    assert run_command(monkeypatch, "verify", tmp_path) == 0
    told = dict(line.rsplit(": ", 1) for line in capsys.readouterr().out.splitlines())
    ours = ("base.safetensors", "base.pth", "clips.safetensors", "clips.pt", "adapter/adapter_model.safetensors")
    assert told == {
        **{str(tmp_path / name): "as it was written" for name in ours},
        str(tmp_path / "other.pth"): "no digest, but readable",
    }

    for name in ("clips.pt", "clips.safetensors"):  # whose numbers a run reads later, clip by clip
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 4
        (tmp_path / name).write_bytes(content)
    assert run_command(monkeypatch, "verify", tmp_path) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        f"error: 2 damaged: {tmp_path / 'clips.pt'}, {tmp_path / 'clips.safetensors'}; restore from a copy\n"
    )
    assert f"{tmp_path / 'clips.pt'}: damaged: its content is not what was written" in printed.out
    assert f"{tmp_path / 'base.pth'}: as it was written" in printed.out

    assert run_command(monkeypatch, "verify", tmp_path / "missing") == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'missing'}: no such file or folder\n"
    (tmp_path / "empty").mkdir()
    assert run_command(monkeypatch, "verify", tmp_path / "empty") == 1
    assert "holds nothing to verify" in capsys.readouterr().err
