"""Motion from text: frame by frame with a causal base, in one pass with a bidirectional one."""

from stickgen.generation.generate import Generated, generate
from stickgen.generation.request import GenerationRequest
from stickgen.generation.rollout import generator_for, one_shot, rollout, until_exploded
from stickgen.generation.seed import read_seed_frames

__all__ = [
    "Generated",
    "GenerationRequest",
    "generate",
    "generator_for",
    "one_shot",
    "read_seed_frames",
    "rollout",
    "until_exploded",
]
