import pytest

from stickgen.artifacts import patterns
from stickgen.artifacts.patterns import base_paths, check_patterns


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*!", "(?:(?:.*)*)*x", "(?:[a-z_.0-9]+)+!"])
def test_an_expression_that_never_ends_is_refused(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_SECONDS", 1.0)
    with pytest.raises(ValueError, match=r"takes too long|regular expression"):
        check_patterns([pattern], ["a" * 60])


def test_those_of_real_adapters_are_not() -> None:
    found = base_paths()
    assert "transformer_encoder.layers.9.self_attn.q_proj" in found
    real = [
        r".*\.(q_proj|v_proj)$",
        r"transformer_encoder\.layers\.(0|1)\..*",
        r"^(?!.*decoder).*\.(?:q|k)_proj",
        r".*?(?:self_attn|ffn).*?(?:q_proj|k_proj|gate_proj).*?",
    ]
    check_patterns(real)


def test_plain_names_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_try", None)
    check_patterns(["q_proj", r"^transformer_encoder\.layers\.0\.self_attn\.q_proj", "a.b$"], ["a"])


def test_long_ones_are_not_tried() -> None:
    with pytest.raises(ValueError, match="at most 20000"):
        check_patterns(["(a|b)*" * 5000], ["a"])
