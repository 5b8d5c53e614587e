from pathlib import Path

import pytest
import torch

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import load_base
from stickgen.artifacts.model import load_model, trained_fingerprint
from stickgen.artifacts.model_name import label_and_path
from stickgen.errors import CheckpointError, ConfigError
from stickgen.lora import adapted_layers, get_lora_state_dict, inject_lora_adapters, lora_settings
from tests.runs import make_base


def make_adapter(base_path: Path, folder: Path, *, names_base: bool = True, seed: int = 0) -> Path:
    """Write an adapter of random weights for a base."""
    base = load_base(base_path)
    torch.manual_seed(seed)
    inject_lora_adapters(base.model, rank=4)
    with torch.no_grad():
        for layer in adapted_layers(base.model).values():
            layer.lora_B.normal_(std=0.3)
    adapter = Adapter(
        get_lora_state_dict(base.model),
        lora_settings(base.model),
        base.fingerprint,
        str(base_path) if names_base else None,
        base.record,
    )
    save_adapter(adapter, folder)
    return folder


def test_a_base_is_read_as_it_is(tmp_path: Path) -> None:
    loaded = load_model(make_base(tmp_path / "base.safetensors"))
    assert (loaded.adapted, loaded.run) == (False, None)
    assert not loaded.model.training


def test_an_adapter_comes_with_the_base_it_names_or_is_given(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base.safetensors")
    named = load_model(make_adapter(path, tmp_path / "named"))
    given = load_model(make_adapter(path, tmp_path / "nameless", names_base=False), path)
    assert named.adapted
    assert not named.model.training
    assert named.record.text_encoder == load_base(path).record.text_encoder
    motion, text = torch.randn(5, 1, 20), torch.randn(1, 1024)
    with torch.no_grad():
        assert torch.equal(named.model(motion, text), given.model(motion, text))
        assert not torch.allclose(named.model(motion, text), load_base(path).model(motion, text))


def test_an_adapter_that_names_no_base_needs_one(tmp_path: Path) -> None:
    folder = make_adapter(make_base(tmp_path / "base.safetensors"), tmp_path / "adapter", names_base=False)
    with pytest.raises(CheckpointError, match="does not name its base; give it with --base"):
        load_model(folder)


def test_an_adapter_from_elsewhere_finds_a_base_that_comes_with_stickgen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    adapter = make_adapter(make_base(elsewhere / "base.safetensors"), tmp_path / "adapter")
    expected = load_model(adapter).model
    assets = tmp_path / "project" / "assets"
    elsewhere.rename(assets.parent.with_name("gone"))
    monkeypatch.setattr("stickgen.artifacts.base_lookup.PROJECT", assets.parent)
    with pytest.raises(CheckpointError, match=r"its base is not at .*base.safetensors any more; give it with --base"):
        load_model(adapter)
    assets.mkdir(parents=True)
    make_base(assets / "base.safetensors", seed=1)  # of the same name, but another
    with pytest.raises(CheckpointError, match="any more; give it with --base"):
        load_model(adapter)
    make_base(assets / "ours.safetensors")
    motion, text = torch.randn(5, 1, 20), torch.randn(1, 1024)
    with torch.no_grad():
        assert torch.equal(load_model(adapter).model(motion, text), expected(motion, text))


def test_another_base_is_refused(tmp_path: Path) -> None:
    folder = make_adapter(make_base(tmp_path / "base.safetensors"), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="trained on another base"):
        load_model(folder, make_base(tmp_path / "other.safetensors", seed=1))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gone"):
        load_model(tmp_path / "gone.safetensors")


def test_a_fingerprint_is_of_the_trained_weights_wherever_they_lie(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    adapter = make_adapter(base, tmp_path / "adapter")
    assert trained_fingerprint(base) == load_base(base).fingerprint
    before = trained_fingerprint(adapter)
    assert trained_fingerprint(adapter.rename(tmp_path / "moved")) == before
    assert trained_fingerprint(make_adapter(base, tmp_path / "other", seed=1)) != before
    with pytest.raises(CheckpointError, match="no such file"):
        trained_fingerprint(tmp_path / "nowhere")


def test_another_base_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = make_adapter(make_base(tmp_path / "base.safetensors"), tmp_path / "adapter")
    other = make_base(tmp_path / "other.safetensors", causal=False, seed=1)
    with pytest.raises(CheckpointError, match=r"trained on another base.*allow_other_base"):
        load_model(folder, other)
    loaded = load_model(folder, other, allow_other_base=True)
    assert loaded.adapted
    assert loaded.record.objective == "bidirectional", "the record is that of the base it now has"


def test_a_label_needs_a_path() -> None:
    assert label_and_path("walk=runs/a") == ("walk", "runs/a")
    with pytest.raises(ConfigError, match="walk=: a path expected after the ="):
        label_and_path("walk=")


def test_an_adapter_is_applied_as_strongly_as_is_said(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    adapter = make_adapter(base, tmp_path / "adapter")
    full, part = load_model(adapter), load_model(Path(f"{adapter}=0.25"))
    layers = adapted_layers(full.model)
    for path, layer in adapted_layers(part.model).items():
        torch.testing.assert_close(layer.delta_weight(), 0.25 * layers[path].delta_weight())
    assert part.fingerprint != full.fingerprint, "they are two models"
    assert label_and_path(f"{adapter}=0.25") == (f"{adapter}=0.25",) * 2
    assert label_and_path(f"mild={adapter}=0.25") == ("mild", f"{adapter}=0.25")


def test_a_weight_beside_a_path_without_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_adapter(make_base(tmp_path / "base.safetensors"), tmp_path / "tired")
    monkeypatch.chdir(tmp_path)
    assert label_and_path("tired=0.5") == ("tired=0.5", "tired=0.5")
    assert load_model(Path("tired=0.5")).adapted
    assert label_and_path("other=0.5") == ("other", "0.5")


def test_what_has_no_weight_is_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    adapter = make_adapter(base, tmp_path / "adapter")
    for name in (f"{base}=0.5", f"{adapter}+{base}"):
        with pytest.raises(ConfigError, match=r"base.safetensors.*: a whole model has no weight and no sum"):
            load_model(Path(name))
    with pytest.raises(ConfigError, match=r"a weight such as 0\.6 expected"):
        load_model(Path(f"{adapter}=nan"))
    with pytest.raises(ConfigError, match=r"weights for the parts of a prompt; give one weight"):
        load_model(Path(f"{adapter}=1,0"))
    with pytest.raises(CheckpointError, match=r"nowhere=0.5: no such file or folder"):
        load_model(Path(f"{adapter}+{tmp_path}/nowhere=0.5"))


def test_a_sum_of_adapters_is_exact(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    adapters = [make_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    first, second = (adapted_layers(load_model(adapter).model) for adapter in adapters)
    both = load_model(Path(f"{adapters[0]}=0.6+{adapters[1]}=-0.4"))
    assert adapted_layers(both.model).keys() == first.keys() | second.keys()
    for path, layer in adapted_layers(both.model).items():
        wanted = 0.6 * first[path].delta_weight() - 0.4 * second[path].delta_weight()
        torch.testing.assert_close(layer.delta_weight(), wanted)


def test_weights_of_zero_leave_the_base(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    adapter = make_adapter(base, tmp_path / "adapter")
    loaded = load_model(Path(f"{adapter}=0"))
    assert not adapted_layers(loaded.model)
    for name, tensor in load_base(base).model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
