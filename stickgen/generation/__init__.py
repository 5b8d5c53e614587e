"""Motion from text: frame by frame with a causal base, in one pass with a bidirectional one."""

from stickgen.generation.rollout import generator_for, one_shot, rollout

__all__ = ["generator_for", "one_shot", "rollout"]
