from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import LoadedModel, load_model
from stickgen.evaluation.frozen import frozen_bases, is_frozen
from stickgen.metrics import FROZEN_BASE
from tests.artifacts.test_model import make_adapter
from tests.runs import make_base


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return make_base(folder / "one.safetensors"), make_base(folder / "other.safetensors", seed=1)


def trained_whole(base_path: Path, path: Path) -> LoadedModel:
    """Return a model whose record says that its weights began as a base's."""
    base = load_base(base_path)
    with torch.no_grad():
        base.model.pose_decoder[0].weight.mul_(1.5)
    save_base(base.model, replace(base.record, origin={"from": str(base_path)}), path)
    return load_model(path)


def test_the_base_of_adapters_is_there_once_and_is_the_files(bases: tuple[Path, Path], tmp_path: Path) -> None:
    adapters = [load_model(make_adapter(bases[0], tmp_path / str(seed), seed=seed)) for seed in (0, 1)]
    [(label, base)] = frozen_bases([("plain", load_model(bases[0])), ("a", adapters[0]), ("b", adapters[1])])
    assert label == FROZEN_BASE
    assert not base.adapted
    motion, text = torch.randn(5, 1, 20), torch.randn(1, 1024)
    with torch.no_grad():
        expected = load_base(bases[0]).model(motion, text)
        assert torch.equal(base.model(motion, text), expected)
        assert not torch.allclose(adapters[0].model(motion, text), expected)


def test_a_base_alone_has_none_below_it(bases: tuple[Path, Path]) -> None:
    assert frozen_bases([("plain", load_model(bases[0]))]) == []


def test_whole_weights_stand_beside_the_base_that_they_began_as(bases: tuple[Path, Path], tmp_path: Path) -> None:
    full = trained_whole(bases[0], tmp_path / "full.safetensors")
    adapter = load_model(make_adapter(bases[0], tmp_path / "adapter"))
    [(label, base)] = frozen_bases([("full", full), ("adapter", adapter)])
    assert label == FROZEN_BASE
    assert base.fingerprint == load_base(bases[0]).fingerprint != full.fingerprint


def test_bases_of_several_adapters_are_told_apart(bases: tuple[Path, Path], tmp_path: Path) -> None:
    adapters = [(str(n), load_model(make_adapter(path, tmp_path / str(n)))) for n, path in enumerate(bases)]
    found = frozen_bases(adapters)
    assert [label for label, _ in found] == ["frozen base (one)", "frozen base (other)"]
    assert all(is_frozen(label) for label, _ in found)
    assert [base.fingerprint for _, base in found] == [load_base(path).fingerprint for path in bases]


def test_bases_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [make_base(tmp_path / str(seed) / "base.safetensors", seed=seed) for seed in (0, 1)]
    adapters = [(str(n), load_model(make_adapter(path, tmp_path / f"adapter-{n}"))) for n, path in enumerate(paths)]
    assert [label for label, _ in frozen_bases(adapters)] == [f"frozen base ({path})" for path in paths]


def test_that_a_base_is_gone_is_said(
    bases: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = make_base(tmp_path / "gone.safetensors")
    full = trained_whole(gone, tmp_path / "full.safetensors")
    gone.unlink()
    assert frozen_bases([("full", full)]) == []
    assert f"full: no frozen base stands beside it: {gone}: no such file" in caplog.text
