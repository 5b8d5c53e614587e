import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import POSE_OUTPUTS, StickFigureTransformer

Build = Callable[..., StickFigureTransformer]
Inputs = Callable[..., dict[str, Tensor]]

SHAPES = {
    "pose": (7, 3, 20),
    "position": (3, 2),
    "velocity": (3, 2),
    "action_logits": (7, 3, 64),
    "physics": (7, 3, 6),
    "environment": (3, 32),
}
PER_FRAME = ("pose", "action_logits", "physics")
POOLED = ("position", "velocity", "environment")
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])


def outputs(model: StickFigureTransformer, arguments: dict[str, Tensor], **more: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        made = model(**arguments, return_all_outputs=True, **more)
    assert isinstance(made, dict)
    return made


def clip(arguments: dict[str, Tensor], which: slice, frames: slice = slice(None)) -> dict[str, Tensor]:
    """Some of the clips, and some of their frames."""
    return {
        name: value[which] if name == "text_embedding" else value[frames, which] for name, value in arguments.items()
    }


# Sizes and signature


@pytest.mark.parametrize(
    ("d_model", "nhead", "num_layers", "width", "count"),
    [
        (256, 8, 6, 20, 7_248_894),
        (256, 8, 6, 48, 7_259_674),
        (384, 12, 8, 20, 20_595_646),
        (384, 12, 8, 48, 20_611_802),
        (512, 16, 10, 20, 44_619_646),
        (512, 16, 10, 48, 44_641_178),
    ],
)
def test_parameter_counts(d_model: int, nhead: int, num_layers: int, width: int, count: int) -> None:
    with torch.device("meta"):
        model = StickFigureTransformer(width, d_model, nhead, num_layers, output_dim=width)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_default_is_the_medium_variant() -> None:
    with torch.device("meta"):
        model = StickFigureTransformer()
    assert sum(p.numel() for p in model.parameters()) == 20_595_646
    assert len(model.state_dict()) == 165
    assert model.settings == {
        "input_dim": 20,
        "d_model": 384,
        "nhead": 12,
        "num_layers": 8,
        "output_dim": 20,
        "embedding_dim": 1024,
        "dropout": 0.1,
        "num_actions": 64,
        "causal": False,
        "pose_output": "absolute",
        "pose_scale": 1.0,
        "pose_frame": "world",
        "velocity_kept": 1.0,
        "pose_pull": 0.0,
        "motion_code": False,
    }


def test_the_constructors_names_and_defaults_are_public() -> None:
    parameters = inspect.signature(StickFigureTransformer).parameters
    positional = {n: p.default for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == [
        ("input_dim", 20),
        ("d_model", 384),
        ("nhead", 12),
        ("num_layers", 8),
        ("output_dim", 20),
        ("embedding_dim", 1024),
        ("dropout", 0.1),
        ("num_actions", 64),
    ]
    ours = {n: p.default for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert ours == {
        "causal": False,
        "pose_output": "absolute",
        "pose_scale": 1.0,
        "pose_frame": "world",
        "velocity_kept": 1.0,
        "pose_pull": 0.0,
        "motion_code": False,
    }


def test_the_forwards_names_and_defaults_are_public() -> None:
    parameters = dict(inspect.signature(StickFigureTransformer.forward).parameters)
    del parameters["self"]
    positional = [(n, p.default) for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [
        ("motion", inspect.Parameter.empty),
        ("text_embedding", inspect.Parameter.empty),
        ("return_all_outputs", False),
        ("action_sequence", None),
        ("camera_data", None),
        ("partner_motion", None),
    ]
    ours = {n: p.default for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert ours == {"padding_mask": None, "causal": None, "cache": None, "noise": None, "steer": None, "below": None}


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_pass_may_begin_above_layers_whose_output_is_given(
    build: Build, inputs: Inputs, causal: bool, layer: int
) -> None:
    model, given = build(causal=causal), inputs()
    del given["action_sequence"]
    padding_mask = torch.arange(7) >= torch.tensor([7, 4, 2])[:, None]
    with torch.no_grad():
        expected = model(**given, return_all_outputs=True, padding_mask=padding_mask)
        hidden = model.hidden_below(layer, **given, padding_mask=padding_mask)
        hidden[:, 1:][padding_mask] = 0.0  # padding may hold anything
        found = model(
            given["motion"],
            given["text_embedding"],
            return_all_outputs=True,
            padding_mask=padding_mask,
            below=(layer, hidden),
        )
    for name, value in expected.items():
        ours = found[name]
        if ours.shape[0] == 7:
            value, ours = value[~padding_mask.T], ours[~padding_mask.T]
        torch.testing.assert_close(ours, value, rtol=1e-5, atol=1e-6)


def test_the_settings_build_the_model_again(build: Build, inputs: Inputs) -> None:
    model = build(num_actions=46, causal=True, pose_output="velocity", pose_scale=0.3, dropout=0.2)
    again = StickFigureTransformer(**model.settings).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    arguments = clip(inputs(), slice(0, 2))
    arguments["action_sequence"] %= 46
    torch.testing.assert_close(outputs(again, arguments), outputs(model, arguments), rtol=0, atol=0)


@CAUSAL
def test_shapes_of_the_outputs(build: Build, inputs: Inputs, causal: bool) -> None:
    made = outputs(build(causal=causal), inputs())
    assert {name: tuple(value.shape) for name, value in made.items()} == SHAPES


def test_the_pose_alone_is_the_pose_of_all_outputs(build: Build, inputs: Inputs) -> None:
    model, arguments = build(), inputs()
    with torch.no_grad():
        torch.testing.assert_close(model(**arguments), outputs(model, arguments)["pose"], rtol=0, atol=0)


def test_48_numbers_a_frame_and_one_frame_are_fine(build: Build, inputs: Inputs) -> None:
    made = outputs(build(input_dim=48, output_dim=48), inputs(frames=1, width=48))
    assert made["pose"].shape == (1, 3, 48)
    assert all(torch.isfinite(value).all() for value in made.values())


@pytest.mark.parametrize("name", ["text_embedding", "action_sequence", "camera_data", "partner_motion"])
def test_every_condition_is_used(build: Build, inputs: Inputs, name: str) -> None:
    model, arguments = build(), inputs()
    other = {**arguments, name: inputs(seed=2)[name]}
    changed, plain = outputs(model, other), outputs(model, arguments)
    for head in SHAPES:
        assert not torch.allclose(changed[head], plain[head], atol=1e-5), head


def test_nothing_is_printed(build: Build, inputs: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    outputs(build(), inputs())
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_inputs_are_left_as_they_were(build: Build, inputs: Inputs) -> None:
    arguments = inputs()
    outputs(build(pose_output="velocity"), arguments)
    for name, value in inputs().items():
        assert torch.equal(arguments[name], value), name


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_model": 48, "nhead": 5}, r"nhead=5 does not divide d_model=48"),
        ({"d_model": 12, "nhead": 4}, r"heads of even size"),
        ({"pose_output": "relative"}, r"pose_output='relative': one of absolute, residual, velocity"),
        ({"pose_output": "residual", "output_dim": 48}, r"input_dim=20 equal to output_dim=48"),
        ({"pose_output": "velocity", "input_dim": 48}, r"input_dim=48 equal to output_dim=20"),
    ],
)
def test_impossible_settings(build: Build, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


@CAUSAL
def test_a_clip_without_a_real_frame_is_refused(build: Build, inputs: Inputs, causal: bool) -> None:
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[1] = True
    with pytest.raises(ValueError, match="a clip has no real frame"):
        build()(**inputs(), padding_mask=mask, causal=causal)


def test_padding_before_real_frames_is_refused_in_a_causal_pass_only(build: Build, inputs: Inputs) -> None:
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[2, 0] = True
    with pytest.raises(ValueError, match="must follow a clip's real frames"):
        build(causal=True)(**inputs(), padding_mask=mask)
    outputs(build(), inputs(), padding_mask=mask)


# Padding and batches


@CAUSAL
@pytest.mark.parametrize("pose_output", POSE_OUTPUTS)
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    garbage=st.sampled_from([0.0, 1.0, -50.0, 1e6, 1e30, math.inf, math.nan]),
    seed=st.integers(0, 2**16),
)
def test_padding_changes_nothing(
    build: Build, inputs: Inputs, causal: bool, pose_output: str, lengths: list[int], garbage: float, seed: int
) -> None:
    model = build(causal=causal, pose_output=pose_output, pose_scale=0.1)
    longest, clips = max(lengths), len(lengths)
    arguments = inputs(frames=longest, clips=clips, seed=seed)
    alone = [outputs(model, clip(arguments, slice(b, b + 1), slice(n))) for b, n in enumerate(lengths)]
    mask = torch.arange(longest) >= torch.tensor(lengths)[:, None]
    for name in ("motion", "camera_data", "partner_motion"):
        arguments[name] = torch.where(mask.T.unsqueeze(-1), garbage, arguments[name])
    arguments["action_sequence"] = torch.where(mask.T, -100, arguments["action_sequence"])
    together = outputs(model, arguments, padding_mask=mask)
    for b, n in enumerate(lengths):
        for head in PER_FRAME:
            torch.testing.assert_close(together[head][:n, b], alone[b][head][:, 0], rtol=1e-4, atol=2e-5)
        for head in POOLED:
            torch.testing.assert_close(together[head][b], alone[b][head][0], rtol=1e-4, atol=2e-5)


@CAUSAL
def test_without_the_mask_padding_would_change_something(build: Build, inputs: Inputs, causal: bool) -> None:
    model, arguments = build(causal=causal), inputs()
    mask = (torch.arange(7) >= 4).expand(3, 7)
    masked, unmasked = outputs(model, arguments, padding_mask=mask), outputs(model, arguments)
    for head in POOLED:
        assert not torch.allclose(masked[head], unmasked[head], atol=1e-4), head
    assert torch.allclose(masked["pose"][:4], unmasked["pose"][:4], atol=1e-5) == causal


@CAUSAL
def test_a_mask_without_padding_is_no_mask(build: Build, inputs: Inputs, causal: bool) -> None:
    model, arguments = build(causal=causal), inputs()
    made = outputs(model, arguments, padding_mask=torch.zeros(3, 7, dtype=torch.bool))
    torch.testing.assert_close(made, outputs(model, arguments), rtol=1e-5, atol=1e-6)


@CAUSAL
def test_padding_gets_and_gives_no_gradient(build: Build, inputs: Inputs, causal: bool) -> None:
    model, arguments = build(causal=causal), inputs()
    arguments["motion"][5:] = math.inf
    arguments["motion"].requires_grad_(True)
    mask = (torch.arange(7) >= 4).expand(3, 7)
    made = model(**arguments, return_all_outputs=True, padding_mask=mask)
    (made["pose"][:4].square().sum() + made["position"].square().sum()).backward()
    gradient = arguments["motion"].grad
    assert gradient is not None
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert gradient[:4].abs().min() > 0
    assert not gradient[4:].any()


def test_padding_between_real_frames_is_ignored_in_a_bidirectional_pass(build: Build, inputs: Inputs) -> None:
    model, arguments = build(), inputs()
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[:, 2] = True
    other = dict(arguments, motion=arguments["motion"].clone())
    other["motion"][2] = 99.0
    made, again = outputs(model, arguments, padding_mask=mask), outputs(model, other, padding_mask=mask)
    real = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(made["pose"][real], again["pose"][real])
    torch.testing.assert_close(made["environment"], again["environment"])


@CAUSAL
def test_clips_do_not_see_each_other(build: Build, inputs: Inputs, causal: bool) -> None:
    model, arguments = build(causal=causal), inputs(clips=5)
    together = outputs(model, arguments)
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        alone = outputs(model, clip(arguments, part))
        for head, value in together.items():
            kept = value[part] if head in POOLED else value[:, part]
            torch.testing.assert_close(alone[head], kept, rtol=1e-4, atol=1e-5)


def test_the_order_of_clips_is_of_no_consequence(build: Build, inputs: Inputs) -> None:
    model, arguments = build(), inputs()
    order = torch.tensor([2, 0, 1])
    shuffled = {n: v[order] if n == "text_embedding" else v[:, order] for n, v in arguments.items()}
    torch.testing.assert_close(outputs(model, shuffled)["pose"], outputs(model, arguments)["pose"][:, order])


# Causality


def influence(model: StickFigureTransformer, arguments: dict[str, Tensor], head: str, **more: Any) -> Tensor:
    """Whether frame s of any per-frame input moves output frame t, as bool ``[t, s]``."""
    plain = outputs(model, arguments, **more)[head]
    frames = plain.shape[0]
    moved = torch.zeros(frames, frames, dtype=torch.bool)
    for s in range(frames):
        for name in ("motion", "action_sequence", "camera_data", "partner_motion"):
            other = dict(arguments, **{name: arguments[name].clone()})
            other[name][s] = (other[name][s] + 1) % 64 if name == "action_sequence" else other[name][s] + 3
            change = outputs(model, other, **more)[head] - plain
            moved[:, s] |= change.abs().flatten(1).amax(1) > 1e-6
    return moved


@pytest.mark.parametrize("pose_output", POSE_OUTPUTS)
@pytest.mark.parametrize("head", PER_FRAME)
def test_a_causal_output_depends_on_all_frames_so_far_and_no_later_one(
    build: Build, inputs: Inputs, pose_output: str, head: str
) -> None:
    model = build(causal=True, pose_output=pose_output)
    moved = influence(model, inputs(frames=5, clips=1), head)
    assert torch.equal(moved, torch.ones(5, 5, dtype=torch.bool).tril())


@pytest.mark.parametrize("head", PER_FRAME)
def test_a_bidirectional_output_depends_on_every_frame(build: Build, inputs: Inputs, head: str) -> None:
    assert influence(build(), inputs(frames=5, clips=1), head).all()


def test_the_argument_overrides_the_models_own_setting(build: Build, inputs: Inputs) -> None:
    arguments = inputs()
    causal, both = build(causal=True), build(causal=False)
    for setting in (True, False):
        torch.testing.assert_close(
            outputs(causal, arguments, causal=setting), outputs(both, arguments, causal=setting), rtol=0, atol=0
        )
    torch.testing.assert_close(outputs(causal, arguments), outputs(both, arguments, causal=True), rtol=0, atol=0)
    assert not torch.allclose(outputs(causal, arguments)["pose"], outputs(both, arguments)["pose"], atol=1e-4)


def test_the_text_reaches_the_first_frame_of_a_causal_pass(build: Build, inputs: Inputs) -> None:
    model, arguments = build(causal=True), inputs()
    other = {**arguments, "text_embedding": arguments["text_embedding"] + 1}
    assert not torch.allclose(outputs(model, other)["pose"][0], outputs(model, arguments)["pose"][0], atol=1e-5)


# Pose outputs


def zero_pose_head(model: StickFigureTransformer) -> StickFigureTransformer:
    nn.init.zeros_(model.pose_decoder[3].weight)
    nn.init.zeros_(model.pose_decoder[3].bias)
    return model


def test_a_residual_head_of_zero_repeats_the_last_frame(build: Build, inputs: Inputs) -> None:
    arguments = inputs()
    model = zero_pose_head(build(pose_output="residual"))
    assert torch.equal(outputs(model, arguments)["pose"], arguments["motion"])


def test_a_velocity_head_of_zero_goes_on_at_constant_velocity(build: Build, inputs: Inputs) -> None:
    arguments = inputs()
    model = zero_pose_head(build(pose_output="velocity"))
    motion = arguments["motion"]
    expected = torch.cat([motion[:1], motion[1:] + (motion[1:] - motion[:-1])])
    assert torch.equal(outputs(model, arguments)["pose"], expected)


@pytest.mark.parametrize("scale", [1.0, 0.005])
@pytest.mark.parametrize("pose_output", ["residual", "velocity"])
def test_the_heads_output_is_scaled_and_added(build: Build, inputs: Inputs, pose_output: str, scale: float) -> None:
    arguments = inputs()
    head = outputs(build(), arguments)["pose"]
    start = outputs(zero_pose_head(build(pose_output=pose_output)), arguments)["pose"]
    made = outputs(build(pose_output=pose_output, pose_scale=scale), arguments)["pose"]
    torch.testing.assert_close(made, start + scale * head)


@pytest.mark.parametrize("pose_output", POSE_OUTPUTS)
def test_the_other_heads_do_not_depend_on_the_pose_output(build: Build, inputs: Inputs, pose_output: str) -> None:
    made, plain = outputs(build(pose_output=pose_output), inputs()), outputs(build(), inputs())
    for head in SHAPES.keys() - {"pose"}:
        assert torch.equal(made[head], plain[head]), head


def test_the_pose_output_does_not_change_the_keys(build: Build) -> None:
    keys = [set(build(pose_output=kind).state_dict()) for kind in POSE_OUTPUTS]
    assert keys[0] == keys[1] == keys[2]


# Dropout


def test_eval_mode_is_deterministic_and_training_mode_is_not(build: Build, inputs: Inputs) -> None:
    model, arguments = build(dropout=0.2), inputs()
    torch.testing.assert_close(outputs(model, arguments), outputs(model, arguments), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(outputs(model, arguments)["pose"], outputs(model, arguments)["pose"])


def test_set_dropout_of_zero_makes_training_mode_compute_as_eval_mode(build: Build, inputs: Inputs) -> None:
    model, arguments = build(dropout=0.5), inputs()
    model.set_dropout(0.0)
    expected = outputs(model, arguments)
    torch.testing.assert_close(outputs(model.train(), arguments), expected, rtol=1e-5, atol=1e-6)
    assert model.settings["dropout"] == 0.0


def test_set_dropout_equals_building_with_it(build: Build, inputs: Inputs) -> None:
    changed, built = build(dropout=0.0).train(), build(dropout=0.4).train()
    changed.set_dropout(0.4)
    assert changed.settings == built.settings
    torch.manual_seed(3)
    expected = outputs(built, inputs())
    torch.manual_seed(3)
    torch.testing.assert_close(outputs(changed, inputs()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("place", ["attention", "ffn"])
def test_dropout_reaches_the_inside_of_every_layer(build: Build, inputs: Inputs, place: str) -> None:
    model = build(dropout=0.0).train()
    layer = model.transformer_encoder.layers[1]
    if place == "attention":
        layer.self_attn.dropout = 0.5
    else:
        layer.ffn.dropout.p = 0.5
    assert not torch.allclose(outputs(model, inputs())["pose"], outputs(model, inputs())["pose"])


# With adapters in place


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@CAUSAL
def test_every_adapter_is_really_computed_with_in_eval_mode(
    build: Build, inputs: Inputs, causal: bool, grad: bool
) -> None:
    # Frozen from the start: the kernel PyTorch chooses, and with it the last bit, depends on requires_grad.
    model, arguments = build(causal=causal).requires_grad_(False), inputs()
    plain = outputs(model, arguments)
    heads = [name.split(".")[0] for name, _ in model.named_children()]
    inject_lora_adapters(model, heads[:2] + heads[3:], rank=2, alpha=4).eval()  # all but the embedding
    layers = adapted_layers(model)
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == 0
    for path, layer in layers.items():
        nn.init.normal_(layer.lora_B)
        with torch.set_grad_enabled(grad):
            made = model(**arguments, return_all_outputs=True)
        assert any((made[head] - plain[head]).abs().max() > 1e-4 for head in SHAPES), path
        nn.init.zeros_(layer.lora_B)
    torch.testing.assert_close(outputs(model, arguments), plain, rtol=0, atol=0)
