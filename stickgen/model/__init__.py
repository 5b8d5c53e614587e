"""The base model: a text-conditioned transformer over stick-figure frames."""

from stickgen.model.cache import KeyValueCache
from stickgen.model.transformer import POSE_OUTPUTS, StickFigureTransformer

__all__ = ["POSE_OUTPUTS", "KeyValueCache", "StickFigureTransformer"]
