"""Rebuild the shipped caption embeddings: ``python -m stickgen.sample.embed_captions [FILE]``.

To be run after a change to the captions; needs the ``text`` extra.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from stickgen.files import atomic_write
from stickgen.sample.captions import EMBEDDINGS_FILE, ENCODER, all_captions, captions_hash, encoder_record
from stickgen.text.encoder import TextEncoder


def embed_captions(path: Path) -> None:
    """Embed every caption and write ``embeddings`` float16 ``[captions, 384]`` to ``path``.

    Raises:
        StickgenError: the encoder is not installed or not to be had.
    """
    encoder = TextEncoder(ENCODER, device="cpu")
    width = encoder_record()["dim"]
    embeddings = torch.as_tensor(encoder.encode(all_captions()))[:, :width].half().contiguous()
    record = json.dumps(encoder.record, sort_keys=True)
    with atomic_write(path, overwrite=True) as scratch:
        save_file({"embeddings": embeddings}, scratch, metadata={"captions": captions_hash(), "encoder": record})


if __name__ == "__main__":
    embed_captions(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(EMBEDDINGS_FILE))
