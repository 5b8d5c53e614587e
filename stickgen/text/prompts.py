"""Prompts to vectors: each base reads them in the encoder that its captions were embedded by."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stickgen.errors import ConfigError
from stickgen.text.encoder import Encoders, TextEncoder, encoder_difference


def embed_prompts(
    bases: Sequence[tuple[str, Mapping[str, Any]]],
    prompts: Sequence[str],
    encoder: str | None = None,
    encoder_id: str | None = None,
    *,
    option: str = "--encoder",
    kept: Encoders | None = None,
) -> list[Tensor]:
    """Return for each base the prompts ``[B, E]``; an encoder is loaded once, however many bases share it.

    Args:
        bases: what a base is called in messages, and its record's ``text_encoder``.
        prompts: B texts.
        encoder: hub id or folder; None: the hub id that a record names.
        encoder_id: the id of an encoder that is given as a folder, see :class:`~stickgen.text.encoder.TextEncoder`.
        option: what names an encoder, for messages.
        kept: encoders that were loaded before, to which new ones are added; None: none is kept.

    Raises:
        ConfigError: a record names no encoder and none is given, or the one given does not embed as its base's did:
            another model, pooling, normalisation or width.
        StickgenError: an encoder cannot be had.
    """
    made: dict[str, tuple[dict[str, Any], Tensor]] = {}
    texts = []
    for label, record in bases:
        name = encoder or record.get("id")
        if not name:
            raise ConfigError(
                f"{label}: its base does not say which text encoder embedded its captions; name it with {option}"
            )
        if name not in made:
            loaded = (kept or {}).get((name, encoder_id)) or TextEncoder(name, encoder_id=encoder_id)
            if kept is not None:
                kept[name, encoder_id] = loaded
            made[name] = loaded.record, torch.from_numpy(loaded.encode(prompts))
        ours, text = made[name]
        if names := encoder_difference(ours, record):
            raise ConfigError(
                f"text encoder {names[0]}: the captions of {label} were embedded by {names[1]}; name that one, or a "
                "folder that holds it"
            )
        texts.append(text)
    return texts
