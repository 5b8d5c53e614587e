import re

import pytest
from torch import nn

from stickgen.errors import AdapterError
from stickgen.lora import inject_lora_adapters, match_targets

ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
FFN = ["gate_proj", "value_proj", "output_proj"]


def encoder(*names: str, layers: range = range(2)) -> list[str]:
    """Paths of some layers of the small base's encoder, in the model's order."""
    own = [f"self_attn.{name}" for name in ATTENTION] + [f"ffn.{name}" for name in FFN]
    return [f"transformer_encoder.layers.{n}.{path}" for n in layers for path in own if path.split(".")[1] in names]


POSE = ["pose_decoder.0", "pose_decoder.3"]


@pytest.mark.parametrize(
    ("targets", "paths"),
    [
        (["transformer_encoder", "pose_decoder"], encoder(*ATTENTION, *FFN) + POSE),
        (["pose_decoder"], POSE),
        (["q_proj"], encoder("q_proj")),
        (["self_attn"], encoder(*ATTENTION)),
        (["ffn"], encoder(*FFN)),
        (["self_attn.out_proj"], encoder("out_proj")),
        (["layers.1"], encoder(*ATTENTION, *FFN, layers=range(1, 2))),
        (["transformer_encoder.layers.0.ffn.gate_proj"], encoder("gate_proj", layers=range(1))),
        (["layers.*.self_attn"], encoder(*ATTENTION)),
        (["layers.[1-9].ffn.g*"], encoder("gate_proj", layers=range(1, 2))),
        (["[qv]_proj"], encoder("q_proj", "v_proj")),
        (["pose_decoder.3"], POSE[1:]),
        (["output_proj", "out_proj", "pose_decoder"], encoder("out_proj", "output_proj") + POSE),
    ],
)  # fmt: skip
def test_what_a_target_means(transformer, targets: list[str], paths: list[str]) -> None:
    assert match_targets(transformer(), targets) == paths


def test_a_layer_that_several_targets_name_is_found_once_and_in_the_models_order(transformer) -> None:
    targets = ["pose_decoder", "q_proj", "self_attn", "layers.0", "pose_decoder"]
    found = match_targets(transformer(), targets)
    assert found == encoder(*ATTENTION, *FFN, layers=range(1)) + encoder(*ATTENTION, layers=range(1, 2)) + POSE


@pytest.mark.parametrize(
    "target",
    ["proj", "_decoder", "pose", "layers.0.ffn.gate", "self_attn.gate_proj", "layers.2", "layers.q_proj", "norm1", ""],
)
def test_names_match_whole_and_without_gaps(transformer, target: str) -> None:
    with pytest.raises(AdapterError, match="matches no Linear layer"):
        match_targets(transformer(), [target])


def test_every_linear_can_be_meant_by_a_wildcard(transformer) -> None:
    model = transformer()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert match_targets(model, ["*"]) == linear


@pytest.mark.parametrize(
    ("target", "near"),
    [
        ("pose_decodr", "pose_decoder"),
        ("query_proj", "q_proj"),
        ("transformer_encode", "transformer_encoder"),
        ("Q_proj", "q_proj"),
    ],
)
def test_a_target_without_a_match_is_named_with_near_ones(transformer, target: str, near: str) -> None:
    with pytest.raises(AdapterError) as caught:
        match_targets(transformer(), ["pose_decoder", target])
    assert repr(target) in str(caught.value)
    assert near in str(caught.value).partition("did you mean")[2]


def test_without_a_near_one_the_models_parts_are_listed(transformer) -> None:
    with pytest.raises(AdapterError, match=r"'xyzzy' .* there are text_projection, motion_embedding"):
        match_targets(transformer(), ["xyzzy"])


@pytest.mark.parametrize(
    ("pattern", "targets"),
    [
        (r"transformer_encoder\.layers\.\d+\.self_attn\.(in_proj|out_proj)", ["out_proj"]),
        (r"self_attn\.(q|v)_proj$", ["q_proj", "v_proj"]),
        (r"pose_decoder\.\d+", ["pose_decoder.*"]),
        (r"self_attn\\.out_proj", ["self_attn.out_proj"]),  # as copied from a YAML file
        (r"layers\.[0-1]\.ffn", ["layers.[0-1].ffn"]),
        (r"layers\.1\..*[qk]_proj", ["layers.1.self_attn.q_proj", "layers.1.self_attn.k_proj"]),
        ("gate_proj|physics", ["gate_proj", "physics_decoder"]),
    ],
)
def test_a_regular_expression_is_told_its_counterpart(transformer, pattern: str, targets: list[str]) -> None:
    """stick-gen takes such targets: it adapts every layer whose path contains a match."""
    model = transformer()
    with pytest.raises(AdapterError) as caught:
        match_targets(model, [pattern])
    assert str(caught.value).endswith(f"as a regular expression it means [{', '.join(targets)}]; write these names")
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    meant = re.compile(pattern.replace("\\\\", "\\"))
    assert match_targets(model, targets) == [path for path in linears if meant.search(path)]


def test_a_part_of_a_name_is_told_the_names_that_contain_it(transformer) -> None:
    with pytest.raises(AdapterError, match=r"'q_pro' .* did you mean q_proj\?$"):
        match_targets(transformer(), ["q_pro"])


@pytest.mark.parametrize("pattern", ["(", "(a+)+$", "x*x*x*x*", "a" * 300 + "|ffn"])
def test_what_is_no_pattern_or_might_take_long_is_not_tried(transformer, pattern: str) -> None:
    with pytest.raises(AdapterError, match="matches no Linear layer") as caught:
        match_targets(transformer(), [pattern])
    assert "regular expression" not in str(caught.value)


def test_one_bad_target_among_good_ones_leaves_the_model_alone(transformer) -> None:
    model = transformer()
    with pytest.raises(AdapterError, match="typo"):
        inject_lora_adapters(model, ["transformer_encoder", "typo"])
    assert all(p.requires_grad for p in model.parameters())
    assert not any("lora" in key for key in model.state_dict())


def test_an_empty_list_is_refused(transformer) -> None:
    with pytest.raises(AdapterError, match="empty"):
        match_targets(transformer(), [])


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(AdapterError, match="no Linear layer"):
        match_targets(nn.Sequential(nn.Conv1d(2, 2, 1)), ["*"])


def test_a_linear_has_nothing_below_it_to_replace() -> None:
    with pytest.raises(AdapterError, match="no Linear layer"):
        inject_lora_adapters(nn.Linear(3, 3), ["*"])


def test_adapted_layers_are_still_found(transformer) -> None:
    model = inject_lora_adapters(transformer(), ["ffn"], rank=2)
    assert match_targets(model, ["ffn", "q_proj"]) == match_targets(transformer(), ["ffn", "q_proj"])


@pytest.mark.parametrize(
    ("targets", "layers", "paths"),
    [
        (["q_proj"], [1], encoder("q_proj", layers=range(1, 2))),
        (["q_proj"], [0, 1], encoder("q_proj")),
        (["q_proj"], [-1], encoder("q_proj", layers=range(1, 2))),
        (["q_proj"], [-3, -2, 1], encoder("q_proj")),
        (["ffn", "pose_decoder"], [0], encoder(*FFN, layers=range(1)) + POSE),
        (["pose_decoder"], [-2, -1], POSE),
    ],
)
def test_a_subset_of_the_layers(transformer, targets: list[str], layers: list[int], paths: list[str]) -> None:
    assert match_targets(transformer(), targets, layers) == paths


@pytest.mark.parametrize(
    ("targets", "layers", "message"),
    [
        (["q_proj"], [2], r"layers \[2\]: the targets lie in layers 0, 1"),
        (["q_proj"], [0, 7], r"layers \[0, 7\]"),
        (["q_proj", "pose_decoder"], [-3], r"layers \[-3\]: the targets lie in layers 0, 1"),
        (["q_proj"], [], r"layers \[\]"),
        (["pose_decoder"], [0], r"layers \[0\]: the targets lie in no numbered block; set layers to null"),
    ],
)
def test_layers_that_are_not_there(transformer, targets: list[str], layers: list[int], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        match_targets(transformer(), targets, layers)
