import copy
import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import formats, open_data, study
from benchmarks.plain_base import plainly_written
from stickgen.data.file import open_clips, pack
from stickgen.lora import inject_lora_adapters, load_lora_state_dict
from stickgen.mocap.importers.npz import JOINT_ARCHIVE
from stickgen.mocap.importers.registry import find_sources
from stickgen.model import StickFigureTransformer

SCRIPTS = sorted(path for path in Path(study.__file__).parent.glob("*.py") if "__main__" in path.read_text())


IN_A_PROCESS = "peft_run"
"""Is train.py with other adapters, and changes its process: functions and the handling of signals."""


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.stem != IN_A_PROCESS], ids=lambda path: path.stem)
def test_every_script_finds_what_it_imports(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0


def test_the_script_that_changes_its_process_finds_what_it_imports() -> None:
    script = Path(study.__file__).with_name(f"{IN_A_PROCESS}.py")
    done = subprocess.run([sys.executable, script, "--help"], cwd=script.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lora" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which Linux has")
def test_opening_is_measured_on_clips_of_realistic_length(tmp_path: Path) -> None:
    path = tmp_path / "clips.pt"
    open_data.generate(path, 8, (60, 250), 1024)
    infos = open_clips(path)[0].infos
    assert len(infos) == 8
    assert all(60 <= info.length <= 250 and info.has_actions and info.has_physics for info in infos)
    needed = open_data.BYTES_A_CLIP + 4 * 1024 + open_data.BYTES_A_FRAME * (60 + 250) // 2
    assert path.stat().st_size < 8 * needed * 1.5
    pack(path, tmp_path / "clips.safetensors")
    for file in (path, tmp_path / "clips.safetensors"):
        figures = open_data.measure(file)
        assert set(figures) == set(open_data.MEASURES)
        assert all(value > 0 for value in figures.values())


def test_the_plainly_written_base_is_the_same_function() -> None:
    torch.manual_seed(0)
    model = StickFigureTransformer(d_model=32, nhead=4, num_layers=2, embedding_dim=12, causal=True).eval()
    for layer in model.transformer_encoder.layers:
        torch.nn.init.uniform_(layer.norm1.weight, 0.5, 2)
        torch.nn.init.uniform_(layer.norm2.weight, 0.5, 2)
    motion, text = torch.randn(9, 3, 20), torch.randn(3, 12)
    with torch.no_grad():
        expected = model(motion, text, return_all_outputs=True)
        plain = plainly_written(model)(motion, text, return_all_outputs=True)
    for name, value in expected.items():
        torch.testing.assert_close(plain[name], value, rtol=1e-4, atol=1e-5)


def test_pefts_run_trains_the_same_function_and_saves_it_as_stickgens(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    monkeypatch.syspath_prepend(str(Path(study.__file__).parent))
    peft_run = importlib.import_module("peft_run")
    torch.manual_seed(0)
    theirs = StickFigureTransformer(d_model=32, nhead=4, num_layers=2, embedding_dim=12, causal=True).eval()
    ours = copy.deepcopy(theirs)
    peft_run.inject(theirs, ["transformer_encoder", "pose_decoder"], 4, 8.0, 0.05)
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter.data, std=0.1)
            assert ".lora_" in name
    inject_lora_adapters(ours, rank=4, alpha=8.0)
    load_lora_state_dict(ours, peft_run.state(theirs), settings=peft_run.settings(theirs))
    motion, text = torch.randn(9, 3, 20), torch.randn(3, 12)
    with torch.no_grad():
        torch.testing.assert_close(ours(motion, text), theirs.eval()(motion, text), rtol=1e-4, atol=1e-5)
    with pytest.raises(SystemExit, match="plain LoRA"):
        peft_run.inject(ours, ["transformer_encoder"], 4, 8.0, 0.05, use_rslora=True)


def test_a_profile_counts_products_and_bytes_by_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(study.__file__).parent))
    counted = importlib.import_module("profile_step").counted
    assert counted("aten::mm", [[8, 3], [3, 5]], 4) == (2 * 8 * 3 * 5, 4 * (24 + 15 + 40))
    assert counted("aten::addmm_", [[8, 5], [8, 3], [3, 5], [], []], 4) == (2 * 8 * 3 * 5, 4 * (24 + 15 + 40))
    assert counted("aten::bmm", [[2, 8, 3], [2, 3, 5]], 2) == (2 * 2 * 8 * 3 * 5, 2 * (48 + 30 + 80))
    assert counted("aten::mul", [[8, 3], [3]], 4) == (0, 4 * (24 + 3 + 24))
    assert counted("aten::slice", [[8, 3]], 4) == (0, 0)


def test_in_equal_time_full_fine_tuning_takes_as_many_steps_as_an_adapters_time_holds() -> None:
    assert study.studies(120)["full"]["full, equal time"][-1] == "trainer.max_steps=102"
    assert study.studies(120, 0.5)["full"]["full, equal time"][-1] == "trainer.max_steps=60"


def test_every_format_is_measured_and_read_back(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d")
    read = set()
    for case in formats.cases(formats.generated(120), tmp_path):
        read.add(find_sources([case.path])[0][1])
        mean, largest, seconds = formats.measure(case, 1)
        assert mean < 2e-3, case.name
        assert largest < 5e-3, case.name
        assert seconds > 0
    assert len(read - {JOINT_ARCHIVE, None}) == 10
