from pathlib import Path

import pytest

from stickgen.artifacts.model_name import Weighted, by_part, label_and_path, weighted_paths
from stickgen.errors import ConfigError


@pytest.fixture(autouse=True)
def _adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tired", "sneaky", "a+b", "rank=8"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)


def test_a_sum_names_its_adapters_and_their_weights() -> None:
    assert weighted_paths("tired=0.6+sneaky") == [Weighted(Path("tired"), (0.6,)), Weighted(Path("sneaky"))]
    assert weighted_paths("tired=1,0") == [Weighted(Path("tired"), (1.0, 0.0))]


@pytest.mark.parametrize("name", ["a+b", "rank=8", "nowhere+tired", "tired=fast"])
def test_other_signs_belong_to_the_path(name: str) -> None:
    assert weighted_paths(name) == [Weighted(Path(name))]


def test_a_label_stands_before_a_sum() -> None:
    assert label_and_path("mix=tired=0.6+sneaky=0.4") == ("mix", "tired=0.6+sneaky=0.4")
    assert label_and_path("tired=0.6+sneaky=0.4") == ("tired=0.6+sneaky=0.4",) * 2


def test_weights_for_the_parts_of_a_prompt() -> None:
    assert by_part("tired=1,0.5,0+sneaky=0,0.5,1+rank=8=0.1") == [
        "tired+sneaky=0+rank=8=0.1", "tired=0.5+sneaky=0.5+rank=8=0.1", "tired=0+sneaky+rank=8=0.1",
    ]  # fmt: skip
    assert by_part("tired=0.6+sneaky") == ["tired=0.6+sneaky"]
    with pytest.raises(ConfigError, match="weights for 2 and for 3 parts; give each adapter as many"):
        by_part("tired=1,0+sneaky=0,1,1")
