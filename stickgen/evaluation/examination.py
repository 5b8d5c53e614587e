"""Examining ways to continue clips: each rollout is made once, and every metric is taken of it, for groups too."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stickgen.data.batch import Batch
from stickgen.data.clips import Clip
from stickgen.evaluation.features import FeatureSpace, diversity, features_of, frechet_distance
from stickgen.evaluation.recognition import KINDS, Recogniser, label_of
from stickgen.evaluation.rollouts import (
    GoOn,
    RolloutProtocol,
    extended,
    real_clips,
    rollout_metrics,
)
from stickgen.metrics import REST, SWITCH, check_registered

ALL = ""
"""The group of all clips."""

Scores = dict[str, float]


@dataclass(frozen=True)
class _Task:
    """Clips to be continued in one way.

    Attributes:
        prefix: of the metrics' names.
        given: frames that are given.
        batches: the clips; captions may be those of others.
        labels: for each kind, the label asked for of each clip.
    """

    prefix: str
    given: int
    batches: list[Batch]
    labels: dict[str, list[str | None]]


class Examination:
    """Held-out clips, what is known of real motion, and the tasks: given frames, a switch of caption, from rest.

    Args:
        clips: held-out clips.
        reference: real clips of the training. The space of Fréchet distance and diversity is fitted to them, in windows
            as long as the rollouts, and recognisers are trained on them.
        protocol: given frames and lengths.
        conditions: "camera" and "partner" where the models take them.
        by: "action" or "style": clips of one label are scored as a group too.

    Raises:
        DataError: no clip is long enough.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        reference: Sequence[Clip],
        protocol: RolloutProtocol,
        conditions: Sequence[str] = (),
        by: str | None = None,
    ) -> None:
        self._by = by
        self._recognisers = {kind: Recogniser.fit(reference, kind) for kind in KINDS}
        self._reference = [clip.first(protocol.max_frames) for clip in reference]
        self._tasks: list[_Task] = []
        if protocol.given and protocol.suits(clips, reference):
            kept = protocol.clips(clips)
            batches = protocol.batches(kept, conditions)
            own = {kind: [label_of(clip, kind) for clip in kept] for kind in KINDS}
            self._tasks.append(_Task("", protocol.given, batches, own))
            self._tasks += self._switched(kept, self._tasks[0], protocol.batch_size)
        rest = protocol.from_rest
        kept = rest.clips(clips)
        batches = [extended(batch, rest.max_frames) for batch in rest.batches(kept, conditions)]
        self._tasks.append(_Task(REST, 0, batches, {kind: [label_of(clip, kind) for clip in kept] for kind in KINDS}))
        self._spaces = {given: self._space(given, protocol.shortest) for given in {task.given for task in self._tasks}}
        self._real = {
            task.given: self._spaces[task.given].project(features_of(_to_own_end(task, _real_motions(task))))
            for task in self._tasks
            if task.prefix != SWITCH
        }
        self.rollouts = sum(len(task.batches) for task in self._tasks)
        """Batches that :meth:`score` rolls out, those of another seed apart."""

    @property
    def groups(self) -> list[str]:
        """The labels of the groups, sorted."""
        labels = self._tasks[-1].labels[self._by] if self._by else []  # from rest, where most clips take part
        return sorted({label for label in labels if label is not None})

    def score(
        self,
        go_on: GoOn,
        *,
        again: GoOn | None = None,
        from_rest: bool = True,
        made: Callable[[], None] = lambda: None,
    ) -> dict[str, Scores]:
        """Score a way to continue clips.

        Args:
            go_on: the way.
            again: the same with another seed, by which the diversity of one prompt is measured; None: there is none.
            from_rest: whether it can set out without given frames.
            made: called after every batch that was rolled out.

        Returns:
            for all clips (:data:`ALL`) and each of :attr:`groups`, by metric: the scores of :func:`rollout_metrics`,
            ``frechet_distance``, ``diversity``, ``seed_diversity`` (from rest), ``action_recognised`` and
            ``style_recognised``, and ``clips``, how many took part. Names from rest begin with
            :data:`~stickgen.metrics.REST`, those after a switch of caption with :data:`~stickgen.metrics.SWITCH`. NaN
            where there was nothing to score, or a motion exploded to numbers that are not finite.

        Raises:
            KeyError: a metric is not entered in :mod:`stickgen.metrics`, so no table would show it.
        """
        scores: dict[str, Scores] = {group: {} for group in (ALL, *self.groups)}
        for task in self._tasks:
            if not task.given and not from_rest:
                continue
            if task.prefix == SWITCH and go_on is real_clips:
                # They know of no switch: beside it stands what is recognised of them anyway.
                for found in scores.values():
                    found.update({SWITCH + name: v for name, v in found.items() if name.endswith("_recognised")})
                continue
            rolled = []
            for batch in task.batches:
                rolled.append(go_on(batch, task.given))
                made()
            distances = self._seed_distances(task, go_on, again, rolled)
            for group, found in self._scores_of(task, rolled, distances, held=go_on is real_clips).items():
                scores[group].update(found)
        for found in scores.values():
            check_registered(found)
        return scores

    def chance(self) -> dict[str, Scores]:
        """Return what guessing recognises, as :meth:`score` returns it: one of as many labels as there are."""
        shares = {
            f"{task.prefix}{kind}_recognised": 1 / len(recogniser.classes)
            for task in self._tasks
            for kind, recogniser in self._recognisers.items()
            if recogniser is not None and any(label in recogniser.classes for label in task.labels[kind])
        }
        return {group: dict(shares) for group in (ALL, *self.groups)}

    def _switched(self, clips: Sequence[Clip], task: _Task, size: int) -> list[_Task]:
        """Return the task of first frames of one style under a caption of another, of actions where no styles are.

        The clips of each label take the other labels in turn; the caption is that of another of these clips, where
        there is one of the same action.
        """
        own = task.labels
        kind = next((k for k in ("style", "action") if len({label for label in own[k] if label is not None}) > 1), None)
        if kind is None or self._recognisers[kind] is None:
            return []
        source = _captions_of_others(own[kind], own["action" if kind == "style" else "style"])
        embeddings = torch.stack([clips[place].embedding for place in source])
        batches = [
            replace(batch, embedding=embeddings[number * size : (number + 1) * size])
            for number, batch in enumerate(task.batches)
        ]
        asked = {
            name: [None if own[kind][place] is None else of_kind[other] for place, other in enumerate(source)]
            for name, of_kind in own.items()
        }
        return [_Task(SWITCH, task.given, batches, asked)]

    def _space(self, given: int, shortest: int) -> FeatureSpace:
        long = [clip.motion[given:] for clip in self._reference if clip.length >= given + shortest]
        return FeatureSpace.fit(features_of(long))

    def _seed_distances(self, task: _Task, go_on: GoOn, again: GoOn | None, rolled: list[Tensor]) -> Tensor | None:
        """Return each clip's distance ``[N]`` to that of another seed; real ones' mean distance to their action's."""
        if task.given:
            return None
        space = self._spaces[0]
        if go_on is real_clips:
            reference = space.project(features_of([clip.motion for clip in self._reference]))
            actions = [label_of(clip, "action") for clip in self._reference]
            found = []
            for place, label in enumerate(task.labels["action"]):
                same = [i for i, name in enumerate(actions) if name == label is not None]
                near = torch.linalg.vector_norm(reference[same] - self._real[0][place], dim=1)
                found.append(near.mean())
            return torch.stack(found)
        if again is None:
            return None
        # To the clip's own end only: beyond it nothing is compared.
        short = [_cut(batch) for batch in task.batches]
        other = [again(batch, 0) for batch in short]
        first, second = (space.project(features_of(_to_own_end(task, made))) for made in (rolled, other))
        return torch.linalg.vector_norm(first - second, dim=1)

    def _scores_of(
        self, task: _Task, rolled: list[Tensor], distances: Tensor | None, *, held: bool
    ) -> dict[str, Scores]:
        motions = _to_own_end(task, rolled)
        projected = self._spaces[task.given].project(features_of(motions))
        right = {
            kind: [
                None if asked not in recogniser.classes else float(recogniser.guess(motion) == asked)
                for motion, asked in zip(motions, task.labels[kind], strict=True)
            ]
            for kind, recogniser in self._recognisers.items()
            if recogniser is not None
        }
        scores = {}
        for group in (ALL, *self.groups):
            chosen = [group in (ALL, label) for label in task.labels[self._by or "action"]]
            at = torch.tensor(chosen)
            found: Scores = {}
            if task.prefix != SWITCH:
                found = self._metrics(task, rolled, at, held=held)
                found["frechet_distance"] = frechet_distance(self._real[task.given][at], projected[at])
                found["diversity"] = diversity(projected[at])
                found["clips"] = float(at.sum())
            if distances is not None:
                # A real clip without others of its action has no distance; a motion that exploded is not passed over.
                found["seed_diversity"] = float(distances[at].nanmean() if held else distances[at].mean())
            for kind, values in right.items():
                counted = [value for value, take in zip(values, chosen, strict=True) if take and value is not None]
                if counted:
                    found[f"{kind}_recognised"] = sum(counted) / len(counted)
                    found[f"{kind}_clips"] = float(len(counted))
            scores[group] = {task.prefix + name: value for name, value in found.items()}
        return scores

    def _metrics(self, task: _Task, rolled: list[Tensor], chosen: Tensor, *, held: bool) -> Scores:
        metrics = rollout_metrics(task.given)
        place = 0
        for batch, made in zip(task.batches, rolled, strict=True):
            columns = chosen[place : place + made.shape[1]]
            place += made.shape[1]
            mask = ~batch.padding_mask.T[task.given :] & columns
            target = batch.motion[task.given :]
            # Real clips and rollouts of given frames end with the clip; those from rest are longer.
            long_mask = mask if task.given or held else columns.expand_as(mask)
            metrics.update(pose=made, target=target, mask=mask, long=made, long_mask=long_mask)
        return {name: float(value) for name, value in metrics.compute().items()}


def _cut(batch: Batch) -> Batch:
    """Return a batch without the frames that are padding in every clip."""
    frames = int((~batch.padding_mask).sum(dim=1).max())
    tracks = {name: t[:frames] for name in ("motion", "camera", "partner") if (t := getattr(batch, name)) is not None}
    return replace(batch, padding_mask=batch.padding_mask[:, :frames], **tracks)


def _captions_of_others(labels: Sequence[str | None], others: Sequence[str | None]) -> list[int]:
    """Return for each clip the clip whose caption it takes: one of another label; its own where it has no label.

    Args:
        labels: what is switched, of at least two names.
        others: what is kept where that can be.
    """
    names = sorted({label for label in labels if label is not None})
    turns = {name: number for number, name in enumerate(names)}
    source = []
    for place, label in enumerate(labels):
        if label is None:
            source.append(place)
            continue
        rest = [name for name in names if name != label]
        target = rest[turns[label] % len(rest)]
        turns[label] += 1
        found = [i for i, name in enumerate(labels) if name == target]
        same = [i for i in found if others[i] == others[place]] or found
        source.append(same[place % len(same)])
    return source


def _real_motions(task: _Task) -> list[Tensor]:
    return [real_clips(batch, task.given) for batch in task.batches]


def _to_own_end(task: _Task, rolled: list[Tensor]) -> list[Tensor]:
    """Return the motion ``[T, D]`` of each clip, up to the end of the real one."""
    motions = []
    for batch, made in zip(task.batches, rolled, strict=True):
        frames = (~batch.padding_mask).sum(dim=1) - task.given
        motions += [made[: int(count), column] for column, count in enumerate(frames)]
    return motions
