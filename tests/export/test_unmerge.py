"""`stickgen unmerge`: a merged model's base, from the stored one."""

import re
from pathlib import Path

import pytest
import torch

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.config import MergeConfig
from stickgen.errors import CheckpointError, OutputExistsError
from stickgen.export.merge import merge
from stickgen.export.unmerge import unmerge
from stickgen.lora import adapted_layers, get_lora_state_dict, inject_lora_adapters, lora_settings
from tests.runs import make_base, run_command


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an adapter of it, and the two merged."""
    folder = tmp_path_factory.mktemp("made")
    base = load_base(make_base(folder / "base.safetensors"))
    inject_lora_adapters(base.model, ["pose_decoder"], rank=2)
    random = torch.Generator().manual_seed(2)
    for layer in adapted_layers(base.model).values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=random)
    adapter = Adapter(
        get_lora_state_dict(base.model), lora_settings(base.model), base.fingerprint, str(base.path), base.record
    )
    save_adapter(adapter, folder / "adapter")
    merge(MergeConfig(checkpoint=str(folder / "adapter"), output=str(folder / "merged.safetensors")))
    return folder


@pytest.mark.parametrize("name", ["back.safetensors", "back.pth"])
def test_the_base_comes_back_bit_for_bit_and_merges_again(made: Path, tmp_path: Path, name: str) -> None:
    told = unmerge(made / "merged.safetensors", tmp_path / name)
    base, back = load_base(made / "base.safetensors"), load_base(tmp_path / name)
    assert back.fingerprint == base.fingerprint in told
    assert back.record == base.record
    expected = base.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in back.model.state_dict().items())
    merge(
        MergeConfig(
            checkpoint=str(made / "adapter"),
            base_checkpoint=str(tmp_path / name),
            output=str(tmp_path / "again.safetensors"),
        )
    )
    again = load_base(tmp_path / "again.safetensors")
    assert again.fingerprint == load_base(made / "merged.safetensors").fingerprint != base.fingerprint


def test_a_base_that_moved_is_given_or_comes_with_stickgen(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = load_base(made / "merged.safetensors")
    merged.record.origin["base_path"] = "gone.safetensors"
    save_base(merged.model, merged.record, tmp_path / "merged.pth")
    with pytest.raises(CheckpointError, match=r"merged\.pth: its base is not at gone\.safetensors any more; .* --base"):
        unmerge(tmp_path / "merged.pth", tmp_path / "out.pth")
    unmerge(tmp_path / "merged.pth", tmp_path / "given.pth", made / "base.safetensors")
    (tmp_path / "assets").mkdir()
    make_base(tmp_path / "assets" / "a.safetensors", seed=1)
    make_base(tmp_path / "assets" / "b.safetensors")
    monkeypatch.setattr("stickgen.artifacts.base_lookup.PROJECT", tmp_path)
    unmerge(tmp_path / "merged.pth", tmp_path / "found.pth")
    prints = {load_base(tmp_path / name).fingerprint for name in ("given.pth", "found.pth")}
    assert prints == {load_base(made / "base.safetensors").fingerprint}


def test_what_cannot_be_unmerged(made: Path, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other.safetensors", seed=1)
    merged, base = made / "merged.safetensors", made / "base.safetensors"
    for source, output, given, overwrite, words in (
        (merged, tmp_path / "out.pth", other, False, "was merged from the base"),
        (base, tmp_path / "out.pth", None, False, "its record names no base that it was merged from"),
        (made / "adapter", tmp_path / "out.pth", None, False, "holds an adapter, not a base"),
        (merged, other, None, False, "already exists"),
        (merged, merged, None, True, "would replace what it is made from"),
        (merged, base, None, True, "would replace what it is made from"),
    ):
        with pytest.raises((CheckpointError, OutputExistsError), match=re.escape(words)):
            unmerge(source, output, given, overwrite=overwrite)
    assert not (tmp_path / "out.pth").exists()


def test_the_command(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "base.pth"
    assert run_command(monkeypatch, "unmerge", made / "merged.safetensors", output) == 0
    assert capsys.readouterr().out.startswith(f"{output}: the base that {made / 'merged.safetensors'} was merged from")
    assert run_command(monkeypatch, "unmerge", made / "base.safetensors", tmp_path / "x.pth") == 1
    assert capsys.readouterr().err.count("\n") == 1
