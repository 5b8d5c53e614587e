"""Seeded clips, and sequences of a data file, for the tests of batching, evaluation and training."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from stickgen.data.clips import Clip
from stickgen.data.stores import ClipSet, ClipsInMemory

EMBEDDING_DIM = 32
"""Width of the captions' embeddings, as the tests' small bases take them."""


def random_clip(
    frames: int = 8,
    *,
    seed: int = 0,
    dim: int = 20,
    take: str | None = None,
    actions: bool = True,
    physics: bool = True,
    camera: bool = False,
    partner: bool = False,
    **changes: Any,
) -> Clip:
    """A clip of random numbers, with the labels asked for; ``changes`` set further fields."""
    random = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    # Every number is drawn whatever is asked for, so that leaving a label out does not change the others.
    tracks = {
        "motion": 0.3 * numbers(frames, dim),
        "embedding": numbers(EMBEDDING_DIM),
        "actions": torch.randint(0, 64, (frames,), generator=random),
        "physics": numbers(frames, 6),
        "camera": numbers(frames, 3),
        "partner": numbers(frames, dim),
    }
    wanted = {"actions": actions, "physics": physics, "camera": camera, "partner": partner}
    fields = {name: track if wanted.get(name, True) else None for name, track in tracks.items()}
    given: dict[str, Any] = {"description": f"clip {seed}", "take": take or f"take {seed}", "index": seed, **fields}
    return Clip(**{**given, **changes})


def ragged_clips(lengths: Sequence[int] = (9, 2, 5, 12, 3, 7, 4), *, mixed: bool = True, **fields: Any) -> list[Clip]:
    """Clips of different lengths; with ``mixed``, some lack actions, some physics, one both."""
    return [
        random_clip(
            frames,
            seed=seed,
            **{"actions": not (mixed and seed % 3 == 1), "physics": not (mixed and seed % 4 in (1, 2)), **fields},
        )
        for seed, frames in enumerate(lengths)
    ]


def random_sequence(
    frames: int = 8, *, seed: int = 0, dim: int = 20, width: int = EMBEDDING_DIM, take: str | None = None, **keys: Any
) -> dict[str, Any]:
    """A sequence of a data file; ``keys`` add to it, and those that are None leave out."""
    random = torch.Generator().manual_seed(seed)
    sequence = {
        "description": f"sequence {seed}",
        "motion": 0.3 * torch.randn(frames, dim, generator=random),
        "embedding": torch.randn(width, generator=random),
        "actions": torch.randint(0, 64, (frames,), generator=random),
        "physics": torch.randn(frames, 6, generator=random),
        "meta": {"take": take or f"take {seed}"},
    }
    return {name: value for name, value in {**sequence, **keys}.items() if value is not None}


def random_sequences(count: int = 10, lengths: Iterable[int] = (8, 5, 11, 6), **keys: Any) -> list[dict[str, Any]]:
    """Sequences of differing lengths, each a take of its own."""
    lengths = list(lengths)
    return [random_sequence(lengths[i % len(lengths)], seed=i, **keys) for i in range(count)]


def clip_set(clips: Sequence[Clip]) -> ClipSet:
    """Clips as a data module has them."""
    store = ClipsInMemory(clips)
    return ClipSet(store, store.infos)


def assert_same(one: Any, other: Any) -> None:
    """Compare two clips, or two infos, field by field, tensors bit for bit."""
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Tensor):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        else:
            assert a == b, field.name
