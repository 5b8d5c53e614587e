"""The motion codes of training clips, for generation to draw from."""

from collections.abc import Sequence

from stickgen.data.augment import Variation, vary
from stickgen.data.clips import Clip
from stickgen.data.variations import rest_start
from stickgen.model.code_bank import MOST_CODES, CodeBank
from stickgen.model.motion_code import motion_code
from stickgen.motion.bones import bone_shares, sides_swapped


def code_bank(clips: Sequence[Clip]) -> CodeBank:
    """Describe clips as they set off from rest: turned to +x, and with the left foot first.

    Args:
        clips: with embeddings as wide as the model's; of more than :data:`MOST_CODES` every n-th is read.
    """
    step = -(-len(clips) // MOST_CODES)
    read = [clips[index] for index in range(0, len(clips), step)]
    codes, bones = [], []
    for clip in read:
        first, turned = rest_start(clip.motion, clip.length // 2)
        own = bone_shares(clip.motion)
        bones.append(sides_swapped(own) if turned else own)
        codes.append(motion_code(vary(clip, Variation(start=first, mirror=turned)).motion))
    return CodeBank.of([clip.embedding for clip in read], codes, bones)
