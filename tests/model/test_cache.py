from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import POSE_OUTPUTS, KeyValueCache, StickFigureTransformer
from stickgen.model.cache import LayerCache, new_visible

Build = Callable[..., StickFigureTransformer]
Inputs = Callable[..., dict[str, Tensor]]

CONDITIONS = ("action_sequence", "camera_data", "partner_motion")
PER_FRAME = ("pose", "action_logits", "physics")


def adapted(model: StickFigureTransformer) -> StickFigureTransformer:
    """The model with adapters that do something."""
    inject_lora_adapters(model, ["transformer_encoder", "pose_decoder"], 4, 8.0, 0.1)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in adapted_layers(model).values():
            layer.lora_B.copy_(0.2 * torch.randn(layer.lora_B.shape, generator=random))
    return model.eval()


def in_pieces(
    model: StickFigureTransformer, arguments: dict[str, Tensor], pieces: list[int], cache: KeyValueCache
) -> list[dict[str, Tensor]]:
    """The outputs of calls that read so many frames each."""
    made: list[Any] = []
    start = 0
    for count in pieces:
        part = {n: v if n == "text_embedding" else v[start : start + count] for n, v in arguments.items()}
        with torch.no_grad():
            made.append(model(**part, return_all_outputs=True, cache=cache))
        start += count
    return made


KINDS = [*({"pose_output": kind} for kind in POSE_OUTPUTS), {"pose_output": "velocity", "pose_frame": "body"}]


@pytest.mark.parametrize("kind", KINDS, ids=[*POSE_OUTPUTS, "body"])
@pytest.mark.parametrize("with_adapters", [False, True], ids=["base", "adapted"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    pieces=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    clips=st.integers(1, 3),
    given_conditions=st.sets(st.sampled_from(CONDITIONS)),
    capacity=st.integers(1, 40),
)
def test_calls_with_a_cache_add_up_to_one_without(
    build: Build,
    inputs: Inputs,
    kind: dict[str, str],
    with_adapters: bool,
    pieces: list[int],
    clips: int,
    given_conditions: set[str],
    capacity: int,
) -> None:
    model = build(causal=True, pose_scale=0.3, **kind)
    model = adapted(model) if with_adapters else model
    arguments = inputs(frames=sum(pieces), clips=clips)
    arguments = {n: v for n, v in arguments.items() if n not in CONDITIONS or n in given_conditions}
    cache = KeyValueCache(capacity)
    made = in_pieces(model, arguments, pieces, cache)
    assert cache.length == sum(pieces) + 1
    with torch.no_grad():
        whole = model(**arguments, return_all_outputs=True)
    for name in PER_FRAME:
        torch.testing.assert_close(torch.cat([m[name] for m in made]), whole[name], rtol=1e-5, atol=1e-5)
    for name in ("position", "velocity", "environment"):
        torch.testing.assert_close(made[-1][name], whole[name], rtol=1e-5, atol=1e-5)


def test_the_text_is_read_by_the_first_call_alone(build: Build, inputs: Inputs) -> None:
    model, arguments = build(causal=True), inputs()
    expected = in_pieces(model, arguments, [4, 3], KeyValueCache())
    cache = KeyValueCache()
    in_pieces(model, {n: v if n == "text_embedding" else v[:4] for n, v in arguments.items()}, [4], cache)
    rest = {n: torch.full_like(v, 9) if n == "text_embedding" else v[4:] for n, v in arguments.items()}
    assert torch.equal(in_pieces(model, rest, [3], cache)[0]["pose"], expected[1]["pose"])


def test_the_numbers_keep_their_width(build: Build, inputs: Inputs) -> None:
    model = build(causal=True, pose_output="velocity").double()
    arguments = {n: v.double() if v.is_floating_point() else v for n, v in inputs().items()}
    made = in_pieces(model, arguments, [3, 1, 3], KeyValueCache())
    with torch.no_grad():
        whole = model(**arguments)
    poses = torch.cat([m["pose"] for m in made])
    assert poses.dtype == torch.float64
    torch.testing.assert_close(poses, whole, rtol=1e-11, atol=1e-11)


def test_bfloat16_under_autocast_stays_near(build: Build, inputs: Inputs) -> None:
    model, arguments = build(causal=True, pose_output="velocity", pose_scale=0.01), inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = in_pieces(model, arguments, [3, 1, 1, 2], KeyValueCache())
        with torch.no_grad():
            whole = model(**arguments)
    torch.testing.assert_close(torch.cat([m["pose"] for m in made]), whole, rtol=0, atol=2e-3)


def test_a_cached_step_does_not_read_the_sequence_again(build: Build, inputs: Inputs) -> None:
    """The products of a step are those of one position, however many were read before."""
    model, rows = build(causal=True), []
    model.transformer_encoder.layers[0].ffn.register_forward_hook(lambda m, i, o: rows.append(o.shape[1]))
    in_pieces(model, inputs(frames=9), [6, 1, 1, 1], KeyValueCache())
    assert rows == [7, 1, 1, 1]


def test_buffers_are_filled_in_place_until_they_are_full() -> None:
    cache = LayerCache(4)
    first, _ = cache.extend(torch.ones(1, 2, 3, 8), torch.ones(1, 2, 3, 8))
    second, _ = cache.extend(2 * torch.ones(1, 2, 1, 8), torch.ones(1, 2, 1, 8))
    assert (second.data_ptr(), cache.capacity) == (first.data_ptr(), 4)
    third, _ = cache.extend(3 * torch.ones(1, 2, 1, 8), torch.ones(1, 2, 1, 8))
    assert cache.capacity == 8
    assert third[0, 0, :, 0].tolist() == [1, 1, 1, 2, 3]


def test_new_positions_see_what_was_before_them_and_themselves() -> None:
    assert new_visible(3, 1, torch.device("cpu")) is None
    visible = new_visible(1, 2, torch.device("cpu"))
    assert visible is not None
    assert visible.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"causal": False}, "only causal ones"),
        ({"padding_mask": torch.zeros(3, 7, dtype=torch.bool)}, "padding_mask"),
    ],
)
def test_what_does_not_go_with_a_cache(build: Build, inputs: Inputs, more: dict[str, Any], message: str) -> None:
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        build(causal=True)(**inputs(), cache=KeyValueCache(), **more)


def test_gradients_are_refused_rather_than_wrong(build: Build, inputs: Inputs) -> None:
    with pytest.raises(ValueError, match="no_grad"):
        build(causal=True)(**inputs(), cache=KeyValueCache())
