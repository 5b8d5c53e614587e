"""Clips of the frozen base's own making, trained on beside the data: what an adapter is not taught, it leaves alone.

Prior preservation as of DreamBooth (Ruiz et al. 2023, arXiv:2208.12242) and, for motion, LoRA-MDM (Sawdayee et al.
2025, arXiv:2503.19557). It needs no data of the base: its motion codes bring their captions' embeddings.
"""

import numpy as np
import torch

from stickgen.artifacts.record import fingerprint
from stickgen.data.clips import Clip
from stickgen.generation.rollout import rollout
from stickgen.model import StickFigureTransformer
from stickgen.model.code_bank import CodeBank

FRAMES = 100
"""Four seconds: what follows is more of the same."""

_latest: tuple[tuple[object, ...], list[Clip]] | None = None
"""What was asked for last, and the answer: the jobs of a sweep share a process, and most of them ask for the same."""


def prior_clips(model: StickFigureTransformer, of_weights: str, count: int, seed: int = 0) -> list[Clip]:
    """Let a base move from rest to captions of its own training.

    Args:
        model: the bare base, with motion codes.
        of_weights: the fingerprint of its weights.
        count: how many clips.
        seed: of the choice of captions and of the motion.

    Returns:
        clips of :data:`FRAMES` frames; those whose motion is not finite are left out.
    """
    global _latest
    bank = model.code_bank
    assert bank is not None
    of_bank = fingerprint({name: value for name, value in vars(bank).items() if isinstance(value, torch.Tensor)})
    asked = (of_weights, of_bank, next(model.parameters()).dtype, torch.get_num_threads(), count, seed)
    if _latest is None or _latest[0] != asked:
        _latest = (asked, _made(model, bank, count, seed))
    return list(_latest[1])


def _made(model: StickFigureTransformer, bank: CodeBank, count: int, seed: int) -> list[Clip]:
    order = np.random.default_rng([seed, count]).permutation(len(bank.codes))
    chosen = bank.texts[bank.text_of[torch.from_numpy(order[np.arange(count) % len(order)])]]
    made = rollout(model, chosen, FRAMES, seed=seed, check=False).float().cpu()
    return [
        Clip(motion, text, description="", take=f"prior {number}", source="prior", index=number)
        for number, (motion, text) in enumerate(zip(made.unbind(1), chosen, strict=True))
        if bool(torch.isfinite(motion).all())
    ]
