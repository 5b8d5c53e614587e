"""What a model card says, in Markdown: every number from a run's files, and what they do not tell left out."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stickgen.artifacts.adapter import Adapter
from stickgen.artifacts.base import MODEL_FILE
from stickgen.artifacts.record import BaseRecord
from stickgen.artifacts.run import runnable
from stickgen.config import TrainConfig
from stickgen.evaluation.rollouts import RolloutProtocol
from stickgen.evaluation.scores import Summary
from stickgen.evaluation.table import summary_text
from stickgen.export.markdown import (
    Markdown,
    code,
    code_span,
    plain,
    python_string,
    recorded_command,
    row,
    shell_command,
    table,
)
from stickgen.metrics import METRICS, NEXT_FRAMES, REAL_CLIPS, SHOWN, Aim
from stickgen.motion.skeleton import skeleton_of

OWN = "this model"
"""The row of the card's model."""


@dataclass(frozen=True)
class Results:
    """A table of scores.

    Attributes:
        data: what to call the clips' file.
        split: which of its clips.
        rows: predictor → metric → summary; the card's model is :data:`OWN`.
        given_frames: frames of each clip that a rollout was given; None where only next frames were scored.
    """

    data: str
    split: str
    rows: Mapping[str, Mapping[str, Summary]]
    given_frames: int | None = None

    @property
    def metrics(self) -> list[str]:
        """The metrics that the card's model has a value of, in the order of the tables."""
        own = self.rows[OWN]
        return [metric for metric in SHOWN if metric in own and not math.isnan(own[metric].mean)]

    @property
    def models(self) -> int:
        """How many models the card's row is the mean of."""
        return max((summary.models for summary in self.rows[OWN].values()), default=0)

    def said_by(self, other: "Results") -> bool:
        """Return whether another table, of the same clips, shows all that this one does of the card's model."""
        return (self.data, self.split, self.models) == (other.data, other.split, other.models) and all(
            summary_text(metric, self.rows[OWN][metric]) == summary_text(metric, other.rows[OWN].get(metric))
            for metric in self.metrics
        )


@dataclass(frozen=True)
class Facts:
    """All that a card is written from.

    Attributes:
        name: the model's.
        config: the run's settings.
        record: of the base, or of the whole model.
        adapter: None where whole weights were trained.
        base: what to call the base, a hub id or its file's name; None where there was none.
        on_hub: whether ``base`` is a hub id.
        environment: of the run; {} where it was not recorded.
        metrics: of the run, beside the scores; {} where it has none.
        data: what to call the run's data.
        results: tables of scores.
    """

    name: str
    config: TrainConfig
    record: BaseRecord
    adapter: Adapter | None
    base: str | None
    on_hub: bool
    environment: Mapping[str, Any]
    metrics: Mapping[str, Any]
    data: str
    results: Sequence[Results]


def plain_title(metric: str) -> str:
    """Return a metric's title without the arrow that says where good values lie."""
    return METRICS[metric].full_title


def body(facts: Facts) -> str:
    """Return the card below its YAML head."""
    sections = [_what(facts), _model(facts), _training(facts), _results(facts), _use(facts), _limits(facts)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _what(facts: Facts) -> str:
    version = facts.environment.get("stickgen")
    trained = f"trained with stickgen{f' {plain(version)}' if version else ''}"
    if facts.adapter is None:
        text = f"A transformer that turns text into stick-figure motion, {trained}."
    else:
        text = (
            f"A LoRA adapter for a transformer that turns text into stick-figure motion, {trained}. It changes "
            f"{len(facts.adapter.modules)} layers of a base that stays as it is."
        )
    return f"# {plain(facts.name)}\n\n{text}"


def _model(facts: Facts) -> str:
    adapter, record = facts.adapter, facts.record
    s = record.settings
    encoder = record.text_encoder
    rows = {
        "base": _base(facts),
        "base fingerprint": adapter and adapter.base_fingerprint and code_span(adapter.base_fingerprint),
        "size": f"d {s['d_model']}, {s['num_layers']} layers, {s['nhead']} heads",
        "figure": f"{skeleton_of(s['input_dim']).name}: {s['input_dim']} numbers a frame, {record.fps} frames a second",
        "attention, poses": f"{'causal' if s['causal'] else 'bidirectional'}, {s['pose_output']}",
        "captions": encoder.get("id") and f"embedded by {encoder['id']}, {s['embedding_dim']} numbers",
        "given beside the caption": ", ".join(record.conditions or ()),
    }
    if adapter is not None:
        rows["adapters"] = str(adapter.settings)
    counts = facts.metrics.get("parameters") or {}
    if "trainable" in counts and "total" in counts:
        share = counts["trainable"] / counts["total"]
        rows["trained numbers"] = f"{counts['trainable']:,} of {counts['total']:,} ({share:.1%})"
    text = f"## Model\n\n{table(rows)}"
    if adapter is not None:
        layers = Counter(re.sub(r"\.\d+\.", ".*.", name) for name in adapter.modules)
        text += "\n\nAdapted layers:\n\n" + "\n".join(
            f"* {code_span(name)} × {count}" for name, count in layers.items()
        )
    return text


def _base(facts: Facts) -> str | None:
    if facts.base is None:
        return "none: trained from random weights" if facts.config.base.from_scratch else None
    if facts.on_hub:  # an id that has been checked
        return Markdown(f"[{facts.base}](https://huggingface.co/{facts.base})")
    return code_span(facts.base)


def _training(facts: Facts) -> str:
    config, metrics = facts.config, facts.metrics
    data = metrics.get("data") or {}
    splits = data.get("splits") or {}
    rows: dict[str, Any] = {
        "data": facts.data + (f", {data['sequences']} sequences" if "sequences" in data else ""),
        "sources": ", ".join(f"{source} ({count} clips)" for source, count in data.get("sources", {}).items()),
        "left out": ", ".join(f"{count} {reason}" for reason, count in data.get("left_out", {}).items()),
        **{
            f"{name} clips": f"{part['clips']} of {part['takes']} takes, {part['frames']:,} frames"
            for name, part in splits.items()
        },
        "objective": config.objective.name,
        "optimizer": f"AdamW, learning rate {config.optimizer.lr:g}, weight decay {config.optimizer.weight_decay:g}",
    }
    if "optimizer_steps" in metrics:
        rows["optimizer steps"] = f"{metrics['optimizer_steps']}, of {config.step_size} clips"
    rows["precision"], rows["seed"] = config.trainer.precision, config.seed
    if metrics.get("monitored") is not None:
        kept = "best" if config.callbacks.keep_best else "last,"
        rows["kept weights"] = f"{kept} {metrics['monitor']}, {metrics['monitored']:.3g}"
    if "seconds" in metrics:
        platform = facts.environment.get("platform")
        rows["time"] = f"{metrics['seconds']:g} s" + (f" on {platform}" if platform else "")
    parts = ["## Training", table(rows)]
    environment = facts.environment
    if environment.get("command"):
        parts.append(code("bash", [runnable(recorded_command(environment["command"]))]))
    versions = [
        *((name, environment.get(name)) for name in ("stickgen", "python")),
        *(environment.get("packages") or {}).items(),
    ]
    shown = ", ".join(plain(f"{name} {version}") for name, version in versions if version)
    if revision := environment.get("git_revision"):
        shown += f"; git revision {plain(revision)}"
    if shown:
        parts.append(f"Versions: {shown}.")
    return "\n\n".join(parts)


def _results(facts: Facts) -> str:
    return "\n\n".join(["## Results", *map(_result_table, facts.results)]) if facts.results else ""


def _result_table(results: Results) -> str:
    names = [name for name, scores in results.rows.items() if any(metric in scores for metric in results.metrics)]
    bold = [f"**{name}**" if name == OWN else plain(name) for name in names]
    lines = [row("", *bold), row("---", *["---:"] * len(names))]
    for metric in results.metrics:
        shown = [summary_text(metric, results.rows[name].get(metric)) for name in names]
        lines.append(row(METRICS[metric].full_heading, *shown))
    about = f"{plain(results.data)}, {plain(results.split)} clips"
    if results.given_frames is not None:
        about += f"; rollouts of {RolloutProtocol(results.given_frames).start}"
    if results.models > 1:
        about += f"; {OWN}: mean ± standard deviation of {results.models} models, of which it is one"
    return f"{about}:\n\n" + "\n".join(lines)


def _use(facts: Facts) -> str:
    base = facts.base or "base.safetensors"
    # A hub id is no path; the file below it has a name that the run does not know.
    base_path = "base.safetensors" if facts.on_hub else base
    causal = facts.record.settings["causal"]
    way = "rollout" if causal else "one_shot"
    if facts.adapter is None:
        where, load = f"With this folder's `{MODEL_FILE}`:", f'load_model(Path("{MODEL_FILE}")).model'
    else:
        where = f"With this folder as `adapter/` and the base as {code_span(base_path)}:"
        load = f'load_model(Path("adapter"), base=Path({python_string(base_path)})).model'
    lines = ["from pathlib import Path", "", "import torch", "from stickgen.artifacts.model import load_model"]
    encoder = facts.record.text_encoder.get("id")
    if encoder:
        lines.append("from stickgen.text.encoder import TextEncoder")
    lines += [f"from stickgen.generation import {way}", "", f"model = {load}"]
    if encoder:
        lines.append(f'text = torch.from_numpy(TextEncoder({python_string(encoder)}).encode(["A person walks."]))')
    else:
        width = facts.record.settings["embedding_dim"]
        lines.append(f"text = torch.zeros(1, {width})  # the caption's embedding, by the encoder of the base's data")
    lines.append(f"motion = {way}(model, text, frames=100)  # [100, 1, {facts.record.settings['input_dim']}]")
    parts = ["## Use", where, code("python", lines)]
    if facts.adapter is not None:
        peft = [
            "from pathlib import Path",
            "",
            "from peft import PeftModel",
            "from stickgen.artifacts.base import load_base",
            "",
            f'model = PeftModel.from_pretrained(load_base(Path({python_string(base_path)})).model, "adapter").eval()',
        ]
        words = ("checkpoint=adapter", f"base_checkpoint={base_path}", "output=merged_model.pth")
        merge = shell_command("stickgen", "merge", *words)
        parts += ["With PEFT:", code("python", peft), "Merged into one plain checkpoint:", code("bash", [merge])]
    return "\n\n".join(parts)


def _limits(facts: Facts) -> str:
    config, record = facts.config, facts.record
    points = []
    if facts.adapter is not None and facts.adapter.base_fingerprint:
        points.append("It fits no other base than that of the fingerprint above; stickgen refuses others.")
    if encoder := record.text_encoder.get("id"):
        points.append(
            f"Captions have to be embedded by {plain(encoder)}; vectors of another encoder mean nothing to it."
        )
    later = "" if config.lora.enabled else " and has learnt nothing of later ones"
    points.append(f"It was trained on clips of at most {config.data.max_frames} frames{later}.")
    if not record.settings["causal"]:
        points.append(
            "Its attention is bidirectional: it sees the frame it is asked for, so next-frame errors are leaky, and it "
            "cannot go on frame by frame."
        )
    points += [point for results in facts.results for point in _beaten(results)]
    return "## Limits\n\n" + "\n".join(f"* {point}" for point in dict.fromkeys(points))


def _beaten(results: Results) -> Iterator[str]:
    """Yield where a baseline does better than the model, of metrics whose good values lie at one end."""
    own = results.rows[OWN]
    for metric in results.metrics:
        sign = {Aim.LOW: 1, Aim.HIGH: -1}.get(METRICS[metric].aim)
        rivals = {
            name: scores[metric].mean
            for name, scores in results.rows.items()
            if name not in (OWN, REAL_CLIPS) and metric in scores and not math.isnan(scores[metric].mean)
        }
        if sign is None or not rivals:
            continue
        best = min(rivals, key=lambda name: sign * rivals[name])
        theirs, ours = (summary_text(metric, results.rows[name][metric]) for name in (best, OWN))
        if sign * rivals[best] < sign * own[metric].mean and theirs != ours:
            yield f"{plain(results.data)}, {plain_title(metric)}: {plain(best)} does better ({theirs}; {OWN}: {ours})."


def is_rollout(metric: str) -> bool:
    """Return whether a metric is of rolled-out motion, not of next frames."""
    return METRICS[metric].section != NEXT_FRAMES
