"""Distances between sets of clips, over hand-made features.

The field measures these on the features of a pretrained motion encoder (Guo et al. 2022, CVPR). None exists for stick
figures, so a clip is described here by some forty statistics of its own, reduced to a few principal components of the
real clips. Numbers are comparable only where clips, length and reference are the same, and never with published ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stickgen.motion.skeleton import FPS, skeleton_of

BANDS = (0.0, 1.0, 2.0, 4.0)
"""Where the frequency bands begin, in Hz; each ends where the next begins."""

POWER_FLOOR = 1e-6
"""Added to a band's power before the logarithm, (body heights a second)²: that of a still figure."""

CLIPS_A_COMPONENT = 4
"""A component is kept for so many reference clips at least: a covariance of few clips is mostly chance."""


def motion_features(motion: Tensor) -> Tensor:
    """Describe a clip of at least two frames, ``[T, D]``.

    Returns:
        float64 ``[F]``, F = 6 J + 6 for J joints (42 for the 20-number figure), in body heights and seconds:

        * mean and standard deviation over time of every other joint's position from the pelvis (4 (J − 1));
        * mean and standard deviation over time of every joint's speed (2 J);
        * mean and standard deviation of the pelvis' velocity (4) and of its height (2);
        * log₁₀ of the power that the joints' velocities from the pelvis have in the :data:`BANDS` (4).
    """
    skeleton = skeleton_of(motion.shape[-1])
    joints = skeleton.to_joints(motion.double())
    pelvis = skeleton.joint("pelvis")
    others = [i for i in range(len(skeleton.joints)) if i != pelvis]
    shape = (joints[:, others] - joints[:, pelvis : pelvis + 1]).flatten(1)
    velocity = joints.diff(dim=0) * FPS
    over_time = (shape, torch.linalg.vector_norm(velocity, dim=-1), velocity[:, pelvis], joints[:, pelvis, 1:])
    moments = [part for track in over_time for part in (track.mean(0), track.std(0, correction=0))]
    return torch.cat([*moments, _band_power(shape.diff(dim=0) * FPS)])


def _band_power(velocity: Tensor) -> Tensor:
    """Return log₁₀ of the power in each band, summed over the columns of ``[T, C]``; its total is the mean square."""
    frames = len(velocity)
    spectrum = torch.fft.rfft(velocity, dim=0).abs().square().sum(dim=1) / frames**2
    frequencies = torch.fft.rfftfreq(frames, 1 / FPS)
    spectrum[1 : (frames + 1) // 2] *= 2  # the negative frequencies; neither 0 nor the highest of an even count has one
    powers = [
        spectrum[(frequencies >= low) & (frequencies < high)].sum()
        for low, high in zip(BANDS, (*BANDS[1:], torch.inf), strict=True)
    ]
    return torch.log10(torch.stack(powers) + POWER_FLOOR)


@dataclass(frozen=True)
class FeatureSpace:
    """Standardised features, turned to the principal components of the clips it was fitted on.

    Attributes:
        mean: ``[F]``.
        scale: ``[F]``.
        components: ``[F, K]``, orthonormal.
    """

    mean: Tensor
    scale: Tensor
    components: Tensor

    @classmethod
    def fit(cls, features: Tensor, components: int | None = None) -> "FeatureSpace":
        """Fit to the features ``[N, F]`` of real clips.

        Args:
            features: of at least two clips.
            components: K; None: one for every :data:`CLIPS_A_COMPONENT` clips, 10 at most.
        """
        count = min(10, len(features) // CLIPS_A_COMPONENT) if components is None else components
        scale = features.std(0, correction=0)
        # A feature that no real clip varies in has no unit of its own.
        scale = torch.where(scale > 1e-9, scale, 1.0)
        mean = features.mean(0)
        _, _, right = torch.linalg.svd((features - mean) / scale, full_matrices=False)
        return cls(mean, scale, right[: max(count, 1)].T)

    def project(self, features: Tensor) -> Tensor:
        """Return the coordinates ``[N, K]`` of features ``[N, F]``."""
        return (features - self.mean) / self.scale @ self.components


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance between normal distributions fitted to two sets of features.

    ``|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)``, squared as usual (Heusel et al. 2017, arXiv:1706.08500). The trace of
    the root is taken from the eigenvalues of ``Σ₁^½ Σ₂ Σ₁^½``, which has those of ``Σ₁ Σ₂`` and is symmetric.
    Few clips bias it upwards: two halves of one set do not have a distance of 0.

    Args:
        first: ``[N, K]``, N ≥ 2.
        second: ``[M, K]``, M ≥ 2.

    Returns:
        the distance; NaN where a set has fewer than two clips or a number that is not finite.
    """
    if min(len(first), len(second)) < 2 or not bool(torch.isfinite(first).all() and torch.isfinite(second).all()):
        return float("nan")
    covariances = [torch.cov(features.T).reshape(features.shape[1], -1) for features in (first, second)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    shift = (first.mean(0) - second.mean(0)).square().sum()
    return float((shift + covariances[0].trace() + covariances[1].trace() - 2 * product).clamp(min=0))


def diversity(features: Tensor) -> float:
    """Return the mean distance between two clips' features ``[N, K]``; to be near that of the real clips.

    As Guo et al. 2022 (Generating Diverse and Natural 3D Human Motions from Text), over all pairs where they draw some.

    Returns:
        the mean distance; NaN for fewer than two clips.
    """
    if len(features) < 2:
        return float("nan")
    return float(torch.pdist(features).mean())


def features_of(clips: Sequence[Tensor]) -> Tensor:
    """Return the features ``[N, F]`` of clips ``[T, D]`` of any lengths."""
    return torch.stack([motion_features(clip) for clip in clips])
