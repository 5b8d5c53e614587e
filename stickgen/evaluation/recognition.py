"""Recognising the action or the style of motion, by a classifier that is trained on real clips.

It answers whether generated motion shows what its caption asked for. Its accuracy on real held-out clips is the mark
to compare with: what it does not recognise in real motion, it cannot be asked to recognise in generated motion.
"""

import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stickgen.data.augment import mirrored
from stickgen.data.clips import Clip
from stickgen.evaluation.features import motion_features
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS, skeleton_of

KINDS = ("action", "style")
"""What can be recognised."""

WINDOW = 2 * FPS
"""Frames of a window; a clip is recognised by all its windows, so that few clips still give many examples."""

STRIDE = FPS
"""Frames from one window to the next, at most."""

LEAST_TAKES = 2
"""Fewest training takes of a class; a rarer label is not recognised, and its clips are not scored."""

INVERSE_PENALTY = 0.1
"""Regularisation of the classifier (scikit-learn's C).

Chosen with window and features by cross-validation over takes, on training and validation clips.
"""

_QUANTILES = (0.1, 0.5, 0.9)
_SPEED_FLOOR = 0.05


def label_of(clip: Clip, kind: str) -> str | None:
    """Return the name of a clip's most frequent action, or its style; None where its file names none."""
    if kind == "style":
        return clip.style or None
    counts = clip.action_counts
    return action_name(min(counts, key=lambda action: (-counts[action], action))) if counts else None


def is_installed() -> bool:
    """Return whether scikit-learn, which trains the classifier, is installed."""
    return importlib.util.find_spec("sklearn") is not None


@dataclass(frozen=True)
class Recogniser:
    """Regularised multinomial logistic regression on the features of windows.

    Attributes:
        classes: the K labels.
        mean: ``[F]`` of the features over the training windows.
        scale: ``[F]``, their standard deviation.
        weight: ``[F, K]``.
        bias: ``[K]``.
    """

    classes: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, clips: Sequence[Clip], kind: str) -> "Recogniser | None":
        """Train on real clips and their mirror images, since a clip's direction is neither its action nor its style.

        Args:
            clips: of at least two frames.
            kind: "action" or "style".

        Returns:
            the recogniser; None where fewer than two labels have :data:`LEAST_TAKES` takes, or scikit-learn is not
            installed.
        """
        takes: defaultdict[str, set[str]] = defaultdict(set)
        labelled = [(clip, label) for clip in clips if (label := label_of(clip, kind)) is not None]
        for clip, label in labelled:
            takes[label].add(clip.take)
        kept = [(clip, label) for clip, label in labelled if len(takes[label]) >= LEAST_TAKES]
        classes = tuple(sorted({label for _, label in kept}))
        if len(classes) < 2 or not is_installed():
            return None
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        examples, answers = [], []
        for clip, label in kept:
            for motion in (clip.motion, mirrored(clip.motion)):
                features = _features_of_windows(motion)
                examples.append(features)
                answers += [classes.index(label)] * len(features)
        features = torch.cat(examples)
        mean, scale = features.mean(0), features.std(0, correction=0)
        scale = torch.where(scale > 1e-9, scale, 1.0)
        # Several threads only get into each other's way over matrices as small as these.
        with threadpool_limits(1):
            fitted = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=2000).fit(
                ((features - mean) / scale).numpy(), answers
            )
        weight, bias = torch.from_numpy(fitted.coef_.T.copy()), torch.from_numpy(fitted.intercept_.copy())
        if len(classes) == 2:  # scikit-learn keeps the second class' logit alone
            weight, bias = (torch.cat((torch.zeros_like(part), part), dim=-1) for part in (weight, bias))
        return cls(classes, mean, scale, weight, bias)

    def guess(self, motion: Tensor) -> str | None:
        """Return the most probable label of motion ``[T, D]``, over all its windows; None where it is not finite."""
        features = _features_of_windows(motion)
        if len(motion) < 2 or not bool(torch.isfinite(features).all()):
            return None
        logits = (features - self.mean) / self.scale @ self.weight + self.bias
        return self.classes[int(logits.log_softmax(dim=1).mean(0).argmax())]


def _features_of_windows(motion: Tensor) -> Tensor:
    return torch.stack([_features(window) for window in _windows(motion)])


def _windows(motion: Tensor) -> list[Tensor]:
    """Cut a clip into windows that overlap evenly and cover it; a shorter clip is a single window."""
    room = len(motion) - WINDOW
    if room <= 0:
        return [motion]
    steps = -(-room // STRIDE)
    return [motion[(start := round(step * room / steps)) : start + WINDOW] for step in range(steps + 1)]


def _features(motion: Tensor) -> Tensor:
    """Describe a window ``[T, D]``: :func:`motion_features`, and what tells apart postures and gaits.

    Added are quantiles over time of the other joints' places from the pelvis and of all joints' speeds, the mean
    logarithm of these speeds, and the mean size and deviation of the way from each left joint to the right one.
    """
    skeleton = skeleton_of(motion.shape[-1])
    joints = skeleton.to_joints(motion.double())
    pelvis = skeleton.joint("pelvis")
    others = [i for i in range(len(skeleton.joints)) if i != pelvis]
    shape = (joints[:, others] - joints[:, pelvis : pelvis + 1]).flatten(1)
    speed = torch.linalg.vector_norm(joints.diff(dim=0) * FPS, dim=-1)
    left = [name for name in skeleton.joints if name.startswith("left_")]
    sides = [[skeleton.joint(name.replace("left_", side)) for name in left] for side in ("left_", "right_")]
    apart = (joints[:, sides[0]] - joints[:, sides[1]]).flatten(1)
    quantiles = torch.tensor(_QUANTILES, dtype=torch.float64)
    return torch.cat(
        (
            motion_features(motion),
            torch.quantile(shape, quantiles, dim=0).flatten(),
            torch.quantile(speed, quantiles, dim=0).flatten(),
            torch.log(speed + _SPEED_FLOOR).mean(0),
            apart.abs().mean(0),
            apart.std(0, correction=0),
        )
    )
