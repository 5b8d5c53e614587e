"""``stickgen export web``: a folder with a page that generates motion in the browser, and nothing behind it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stickgen.artifacts.model import AS_RECORDED, LoadedModel, ModelOptions
from stickgen.artifacts.model_name import label_and_path
from stickgen.errors import CheckpointError, ConfigError
from stickgen.evaluation.frozen import frozen_bases
from stickgen.export.credits import credits_of
from stickgen.export.onnx import require_onnx
from stickgen.export.step_graph import StepGraph
from stickgen.export.step_onnx import roll_out, step_of, write_step_graph
from stickgen.files import atomic_write, check_folder
from stickgen.generation.conditions import conditions_for
from stickgen.generation.generate import check_labels
from stickgen.generation.request import GenerationRequest
from stickgen.generation.rollout import RolloutInputs, noise_source, rollout
from stickgen.generation.seed import standing
from stickgen.lora import adapted_layers
from stickgen.model.motion_code import WIDTH
from stickgen.motion.bones import bone_count
from stickgen.reports.live_page import WORKER, Live, LivePrompt, live_page, worker_script
from stickgen.text.prompts import embed_prompts

FRAMES = 250
"""Frames that the page generates: ten seconds, as many as the bases were trained on."""

SEEDS = (None, 1, 2, 3)
"""Seeds of a prompt's motions, as of ``stickgen generate``; None is the most typical one."""

TOLERANCE = 1e-3
"""Largest difference allowed between the graph's frames and those of a rollout, in body heights."""

CHECKED = 100
"""Frames that are compared."""

PAGE, GRAPH = "index.html", "step.onnx"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of the npm package onnxruntime-web, in its folder dist."""

FILES = (PAGE, WORKER, GRAPH, *RUNTIME)

NPM = Path("node_modules/onnxruntime-web")
"""Where npm installs the runtime."""


@dataclass(frozen=True)
class WebReport:
    """What an export did.

    Attributes:
        adapters: labels of the sliders.
        bytes: size of the folder.
        largest_difference: between frames of the graph and of rollouts, in body heights.
    """

    adapters: Sequence[str]
    bytes: int
    largest_difference: float


def export_web(
    models: Sequence[str],
    output: Path,
    prompts: Sequence[str],
    options: ModelOptions = AS_RECORDED,
    *,
    runtime: Path = NPM,
    overwrite: bool = False,
) -> WebReport:
    """Write the folder, after the graph was compared with rollouts of every model.

    Args:
        models: adapters of one base, or one whole model: paths as of :func:`~stickgen.artifacts.model.load_model`, each
            bare or as ``label=path``.
        output: the folder.
        prompts: texts to choose from in the page.
        options: of the base and the text encoder.
        runtime: the folder of the npm package onnxruntime-web.
        overwrite: replace an earlier folder of this command.

    Raises:
        ConfigError: the runtime is not there, or a label or a prompt cannot be used.
        CheckpointError: a model cannot be exported, models are of different bases, or the frames differ by more than
            :data:`TOLERANCE`; nothing is then written.
        OutputExistsError: the folder exists and ``overwrite`` is false, or it holds other files.
        StickgenError: a model cannot be read, a package or the text encoder cannot be had.
    """
    require_onnx()
    check_folder(output, FILES, overwrite=overwrite)
    version = _runtime_version(runtime)
    request = GenerationRequest(prompts, FRAMES)
    prompts = request.prompts
    for prompt, script in zip(prompts, request.scripts, strict=True):
        if len(script) > 1:
            raise ConfigError(f"{prompt!r}: has several parts, which the page cannot generate; give each its own line")
    # A path is nobody's business but its writer's.
    named = [(Path(label).name if label == path else label, path) for label, path in map(label_and_path, models)]
    check_labels([label for label, _ in named])
    loaded = [(label, options.load(path)) for label, path in named]
    base = _base_of(loaded)
    text = embed_prompts([("", base.record.text_encoder)], prompts, options.encoder, options.encoder_id)[0]
    graph = _graph(loaded)
    sources = [base, *(model for _, model in loaded if model.adapted)]
    starts = [[[_start(one, words[None], seed) for one in sources] for seed in SEEDS] for words in text]
    noise = [_noise(base, starts[0][0][0]["frame"], seed) for seed in SEEDS]
    with atomic_write(output, overwrite=overwrite, folder_of=FILES) as scratch:
        scratch.mkdir()
        write_step_graph(graph, scratch / GRAPH)
        difference = _largest_difference(loaded, graph, scratch / GRAPH, text[:1], starts[0], noise)
        if not difference <= TOLERANCE:
            raise CheckpointError(
                f"{output}: frames of the graph and of rollouts differ by {difference:.3g} body heights, {TOLERANCE:g} "
                "allowed; nothing was written"
            )
        adapters = [label for label, model in loaded if model.adapted]
        inputs = {name: list(value.shape) for name, value in graph.sample_inputs().items()}
        live = Live(
            prompts=[
                LivePrompt(caption, words.numpy(), [[_arrays(one) for one in seed] for seed in by_seed])
                for caption, words, by_seed in zip(prompts, text, starts, strict=True)
            ],
            adapters=adapters,
            noise=[one[:, 0].numpy() for one in noise if one is not None],
            frames=FRAMES,
            dim=base.model.settings["input_dim"],
            graph={
                "url": GRAPH,
                "bytes": (scratch / GRAPH).stat().st_size,
                "inputs": inputs,
                "cached": [2, *graph.cached],
            },
            credits=credits_of(loaded, base, version),
        )
        title = " + ".join(label for label, _ in loaded)
        (scratch / PAGE).write_text(live_page(live, title), encoding="utf-8")
        (scratch / WORKER).write_text(worker_script(), encoding="utf-8")
        for name in RUNTIME:
            shutil.copyfile(runtime / "dist" / name, scratch / name)
        size = sum(file.stat().st_size for file in scratch.iterdir())
    return WebReport(adapters, size, difference)


def _runtime_version(runtime: Path) -> str:
    """Return the version of the runtime."""
    package = "package.json"
    missing = next((n for n in (*(f"dist/{name}" for name in RUNTIME), package) if not (runtime / n).is_file()), None)
    if missing is not None:
        raise ConfigError(
            f"{runtime}: no {missing}; run npm install onnxruntime-web, or name its folder with --runtime"
        )
    return str(json.loads((runtime / package).read_text(encoding="utf-8")).get("version", ""))


def _base_of(loaded: Sequence[tuple[str, LoadedModel]]) -> LoadedModel:
    """Return the one base of the models, having checked that they can be in one page."""
    for label, one in loaded:
        if not one.model.causal:
            raise CheckpointError(f"{label}: its base is bidirectional and cannot generate frame by frame")
        for layer in adapted_layers(one.model).values():
            if layer.INDIVISIBLE:
                raise CheckpointError(
                    f"{label}: a {layer.title()} adapter {layer.INDIVISIBLE} and has no slider; merge it first, and "
                    "export the merged model"
                )
    if len(loaded) == 1 and not loaded[0][1].adapted:
        return loaded[0][1]
    whole = next((label for label, one in loaded if not one.adapted), None)
    if whole is not None:
        raise CheckpointError(f"{whole}: a whole model; a page has adapters of one base, or one whole model alone")
    bases = frozen_bases(loaded)
    if len(bases) > 1:
        raise CheckpointError(f"{', '.join(label for label, _ in loaded)}: of {len(bases)} bases; one expected")
    return bases[0][1]


def _graph(loaded: Sequence[tuple[str, LoadedModel]]) -> StepGraph:
    label, first = loaded[0]
    frame = torch.zeros(1, 1, first.model.settings["input_dim"])
    names = {"cameras": "camera_data", "partners": "partner_motion"}
    conditions = {names[name]: track for name, track in conditions_for(label, first, frame, 1, None, None).items()}
    steered = first.model.code_bank is not None and first.model.body_frame is not None
    return StepGraph([one.model for _, one in loaded], FRAMES, conditions, steered=steered)


def _start(one: LoadedModel, text: Tensor, seed: int | None) -> dict[str, Tensor]:
    """Return what a motion of a text ``[1, E]`` starts from: ``frame [1, 1, D]`` and, where used, code and bones."""
    model = one.model
    given = None if model.leaves_to_chance else standing(model.settings["input_dim"], 1, seed)
    inputs = RolloutInputs.of(model, text, FRAMES, given, None, None, None, seed)
    start = {"frame": inputs.given}
    if model.code_bank is not None:
        start["code"] = inputs.text[0, -WIDTH:]
    if inputs.drawn is not None:
        start["bones"] = inputs.drawn.bones.expand(-1, bone_count(model.settings["input_dim"]))
    return start


def _noise(base: LoadedModel, frame: Tensor, seed: int | None) -> Tensor | None:
    """Return the noise of a rollout, ``[FRAMES, 1, D]``."""
    draw = noise_source(base.model, frame, seed)
    return None if draw is None else torch.cat([draw(1) for _ in range(FRAMES)])


def _largest_difference(
    loaded: Sequence[tuple[str, LoadedModel]],
    graph: StepGraph,
    path: Path,
    text: Tensor,
    starts: Sequence[Sequence[dict[str, Tensor]]],
    noise: Sequence[Tensor | None],
) -> float:
    """Return the largest difference to the rollouts of a text ``[1, E]``, over all models and the first two seeds."""
    step, differences = step_of(path), []
    for at, (label, one) in enumerate(loaded):
        for seed, by_model, drawn in list(zip(SEEDS, starts, noise, strict=True))[:2]:
            start = dict(by_model[at + 1 if one.adapted else 0])
            given = None if one.model.leaves_to_chance else start["frame"]
            words = text.clone()
            if "code" in start:
                words[0, -WIDTH:] = start.pop("code")
            start["text"] = words
            if one.adapted:
                start["weights"] = torch.eye(graph.adapters)[at]
            if drawn is not None:
                start["noise"] = drawn
            beside = conditions_for(label, one, by_model[0]["frame"], CHECKED, None, None)
            cameras, partners = beside.get("cameras"), beside.get("partners")
            wanted = rollout(one.model, text, CHECKED, given, cameras=cameras, partners=partners, seed=seed)
            differences.append(float((roll_out(step, graph, start, CHECKED) - wanted).abs().max()))
    return max(differences)


def _arrays(start: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: part.flatten().numpy() for name, part in start.items()}
