"""merge.py, as a user runs it."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from stickgen.artifacts.adapter import load_adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.run import RunFolder
from stickgen.config import MergeConfig, TrainConfig, typed
from stickgen.errors import OutputExistsError, StickgenError
from stickgen.export.convert import convert
from stickgen.export.merge import merge
from stickgen.lora import merge_lora_weights
from stickgen.model import StickFigureTransformer
from stickgen.training import fit
from tests.export.graphs import assert_same_outputs
from tests.runs import ROOT, environment, make_base, run_script, short_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    changes = OmegaConf.from_dotlist(
        [
            *short_run(base),
            f"run_dir={tmp_path_factory.mktemp('runs') / 'run'}",
            "lora.targets.all=[transformer_encoder]",
        ]
    )
    return fit(typed(OmegaConf.merge(OmegaConf.structured(TrainConfig), changes), TrainConfig)).run


def test_a_run_becomes_a_plain_checkpoint(run: RunFolder, base: Path, tmp_path: Path) -> None:
    done = run_script("merge.py", f"checkpoint={run.path}", "output=merged_model.pth", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "largest difference" in done.stdout

    merged = torch.load(tmp_path / "merged_model.pth", weights_only=True)
    settings = load_base(base).record.settings
    StickFigureTransformer(**settings).load_state_dict(merged, strict=True)
    assert not torch.equal(
        merged["transformer_encoder.layers.0.ffn.gate_proj.weight"],
        load_base(base).model.state_dict()["transformer_encoder.layers.0.ffn.gate_proj.weight"],
    )


def test_the_merged_file_keeps_the_bases_settings_and_becomes_a_base(
    run: RunFolder, base: Path, tmp_path: Path
) -> None:
    for name in ("merged.pth", "merged.safetensors"):
        merge(MergeConfig(checkpoint=str(run.adapter), output=str(tmp_path / name)))
        merged = load_base(tmp_path / name)
        assert merged.record.settings == load_base(base).record.settings
        assert merged.record.text_encoder == load_base(base).record.text_encoder
    assert merged.record.settings["pose_output"] == "velocity"
    assert sorted(path.name for path in tmp_path.glob("merged*")) == ["merged.pth", "merged.safetensors"]


def test_every_source_of_the_same_weights_merges_to_the_same_model(run: RunFolder, tmp_path: Path) -> None:
    sources = (run.path, run.adapter, run.checkpoint("best"))
    for index, source in enumerate(sources):
        report = merge(MergeConfig(checkpoint=str(source), output=str(tmp_path / f"{index}.safetensors")))
        assert report.layers == 14
        assert report.largest_difference < 1e-4 < report.adapter_effect
    assert len({load_base(tmp_path / f"{index}.safetensors").fingerprint for index in range(len(sources))}) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"checkpoint": "nowhere"}, "nowhere: no such file or folder"),
        ({"checkpoint": "{base}"}, "merged already"),
        ({"checkpoint": "{run}", "base_checkpoint": "{other}"}, "trained on another base"),
        ({"checkpoint": "{run}", "base_checkpoint": "gone.pth"}, "gone.pth: no such file"),
        ({"checkpoint": "{run}", "tolerance": 1e-30}, "nothing was written"),
    ],
)
def test_a_merge_that_cannot_be_right_is_refused_and_writes_nothing(
    run: RunFolder, base: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    other = make_base(tmp_path / "other.safetensors", seed=1)
    names = {"base": base, "run": run.path, "other": other}
    given = {key: value.format(**names) if isinstance(value, str) else value for key, value in settings.items()}
    with pytest.raises(StickgenError, match=re.escape(words)):
        merge(MergeConfig(output=str(tmp_path / "merged.pth"), **given))
    assert [path.name for path in tmp_path.iterdir()] == ["other.safetensors"]


@pytest.fixture(scope="module")
def second(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another adapter of the same base, in two of its layers."""
    adapter = load_adapter(run.adapter)
    state = {
        key: torch.flip(value, [0]) * 0.5 for key, value in adapter.state.items() if ".layers.0.ffn.gate_proj" in key
    }
    folder = tmp_path_factory.mktemp("second") / "adapter"
    save_adapter(replace(adapter, state=state, settings=replace(adapter.settings, alpha=4.0)), folder)
    return folder


@pytest.mark.parametrize(("weights", "shares"), [([0.7, 0.3], (0.7, 0.3)), ([], (0.5, 0.5)), ([1.0, 0.5], (1, 0.5))])
def test_several_adapters_merge_to_the_weighted_sum_of_their_updates(
    run: RunFolder, second: Path, base: Path, tmp_path: Path, weights: list[float], shares: tuple[float, float]
) -> None:
    plain = load_base(base).model.state_dict()
    single = []
    for source in (run.adapter, second):
        merge(MergeConfig(checkpoint=str(source), output=str(tmp_path / f"{len(single)}.pth")))
        single.append(torch.load(tmp_path / f"{len(single)}.pth", weights_only=True))
    both = MergeConfig(checkpoint=[str(run.path), str(second)], weights=weights, output=str(tmp_path / "both.pth"))
    report = merge(both)
    assert report.layers == 14
    merged = torch.load(tmp_path / "both.pth", weights_only=True)
    for key, value in plain.items():
        expected = value + sum(share * (one[key] - value) for share, one in zip(shares, single, strict=True))
        torch.testing.assert_close(merged[key], expected, rtol=0, atol=1e-5)
    with pytest.raises(StickgenError, match="has this adapter merged into it already"):
        merge(replace(both, base_checkpoint=str(tmp_path / "both.pth"), output=str(tmp_path / "again.pth")))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_half_the_width(run: RunFolder, tmp_path: Path, dtype: str) -> None:
    output = tmp_path / "half.safetensors"
    report = merge(MergeConfig(checkpoint=str(run.path), output=str(output), save_dtype=dtype))
    stored = load_file(output)
    assert {v.dtype for k, v in stored.items() if "inv_freq" not in k} == {getattr(torch, dtype)}
    assert report.stored_difference is not None
    assert 0 < report.stored_difference < 0.1
    assert load_base(output).record.settings["causal"] is True


def test_weights_that_half_the_width_cannot_hold(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enlarge(model: StickFigureTransformer) -> None:
        merge_lora_weights(model)
        with torch.no_grad():  # of an action that the compared clips do not have
            model.action_embedding.weight[-1] = 1e5

    monkeypatch.setattr("stickgen.export.merge.merge_lora_weights", enlarge)
    config = MergeConfig(checkpoint=str(run.path), output=str(tmp_path / "half.pth"), save_dtype="float16")
    with pytest.raises(StickgenError, match=r"action_embedding\.weight: too large for save_dtype=float16"):
        merge(config)
    assert list(tmp_path.iterdir()) == []


def test_a_merged_model_as_a_graph(run: RunFolder, tmp_path: Path) -> None:
    done = run_script("merge.py", f"checkpoint={run.path}", "output=model.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime against PyTorch: largest difference" in done.stdout
    assert len(done.stdout.splitlines()) == 3, "and nothing of the exporter's"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert done.stderr == ""


def test_a_merged_file_becomes_a_graph_later(run: RunFolder, tmp_path: Path) -> None:
    merge(MergeConfig(checkpoint=str(run.path), output=str(tmp_path / "merged.pth")))
    convert(tmp_path / "merged.pth", tmp_path / "later.onnx")
    assert_same_outputs(load_base(tmp_path / "merged.pth").model, tmp_path / "later.onnx", 17, 3)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, -1.0], "weights [1, -1]: they sum to zero"),
        ([1.0], "weights [1]: 2 expected, one an adapter"),
        ([1.0, math.nan], "weights [1, nan]: finite numbers expected"),
    ],
)
def test_weights_that_mean_nothing_are_refused_before_anything_is_read(weights: list[float], words: str) -> None:
    with pytest.raises(StickgenError, match=re.escape(words)):
        merge(MergeConfig(checkpoint=["a", "b"], weights=weights))


def test_another_base_can_be_insisted_on(run: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = make_base(tmp_path / "other.safetensors", seed=1)
    config = MergeConfig(checkpoint=str(run.path), base_checkpoint=str(other), output=str(tmp_path / "merged.pth"))
    merge(replace(config, allow_other_base=True))
    assert caplog.text.count("trained on another base") == 1
    assert load_base(tmp_path / "merged.pth").record.origin["base_fingerprint"] == load_base(other).fingerprint


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["checkpoint=nowhere"], "nowhere: no such file or folder"),
        (["checkpoint=run", "output=model.bin"], "output=model.bin"),
        (["checkpoint=run", "outputt=x.pth"], "did you mean output?"),
        ([], "checkpoint: not set"),
    ],
)
def test_mistakes_on_the_command_line_end_in_one_line(tmp_path: Path, overrides: list[str], words: str) -> None:
    done = run_script("merge.py", *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["checkpoint=nowhere"], "nowhere: no such file or folder"),
        (["checkpoint=[here,nowhere]"], "nowhere: no such file or folder"),
        (["checkpoint=here", "output=there.pth"], "there.pth: already exists and was kept"),
    ],
)
def test_a_wrong_path_does_not_wait_for_torch(tmp_path: Path, overrides: list[str], words: str) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there.pth").touch()
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    code = f"import sys; sys.argv.pop(0); {code}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "merge.py"), *overrides],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words}")
    assert done.stderr.count("\n") == 1


def test_an_existing_output_is_kept_unless_told(run: RunFolder, tmp_path: Path) -> None:
    output = tmp_path / "merged_model.pth"
    output.write_text("precious")
    config = MergeConfig(checkpoint=str(run.path), output=str(output))
    with pytest.raises(OutputExistsError, match="already exists"):
        merge(config)
    assert output.read_text() == "precious"
    merge(replace(config, overwrite=True))
    assert load_base(output).record.settings["causal"] is True


# The record of a base.pth would be that of the base.pt too.
@pytest.mark.parametrize("output", ["base.pth", "folder.pth", "adapter/adapter_model.safetensors"])
def test_overwriting_loses_neither_base_nor_adapter(run: RunFolder, base: Path, tmp_path: Path, output: str) -> None:
    whole = load_base(base)
    save_base(whole.model, whole.record, tmp_path / "base.pt")
    save_adapter(load_adapter(run.adapter), tmp_path / "adapter")
    (tmp_path / "folder.pth").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    config = MergeConfig(
        checkpoint=str(tmp_path / "adapter"),
        base_checkpoint=str(tmp_path / "base.pt"),
        output=str(tmp_path / output),
        overwrite=True,
    )
    with pytest.raises(OutputExistsError, match=r"would replace what it is made from|is a folder and was kept"):
        merge(config)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_wrapped_checkpoint_is_merged_into_the_base_inside_it(run: RunFolder, base: Path, tmp_path: Path) -> None:
    convert(run.path, tmp_path / "wrapped.pth", "wrapped")
    for source, name in ((tmp_path / "wrapped.pth", "a.safetensors"), (run.path, "b.safetensors")):
        merge(MergeConfig(checkpoint=str(source), output=str(tmp_path / name)))
    first, second = load_base(tmp_path / "a.safetensors"), load_base(tmp_path / "b.safetensors")
    assert first.fingerprint == second.fingerprint
    assert first.record.settings == second.record.settings
