"""``stickgen evaluate``: models on disk, scored on held-out clips, a table for every data file."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from stickgen.artifacts.model import AS_RECORDED, LoadedModel, ModelOptions
from stickgen.artifacts.model_name import label_and_path
from stickgen.config import DataConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.stores import ClipSet
from stickgen.errors import CheckpointError, ConfigError
from stickgen.evaluation.baselines import MOST_FREQUENT, baseline_metrics, majority_action
from stickgen.evaluation.examination import ALL, Examination, Scores
from stickgen.evaluation.frozen import frozen_bases, is_frozen
from stickgen.evaluation.next_frame import next_frame_scores
from stickgen.evaluation.recognition import KINDS, is_installed
from stickgen.evaluation.retrieval import MOTION_MATCHING, NEAREST_CAPTION, motion_matching, nearest_caption
from stickgen.evaluation.rollouts import TRIVIAL, GoOn, RolloutProtocol, model_rollout
from stickgen.evaluation.scores import ScoresFile, Summary
from stickgen.metrics import CHANCE, FROZEN_BASE
from stickgen.text.encoder import encoder_difference

log = logging.getLogger(__name__)

RESERVED = (*TRIVIAL, NEAREST_CAPTION, MOTION_MATCHING, CHANCE, MOST_FREQUENT, FROZEN_BASE)
"""Columns of the table that no model of the user's may be mixed into; nor may it be into those of several bases."""

Models = Sequence[tuple[str, LoadedModel]]
"""Label and model."""

Progress = Callable[[str, int, int], None]
"""Told what is rolled out, how many batches of it are done, and of how many."""

SAMPLE = "built-in sample motion"


def evaluate(
    models: Sequence[str],
    data: Sequence[str] = (),
    options: ModelOptions = AS_RECORDED,
    *,
    split: str = "test",
    protocol: RolloutProtocol | None = None,
    by: str | None = None,
    progress: Progress = lambda what, done, batches: None,
) -> ScoresFile:
    """Score models, beside the frozen bases that they were trained from, and beside what needs no model.

    Args:
        models: paths as of :func:`~stickgen.artifacts.model.load_model`, each bare or as ``label=path``; those of one
            label are runs of one thing, and summarised together.
        data: data files, such as the target style's and the base's own, each scored once; empty: that of the first
            model's run. Figures of 48 numbers are reduced for models of 20.
        options: of the base.
        split: "val" or "test", as the first model's run splits, else as the defaults do.
        protocol: of the rollouts, and the most frames of a clip. A file whose clips are too short for any rollout has
            next-frame metrics alone.
        by: "action" or "style": the clips of each are scored as a group too.
        progress: told of every batch that was rolled out.

    Raises:
        ConfigError: ``split`` or ``by`` is none of those, a label is one of :data:`RESERVED`, two models of one label
            are the same, models are of different figures, there is no data file to use, or a model's captions were
            embedded by another encoder.
        StickgenError: a model or data file cannot be read, or does not fit.
    """
    if split not in ("val", "test"):
        raise ConfigError(f"split={split}: val or test expected")
    if by not in (None, *KINDS):
        raise ConfigError(f"by={by}: {' or '.join(KINDS)} expected")
    for label, _ in map(label_and_path, models):
        if label in RESERVED or is_frozen(label):
            raise ConfigError(f"{label}: the table has a column of that name already; give the model another label")
    loaded = [_load(model, options) for model in models]
    fingerprints = _fingerprints(loaded)
    if len({one.model.settings["input_dim"] for _, one in loaded}) > 1:
        raise ConfigError("models of 20 and of 48 numbers a frame have no scores in common; evaluate them apart")
    settings = next((model.run.data for _, model in loaded if model.run is not None), None)
    if settings is None and not data:
        raise ConfigError("data: no file given, and no model comes from a run that names one; use --data")
    if not is_installed():
        log.warning("no recognition: scikit-learn is not installed; pip install 'stickgen[recognition]'")
    protocol = protocol or RolloutProtocol()
    # Scores are to be comparable between runs that trained on few clips and on all, on long ones and on short ones.
    settings = replace(settings or DataConfig(), train_clips=None, max_frames=protocol.max_frames)
    paths: dict[Path, str] = {}
    for path in data:
        paths.setdefault(Path(path).resolve(), path)
    files = [replace(settings, path=path) for path in paths.values()] or [settings]
    report, groups = {}, {}
    for file in files:
        scored = _OnFile(file, split, protocol, by, progress)
        for label, one in (*frozen_bases(loaded), *loaded):
            scored.add(label, one)
        report[file.path or SAMPLE] = scored.rows()
        groups[file.path or SAMPLE] = scored.groups()
    return ScoresFile(split, protocol, fingerprints, report, groups if by else {})


def _load(model: str, options: ModelOptions) -> tuple[str, LoadedModel]:
    label, path = label_and_path(model)
    try:
        return label, options.load(path)
    except CheckpointError as error:
        # What was meant as a label may be the beginning of a mistyped path.
        raise CheckpointError(str(error) if label == path else f"{model}: {error}") from None


def _fingerprints(loaded: Models) -> dict[str, list[str]]:
    """Return the digests of the models of each label, by which a model is found again among the figures."""
    found: dict[str, list[str]] = {}
    for label, one in loaded:
        of_label = found.setdefault(label, [])
        if one.fingerprint in of_label:
            raise ConfigError(f"{label}: names the same weights twice; a mean and its deviation need different models")
        of_label.append(one.fingerprint)
    return found


class _OnFile:
    """The scores of one data file, gathered model by model.

    Args:
        config: of the file.
        split: "val" or "test".
        protocol: of the rollouts.
        by: what clips are grouped by, or None.
        progress: told of every batch that was rolled out.
    """

    def __init__(
        self, config: DataConfig, split: str, protocol: RolloutProtocol, by: str | None, progress: "Progress"
    ) -> None:
        self._config, self._split, self._protocol, self._by, self._progress = config, split, protocol, by, progress
        self._examinations: dict[tuple[object, ...], Examination | None] = {}
        self._rows: dict[str, list[dict[str, Scores]]] = {}

    def add(self, label: str, one: LoadedModel) -> None:
        """Score a model; before the first, what needs no model."""
        data = clips_for(label, one, self._config)
        clips = getattr(data.split, self._split)
        examination = self._examination(data, clips)
        if not self._rows:
            self._add_trivial(data, clips, examination)
        go_on, again = model_rollout(one.model), model_rollout(one.model, seed=1)
        next_frames = next_frame_scores(one.model, data.eval_loader(clips))
        scores = self._score(label, examination, go_on, again=again)
        scores[ALL] = {**scores.get(ALL, {}), **next_frames}
        self._rows.setdefault(label, []).append(scores)

    def rows(self, group: str = ALL) -> dict[str, dict[str, Summary]]:
        """Return the scores of a group of clips, by label and metric."""
        found = {label: [scores.get(group, {}) for scores in of_label] for label, of_label in self._rows.items()}
        return {
            label: {metric: Summary.of([scores[metric] for scores in of_label]) for metric in of_label[0]}
            for label, of_label in found.items()
            if of_label[0]
        }

    def groups(self) -> dict[str, dict[str, dict[str, Summary]]]:
        """Return the scores of every group, by the groups' labels."""
        examination = next(iter(self._examinations.values()))
        return {} if examination is None else {group: self.rows(group) for group in examination.groups}

    def _examination(self, data: ClipDataModule, clips: ClipSet) -> Examination | None:
        """Return the examination of a figure, a width of embeddings and conditions; None where clips are too short."""
        info = clips.infos[0]
        key = (info.dim, info.width, *data.config.conditions)
        if key not in self._examinations:
            self._examinations[key] = self._examine(data, clips)
        return self._examinations[key]

    def _examine(self, data: ClipDataModule, clips: ClipSet) -> Examination | None:
        train, protocol = data.split.train, self._protocol
        for needed in (protocol, protocol.from_rest) if protocol.given else (protocol,):
            if not needed.suits(clips.infos, train.infos):
                log.warning(
                    "%s: no rollouts of %s: they need clips of %d frames in train and %s",
                    data.report.source, needed.start, needed.least, self._split,
                )  # fmt: skip
        if not protocol.from_rest.suits(clips.infos, train.infos):
            return None
        return Examination(list(clips), list(train), protocol, data.config.conditions, self._by)

    def _add_trivial(self, data: ClipDataModule, clips: ClipSet, examination: Examination | None) -> None:
        teacher_forced = baseline_metrics(data.eval_loader(clips), majority_action(data.split.train))
        rows: dict[str, dict[str, Scores]] = {}
        if examination is not None:
            train = list(data.split.train)
            for name, go_on in {**TRIVIAL, NEAREST_CAPTION: nearest_caption(train)}.items():
                rows[name] = self._score(name, examination, go_on)
            if self._protocol.given > 1:
                matching = motion_matching(train)
                rows[MOTION_MATCHING] = self._score(MOTION_MATCHING, examination, matching, from_rest=False)
            rows[CHANCE] = examination.chance()
        for name, scores in teacher_forced.items():
            rows[name] = {**rows.get(name, {}), ALL: {**rows.get(name, {}).get(ALL, {}), **scores}}
        self._rows = {name: [scores] for name, scores in rows.items()}

    def _score(
        self,
        label: str,
        examination: Examination | None,
        go_on: GoOn,
        *,
        again: GoOn | None = None,
        from_rest: bool = True,
    ) -> dict[str, Scores]:
        if examination is None:
            return {}
        done = 0

        def made() -> None:
            nonlocal done
            done += 1
            self._progress(f"{self._config.path or SAMPLE}: {label}", done, examination.rollouts)

        return examination.score(go_on, again=again, from_rest=from_rest, made=made)


def clips_for(label: str, one: LoadedModel, config: DataConfig) -> ClipDataModule:
    """Return the data in the figure and under the conditions that a model takes, checked against it."""
    sizes = one.model.settings
    # A file is asked for no larger figure than it has: what is too small for the model, fit_to refuses.
    dim = sizes["input_dim"] if sizes["input_dim"] == 20 or config.path is None else None
    data = ClipDataModule(replace(config, dim=dim, conditions=list(one.record.conditions or ())))
    data.fit_to(sizes["input_dim"], sizes["embedding_dim"], sizes["num_actions"])
    if names := encoder_difference(data.report.text_encoder, one.record.text_encoder):
        raise ConfigError(
            f"{data.report.source}: captions were embedded by {names[0]}, those of {label} by {names[1]}; prepare the "
            f"data with --encoder {one.record.text_encoder.get('id')}"
        )
    if not one.model.causal:
        log.warning("%s: bidirectional, so next-frame errors are leaky, and rollouts are made in one pass", label)
    return data
