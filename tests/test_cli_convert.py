"""`stickgen convert`, as a user runs it."""

from pathlib import Path

import pytest
import torch

from stickgen.artifacts.adapter import Adapter, load_adapter, save_adapter
from stickgen.lora import LoRASettings
from tests.runs import help_without, run_command


def test_a_state_dict_becomes_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"pose_decoder.0.lora_A": torch.ones(2, 5), "pose_decoder.0.lora_B": torch.ones(3, 2)}
    torch.save(state, tmp_path / "lora.pth")
    source, output = tmp_path / "lora.pth", tmp_path / "adapter"
    assert run_command(monkeypatch, "convert", source, output) == 1
    assert "does not tell its alpha" in capsys.readouterr().err
    assert run_command(monkeypatch, "convert", source, output, "--alpha", 4) == 0
    assert capsys.readouterr().out == f"{output}: adapters of rank 2, alpha 4, dropout 0 in 1 layers\n"
    assert load_adapter(output).settings == LoRASettings(2, 4.0, 0.0)
    assert run_command(monkeypatch, "convert", source, output, "--alpha", 4) == 1
    assert "already exists" in capsys.readouterr().err
    assert run_command(monkeypatch, "convert", source, output, "--alpha", 4, "--overwrite") == 0


def test_what_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"pose_decoder.0.lora_A": torch.ones(2, 5), "pose_decoder.0.lora_B": torch.ones(3, 2)}
    save_adapter(Adapter(state, LoRASettings(2, 4.0)), tmp_path / "adapter")
    assert run_command(monkeypatch, "convert", tmp_path / "adapter", tmp_path / "x.pth", "--to", "wrapped") == 1
    message = capsys.readouterr().err
    assert message.strip() == f"error: {tmp_path / 'adapter'}: does not name its base; give it with --base"
    assert not (tmp_path / "x.pth").exists()


def test_help_needs_no_torch() -> None:
    assert "lora_state_dict" in help_without("convert", {"torch", "numpy", "safetensors"})
