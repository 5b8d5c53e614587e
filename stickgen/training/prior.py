"""Clips of the frozen base's own making, trained on beside the data: what an adapter is not taught, it leaves alone.

Prior preservation as of DreamBooth (Ruiz et al. 2023, arXiv:2208.12242) and, for motion, LoRA-MDM (Sawdayee et al.
2025, arXiv:2503.19557). It needs no data of the base: its motion codes bring their captions' embeddings.
"""

import numpy as np
import torch

from stickgen.data.clips import Clip
from stickgen.generation.rollout import rollout
from stickgen.model import StickFigureTransformer

FRAMES = 100
"""Four seconds: what follows is more of the same."""


def prior_clips(model: StickFigureTransformer, count: int, seed: int = 0) -> list[Clip]:
    """Let a base move from rest to captions of its own training.

    Args:
        model: the bare base, with motion codes.
        count: how many clips.
        seed: of the choice of captions and of the motion.

    Returns:
        clips of :data:`FRAMES` frames; those whose motion is not finite are left out.
    """
    bank = model.code_bank
    assert bank is not None
    order = np.random.default_rng([seed, count]).permutation(len(bank.codes))
    chosen = bank.texts[bank.text_of[torch.from_numpy(order[np.arange(count) % len(order)])]]
    made = rollout(model, chosen, FRAMES, seed=seed, check=False).float().cpu()
    return [
        Clip(motion, text, description="", take=f"prior {number}", source="prior", index=number)
        for number, (motion, text) in enumerate(zip(made.unbind(1), chosen, strict=True))
        if bool(torch.isfinite(motion).all())
    ]
