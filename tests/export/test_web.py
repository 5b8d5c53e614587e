"""The page that generates in a browser: its graph beside rollouts, its folder, and itself in Chromium."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import load_model, read_adapter
from stickgen.artifacts.record import BaseRecord
from stickgen.config import PROJECT
from stickgen.errors import CheckpointError, ConfigError, OutputExistsError
from stickgen.export.step_graph import StepGraph
from stickgen.export.step_onnx import Step, halve, roll_out, step_of
from stickgen.export.web import FILES, FRAMES, GRAPH, PAGE, RUNTIME, SEEDS, export_web
from stickgen.generation import rollout
from stickgen.generation.rollout import noise_source
from stickgen.generation.seed import standing
from stickgen.lora import NamedAdapters, adapted_layers, get_lora_state_dict, inject_lora_adapters, lora_settings
from stickgen.lora.inject import DEFAULT_TARGETS
from stickgen.model import StickFigureTransformer
from stickgen.model.code_bank import CodeBank, Drawn
from stickgen.model.motion_code import WIDTH, with_code
from stickgen.motion.bones import at_rest, bone_count
from stickgen.render import Panel
from stickgen.sample import SAMPLE_INFO
from tests.browser import Page, browser, needs_chromium, served
from tests.generation.test_generate import Encoder
from tests.runs import help_without, run_command
from tests.warm import ROOT

LENGTH = 100
PROMPTS = ["a person walks", "a <b>person</b> & waves"]
NPM = ROOT / "build/npm/node_modules/onnxruntime-web"
SIZES: dict[str, Any] = {"embedding_dim": 1024, "d_model": 32, "nhead": 4, "num_layers": 2}


def _embedding(count: int, seed: int = 0) -> Tensor:
    """Return embeddings ``[count, 1024]``, of 384 numbers as the encoder's are."""
    return F.pad(F.normalize(torch.randn(count, 384, generator=torch.Generator().manual_seed(seed)), dim=-1), (0, 640))


def make_base(path: Path, dim: int = 20) -> Path:
    """Write a small random base in the body's frame, with motion codes."""
    torch.manual_seed(0)
    model = StickFigureTransformer(
        **SIZES, input_dim=dim, output_dim=dim, causal=True, pose_output="velocity", pose_frame="body",
        velocity_kept=0.9, pose_scale=0.005, motion_code=True,
    )  # fmt: skip
    model.code_bank = CodeBank.of(
        list(_embedding(6)), list(0.3 * torch.randn(6, WIDTH)), list(0.9 + 0.2 * torch.rand(6, bone_count(dim)))
    )
    save_base(model, BaseRecord({}, objective="causal", text_encoder=SAMPLE_INFO["text_encoder"]), path)
    return path


def make_adapter(
    base_path: Path, folder: Path, seed: int, targets: Sequence[str] = DEFAULT_TARGETS, kind: str = "lora"
) -> Path:
    """Write an adapter of random weights, with codes of its own where its base has some."""
    base = load_base(base_path)
    torch.manual_seed(seed)
    inject_lora_adapters(base.model, targets, rank=2 + seed, kind=kind)
    with torch.no_grad():
        for layer in adapted_layers(base.model).values():
            for factor in layer.factors().values():
                factor.normal_(std=0.05)
    bank = base.model.code_bank
    own = None if bank is None else replace(bank, codes=bank.codes.roll(seed, 0), texts=bank.texts.roll(seed, 0))
    state, used = get_lora_state_dict(base.model), lora_settings(base.model)
    save_adapter(Adapter(state, used, base.fingerprint, str(base_path), base.record, codes=own), folder)
    return folder


def mixed(base_path: Path, adapters: list[Path], weights: list[float]) -> StickFigureTransformer:
    """Return the base with the weighted sum of the adapters, as the merge has it."""
    model = load_base(base_path).model.eval()
    named = NamedAdapters(model)
    for path in adapters:
        adapter = read_adapter(path)[0]
        named.attach(path.name, adapter.state, adapter.settings)
    named.use(dict(zip((path.name for path in adapters), weights, strict=True)))
    return model


def eager(graph: StepGraph) -> Step:
    """Run the graph's module itself: what it computes, without the exporter's seconds."""

    def step(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [out.numpy() for out in graph(*(torch.from_numpy(feeds[name]) for name in graph.sample_inputs()))]

    return step


TEXT = _embedding(1)


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, 0.0], [-0.5, 1.5]])
def test_the_graph_makes_what_a_rollout_makes_with_the_weighted_sum(tmp_path: Path, weights: list[float]) -> None:
    base = PROJECT / "assets/sample_base.safetensors"
    # One of them adapts few layers: the sum of a layer has the adapters that it has.
    others = ["text_projection.0", "transformer_encoder.layers.1.ffn.gate_proj"]
    paths = [make_adapter(base, tmp_path / "a", 1), make_adapter(base, tmp_path / "b", 2, others, "loha")]
    graph = StepGraph([load_model(path).model for path in paths], 20, {}, steered=False)
    start = {"text": TEXT, "frame": standing(20, 1), "weights": torch.tensor(weights)}
    made = roll_out(eager(graph), graph, start, 20)
    plain = rollout(load_base(base).model, TEXT, 20, standing(20, 1))
    assert (made - plain).abs().max() > 0.01
    torch.testing.assert_close(
        made, rollout(mixed(base, paths, weights), TEXT, 20, standing(20, 1)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dim", [20, 48])
def test_a_held_rollout_is_the_same(tmp_path: Path, dim: int) -> None:
    one = load_model(make_base(tmp_path / "base.safetensors", dim))
    bank = one.model.code_bank
    assert bank is not None
    graph = StepGraph([one.model], LENGTH, {}, steered=True)
    codes, bones = bank.draw(TEXT, 1)
    frame = at_rest(dim, bones)[None]
    draw = noise_source(one.model, frame, 1)
    assert draw is not None
    noise = torch.cat([draw(1) for _ in range(LENGTH)])
    start = {"text": with_code(TEXT, codes), "frame": frame, "bones": bones, "noise": noise}
    wanted = rollout(one.model, TEXT, LENGTH, seed=1)
    torch.testing.assert_close(roll_out(eager(graph), graph, start, LENGTH), wanted, rtol=0, atol=1e-4)
    # Steering and bones are in it: without what was measured, the motion is another.
    unsteered = StepGraph([one.model], LENGTH, {}, steered=False)
    assert (roll_out(eager(unsteered), unsteered, start, LENGTH) - wanted).abs().max() > 0.01


def test_conditions_are_those_of_every_frame() -> None:
    torch.manual_seed(0)
    model = StickFigureTransformer(**SIZES, causal=True, pose_output="velocity", pose_scale=0.005).eval()
    camera = torch.tensor([[[0.3, 0.1, 1.2]]])
    graph = StepGraph([model], 12, {"camera_data": camera}, steered=False)
    made = roll_out(eager(graph), graph, {"text": TEXT, "frame": standing(20, 1)}, 12)
    wanted = rollout(model, TEXT, 12, standing(20, 1), cameras=camera.expand(12, 1, 3))
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-5)


# The folder


@dataclass(frozen=True)
class Exported:
    """A folder of ``stickgen export web`` and what it was made from."""

    base: Path
    adapters: list[Path]
    folder: Path
    printed: str

    @property
    def content(self) -> dict[str, Any]:
        """What the page's scripts read."""
        found = re.search(r'<script id="data" type="application/json">(.*?)</script>', self.page)
        assert found is not None
        read: dict[str, Any] = json.loads(found[1])
        return read

    @property
    def page(self) -> str:
        return (self.folder / PAGE).read_text(encoding="utf-8")


def runtime(folder: Path) -> Path:
    """Make what stands in for the npm package where nothing runs it."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "1.2.3"}')
    for name in RUNTIME:
        (folder / "dist" / name).write_text(name)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    folder = tmp_path_factory.mktemp("web")
    base = make_base(folder / "base.safetensors")
    adapters = [make_adapter(base, folder / name, seed) for seed, name in enumerate(["a", "b<i>"])]
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    arguments = ["--prompts", folder / "prompts.txt", "--runtime", runtime(folder / "npm"), "-o", folder / "page"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stickgen.text.prompts.TextEncoder", Encoder)
        printed = io.StringIO()
        with redirect_stdout(printed):
            assert run_command(patch, "export", "web", f"one={adapters[0]}", adapters[1], *arguments) == 0
        yield Exported(base, adapters, folder / "page", printed.getvalue())


def unpacked(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").copy())


def start_from(exported: Exported, prompt: int, seed: int, weights: list[float]) -> tuple[dict[str, Tensor], Drawn]:
    """Return what a motion starts from, mixed as the page does, and the code and bones in it."""
    live = exported.content["live"]
    shares = torch.tensor([0, *weights]) / sum(weights) if any(weights) else torch.eye(3)[0]
    starts = live["prompts"][prompt]["starts"][seed]
    mean = {n: (shares[:, None] * torch.stack([unpacked(s[n]) for s in starts])).sum(0) for n in starts[0]}
    drawn = Drawn(mean["code"][None], mean["bones"][None])
    start = {
        "text": with_code(unpacked(live["prompts"][prompt]["text"])[None], drawn.codes),
        "frame": mean["frame"].reshape(1, 1, -1),
        "bones": drawn.bones,
        "noise": unpacked(live["noise"][seed]).reshape(-1, 1, mean["frame"].numel()),
        "weights": torch.tensor(weights),
    }
    return start, drawn


def wanted_motion(exported: Exported, prompt: int, seed: int, weights: list[float], frames: int) -> Tensor:
    """Return the rollout that the page's motion equals: of the sum of adapters, from the mean of their codes."""
    model = mixed(exported.base, exported.adapters, weights) if any(weights) else load_base(exported.base).model.eval()
    _, (codes, bones) = start_from(exported, prompt, seed, weights)
    text = torch.from_numpy(Encoder("").encode(PROMPTS[prompt : prompt + 1]))
    model.code_bank = CodeBank(text, codes, torch.tensor([0]), bones)
    return rollout(model, text, frames, seed=SEEDS[seed])


@pytest.mark.parametrize(("seed", "weights"), [(0, [1.0, 0.0]), (2, [0.7, 0.3]), (1, [0.0, 0.0])])
def test_onnxruntime_makes_the_rollouts_frames(exported: Exported, seed: int, weights: list[float]) -> None:
    step = step_of(exported.folder / GRAPH)
    graph = StepGraph([load_model(path).model for path in exported.adapters], FRAMES, {}, steered=True)
    start, _ = start_from(exported, 1, seed, weights)
    made = roll_out(step, graph, start, LENGTH)
    assert (made - wanted_motion(exported, 1, seed, weights, LENGTH)).abs().max() < 1e-3


def test_one_slider_at_one_is_that_run_itself(exported: Exported) -> None:
    for at, path in enumerate(exported.adapters):
        text = torch.from_numpy(Encoder("").encode(PROMPTS[:1]))
        wanted = rollout(load_model(path).model, text, 30, seed=2)
        assert torch.equal(wanted_motion(exported, 0, 2, torch.eye(2)[at].tolist(), 30), wanted)


def test_the_folder_is_complete_and_says_what_it_is(exported: Exported) -> None:
    assert sorted(file.name for file in exported.folder.iterdir()) == sorted(FILES)
    assert re.search(r"page: [\d.]+ MB; the largest difference from a rollout is \S+ body heights\n", exported.printed)
    assert "python -m http.server --directory" in exported.printed
    text = exported.page
    assert "<b>" not in text
    assert "<i>" not in text
    assert "default-src &#x27;none&#x27;" in text
    assert "worker-src &#x27;self&#x27;" in text
    assert not re.search(r"https?://|\bsrc=|@import|url\(", text)
    assert str(exported.folder.parent) not in text  # the writer's own paths
    assert [scene["caption"] for scene in exported.content["scenes"]] == PROMPTS
    for words in ("Adapter one: ", "Adapter b&lt;i&gt;: ", "Base base.safetensors: ", "onnxruntime-web 1.2.3 (MIT"):
        assert words in text


def test_weights_that_float16_holds_are_stored_in_it(exported: Exported, tmp_path: Path) -> None:
    numbers = {"exact": [[0.5, 0.25]], "inexact": [[0.1, 0.5]], "large": [[1e6, 1.0]]}
    helper, arrays = onnx.helper, onnx.numpy_helper
    weights = [arrays.from_array(np.array(rows, dtype=np.float32), name) for name, rows in numbers.items()]
    output = helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([helper.make_node("Sum", list(numbers), ["sum"])], "sum", [], [output], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    halve(proto, onnx)
    kinds = {one.name: one.data_type for one in proto.graph.initializer}
    assert kinds == {"exact_half": onnx.TensorProto.FLOAT16, "inexact": 1, "large": 1}
    onnx.save(proto, str(tmp_path / "sum.onnx"))
    np.testing.assert_array_equal(step_of(tmp_path / "sum.onnx")({})[0], np.float32([[1e6 + 0.6, 1.75]]))
    assert all(not node.metadata_props for node in onnx.load(str(exported.folder / GRAPH)).graph.node)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (["base", "one"], "base: a whole model; a page has adapters of one base, or one whole model alone"),
        (["dora"], r"dora: a DoRA adapter .* and has no slider; merge it first, and export the merged model"),
        (["one", "other"], "one, other: of 2 bases; one expected"),
        (["bidirectional"], "bidirectional: its base is bidirectional and cannot generate frame by frame"),
    ],
)
def test_what_has_no_place_in_one_page_is_refused(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: list[str], words: str
) -> None:
    monkeypatch.setattr("stickgen.text.prompts.TextEncoder", Encoder)
    torch.manual_seed(1)
    other = make_base(tmp_path / "other.safetensors", 48)
    turned = tmp_path / "turned.safetensors"
    save_base(StickFigureTransformer(**SIZES), BaseRecord({}, text_encoder=SAMPLE_INFO["text_encoder"]), turned)
    places = {
        "base": exported.base,
        "one": exported.adapters[0],
        "other": make_adapter(other, tmp_path / "of_other", 1),
        "dora": make_adapter(exported.base, tmp_path / "of_dora", 1, kind="dora"),
        "bidirectional": turned,
    }
    named = [f"{name}={places[name]}" for name in models]
    with pytest.raises(CheckpointError, match=words):
        export_web(named, tmp_path / "page", PROMPTS, runtime=runtime(tmp_path / "npm"))
    assert not (tmp_path / "page").exists()


def test_without_the_runtime_the_way_out_is_named(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no dist/ort\.wasm.*; run npm install onnxruntime-web, or name its folder"):
        export_web([str(exported.base)], tmp_path / "page", PROMPTS, runtime=tmp_path)


def test_a_folder_with_other_files_is_kept(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError):
            export_web([str(exported.base)], tmp_path, PROMPTS, runtime=tmp_path, overwrite=overwrite)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_help_is_instant() -> None:
    assert "--runtime" in help_without("export web", {"torch", "numpy", "lightning", "onnx", "onnxruntime"})


# In the browser


@pytest.fixture(scope="module")
def folder(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the runtime itself in it."""
    if not NPM.is_dir():
        pytest.skip("no onnxruntime-web (npm install --prefix build/npm onnxruntime-web)")
    made = tmp_path_factory.mktemp("served") / "page"
    shutil.copytree(exported.folder, made)
    for name in RUNTIME:
        shutil.copyfile(NPM / "dist" / name, made / name)
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser() as opened:
        yield opened


STATUS = "document.getElementById('status')"


def motion_of(page: Page, frames: int) -> Tensor:
    """Return frames that the page has made, ``[frames, 1, 20]``."""
    page.wait(f"live.made >= {frames} || {STATUS}.classList.contains('wrong')")
    assert page.get("live.made") >= frames, page.get(f"{STATUS}.textContent")
    return torch.tensor(page.get(f"Array.from(live.motion.subarray(0, {20 * frames}))")).reshape(frames, 1, 20)


@needs_chromium
def test_the_browser_makes_the_rollouts_frames_and_asks_nobody_else(
    exported: Exported, folder: Path, chromium: Page
) -> None:
    with served(folder) as url:
        chromium.complaints.clear()
        chromium.requests.clear()
        chromium.visit(url)
        made = motion_of(chromium, LENGTH)
        assert (made - wanted_motion(exported, 0, 0, [0.5, 0.5], LENGTH)).abs().max() < 1e-3
        # The player shows them as it shows finished motion.
        track = chromium.get("(({lines, heads}) => [Array.from(lines), Array.from(heads)])(panels[0])")
        panel = Panel(made[:, 0])
        lines = np.stack([ends for _, ends in panel.lines], axis=2)
        np.testing.assert_allclose(np.array(track[0][: lines.size]).reshape(lines.shape), lines, atol=1e-5)
        heads = np.array(track[1][: panel.heads.size]).reshape(panel.heads.shape)
        np.testing.assert_allclose(heads, panel.heads, atol=1e-5)

        # Another prompt, another motion of it, other weights: by the keyboard, as a person would.
        chromium.press("ArrowDown")
        chromium.press("n")
        chromium.get("document.getElementById('weight0').focus()")
        for _ in range(4):
            chromium.press("ArrowRight")
        chromium.get("document.getElementById('weight1').focus()")
        chromium.press("Home")
        assert chromium.get("weights()") == [0.7, 0]
        made = motion_of(chromium, LENGTH)
        assert (made - wanted_motion(exported, 1, 1, [0.7, 0.0], LENGTH)).abs().max() < 1e-3
        assert chromium.complaints == []
        assert {one.startswith((url, "data:")) for one in chromium.requests} == {True}


@needs_chromium
def test_it_plays_while_it_is_made_and_then_goes_round(folder: Path, chromium: Page) -> None:
    with served(folder) as url:
        chromium.visit(url)
        chromium.wait("live.made > 5")
        assert chromium.get("scene().growing")
        # At the last frame that is made it waits for the next.
        chromium.get("state.time = 9.9; play(true)")
        chromium.wait("state.last !== null")
        assert chromium.get("frame() < live.made && frame() > 0")
        chromium.wait(f"live.made === {FRAMES}")
        assert "generated at" in chromium.get(f"{STATUS}.textContent")
        chromium.get("seek(248); play(true)")
        chromium.wait("frame() < 100")
        chromium.press(" ")
        chromium.click("#another")
        assert chromium.get("document.getElementById('another').textContent") == f"motion 2 of {len(SEEDS)}"


@needs_chromium
def test_what_is_wrong_is_said_on_the_page(folder: Path, chromium: Page) -> None:
    chromium.open(folder / PAGE)
    chromium.wait(f"{STATUS}.classList.contains('wrong')")
    assert "needs a server: run python -m http.server" in chromium.get(f"{STATUS}.textContent")
    with served(folder) as url:
        (folder / GRAPH).rename(folder / "elsewhere")
        try:
            chromium.visit(url)
            chromium.wait(f"{STATUS}.classList.contains('wrong')")
            assert chromium.get(f"{STATUS}.textContent").startswith("step.onnx: 404")
        finally:
            (folder / "elsewhere").rename(folder / GRAPH)
