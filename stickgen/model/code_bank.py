"""The motion codes of training clips, from which generation draws one by the caption."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stickgen.model.motion_code import PACE, WIDTH, log_likelihood, mirrored_code
from stickgen.motion.bones import bone_count, sides_swapped

NEARNESS = 0.01
"""Difference of cosine similarity by which a caption's share of the draw falls to 1/e."""

PREFERENCE = 0.12
"""Difference of cosine similarity by which an adapter's captions count as nearer than its base's.

A base has captions such as "A person runs." for prompts such as "A person runs like a giant.", and they are often the
nearest, but say nothing of giants. With adapters of three styles, every caption of the shipped base stays nearest to
itself by at least 0.13.
"""

MOST_CODES = 4096
"""Codes of a bank at most, of more clips."""


class Drawn(NamedTuple):
    """What was drawn for B texts.

    Attributes:
        codes: ``[B, WIDTH]``.
        bones: lengths of the bones of each code's figure over the usual ones, ``[B, N]``; see
            :mod:`stickgen.motion.bones`.
    """

    codes: Tensor
    bones: Tensor


@dataclass(frozen=True, eq=False)
class CodeBank:
    """The codes of training clips, found by their captions.

    Attributes:
        texts: embeddings of different captions, float32 ``[N, E]``.
        codes: float32 ``[M, WIDTH]``.
        text_of: for each code its caption's position, int64 ``[M]``.
        bones: lengths of the bones of each clip's figure over the usual ones, ``[M, 1]`` where they are not recorded.
        of_base: how many of the captions, the first ones, are those of the base of an adapter; 0 without an adapter.
    """

    texts: Tensor
    codes: Tensor
    text_of: Tensor
    bones: Tensor
    of_base: int = 0

    @classmethod
    def of(cls, texts: Sequence[Tensor], codes: Sequence[Tensor], bones: Sequence[Tensor] | None = None) -> "CodeBank":
        """Gather the embeddings ``[E]``, the codes and the bones of clips, one each."""
        unique, text_of = torch.unique(torch.stack(list(texts)), dim=0, return_inverse=True)
        kept = torch.ones(len(codes), 1) if bones is None else torch.stack(list(bones))
        return cls(unique, torch.stack(list(codes)), text_of, kept)

    def check_dim(self, dim: int) -> None:
        """Refuse bones of another figure than that with so many numbers a frame.

        Raises:
            ValueError: there are others.
        """
        if self.bones.shape[1] not in (1, bone_count(dim)):
            raise ValueError(f"{self.bones.shape[1]} bones, {bone_count(dim)} expected")

    def __add__(self, other: "CodeBank") -> "CodeBank":
        """Return both, as an adapter's codes come beside its base's."""
        bones = max(self.bones.shape[1], other.bones.shape[1])
        return CodeBank(
            torch.cat((self.texts, other.texts)),
            torch.cat((self.codes, other.codes)),
            torch.cat((self.text_of, other.text_of + len(self.texts))),
            torch.cat([bank.bones.expand(-1, bones) for bank in (self, other)]),
            of_base=len(self.texts),
        )

    def below_adapter(self) -> "CodeBank":
        """Return the codes of the base alone."""
        if not self.of_base:
            return self
        kept = self.text_of < self.of_base
        return CodeBank(self.texts[: self.of_base], self.codes[kept], self.text_of[kept], self.bones[kept])

    def draw(self, texts: Tensor, seed: int | None = None, given: Tensor | None = None) -> Drawn:
        """Draw a code for each text.

        Where a base's caption is the nearest, and no frames are given, an adapter's captions are preferred by
        :data:`PREFERENCE` for all but the pace, which stays that of the base's: a giant's run, from a giant's walk and
        a run.

        Args:
            texts: ``[B, E]``; rows of zeros, no caption, draw among all.
            seed: of the draws, one after the other; None: the most typical code of the nearest captions.
            given: codes of the frames that each motion goes on from, ``[B, WIDTH]``: the codes of clips that the frames
                could be from are preferred, and without a seed the most likely is taken. All codes are of clips
                that were turned to +x where they moved to −x, so they are tried in a mirror too.
        """
        texts = texts.detach().cpu().float()
        likeness = F.normalize(texts[:, :-WIDTH], dim=-1) @ F.normalize(self.texts[:, :-WIDTH], dim=-1).T
        if given is not None:
            both = self._and_mirror_images()
            at = _picked(both._log_chance(likeness) + log_likelihood(given, both.codes), seed)
            return Drawn(both.codes[at], both.bones[at])
        at = self._drawn(likeness, seed)
        codes = self.codes[at]
        if self.of_base:
            likeness[:, self.of_base :] += PREFERENCE
            # Without a caption nothing is nearer than anything else.
            of_base = (self.text_of[at] < self.of_base) & texts.any(dim=1)
            at = torch.where(of_base, self._drawn(likeness, seed), at)
            paced = self.codes[at]
            paced[:, PACE] = codes[:, PACE]
            codes = paced
        return Drawn(codes, self.bones[at])

    def _drawn(self, likeness: Tensor, seed: int | None) -> Tensor:
        """Return the positions ``[B]`` of codes drawn by the likeness ``[B, N]`` of captions; see :meth:`draw`."""
        chance = self._log_chance(likeness)
        if seed is None:
            # The nearest by caption, and of those the one nearest to their mean.
            chance -= torch.cdist(chance.exp() @ self.codes, self.codes).square()
        return _picked(chance, seed)

    def _log_chance(self, likeness: Tensor) -> Tensor:
        """Return the logarithm of each code's share of the draw by the captions alone, ``[B, M]``."""
        return torch.log_softmax(likeness[:, self.text_of] / NEARNESS, dim=-1)

    def _and_mirror_images(self) -> "CodeBank":
        """Return these codes and after them their mirror images, whose captions are the same."""
        return replace(
            self,
            codes=torch.cat((self.codes, mirrored_code(self.codes))),
            text_of=self.text_of.repeat(2),
            bones=torch.cat((self.bones, sides_swapped(self.bones))),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it as strings and numbers, in half precision, for a file's record."""
        used = int(self.texts.ne(0).any(dim=0).nonzero().max()) + 1 if self.texts.any() else 1
        return {
            "width": self.texts.shape[1],
            "texts": _packed(self.texts[:, :used].half()),
            "codes": _packed(self.codes.half()),
            "text_of": self.text_of.tolist(),
            "of_base": self.of_base,
            "bones": _packed(self.bones.half()),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "CodeBank":
        """Read what :meth:`to_plain` returned.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        text_of = torch.tensor(plain["text_of"], dtype=torch.int64)
        codes = _unpacked(plain["codes"]).reshape(len(text_of), WIDTH)
        texts = _unpacked(plain["texts"]).reshape(int(text_of.max()) + 1, -1)
        if bool((text_of < 0).any()) or texts.shape[1] > plain["width"] - WIDTH:
            raise ValueError("a caption's number or width is impossible")
        if not bool(torch.isfinite(codes).all() and torch.isfinite(texts).all()):
            raise ValueError("a number is not finite")
        bones = torch.ones(len(codes), 1)
        if "bones" in plain:  # former versions did not record them
            bones = _unpacked(plain["bones"]).reshape(len(codes), -1)
            if not bones.numel() or not bool((bones > 0).all() and torch.isfinite(bones).all()):
                raise ValueError("a bone's length is impossible")
        of_base = plain.get("of_base", 0)  # likewise
        if not (isinstance(of_base, int) and 0 <= of_base <= len(texts)):
            raise ValueError("a number of captions is impossible")
        return cls(F.pad(texts, (0, plain["width"] - texts.shape[1])), codes, text_of, bones, of_base)


def _picked(chance: Tensor, seed: int | None) -> Tensor:
    """Return the position of one of M codes for each row ``[B, M]`` of log chances: without a seed, the likeliest."""
    if seed is None:
        return chance.argmax(dim=-1)
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(chance.softmax(dim=-1), 1, generator=generator).squeeze(1)


def _packed(numbers: Tensor) -> str:
    return base64.b64encode(numbers.contiguous().numpy().tobytes()).decode("ascii")


def _unpacked(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), dtype=np.float16).astype(np.float32))
