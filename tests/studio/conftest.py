"""A folder of runs and a data file as a person has them, made once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import stickgen
from stickgen.data.file import write_sequences
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.runs import make_base, short_run


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: outputs/first and outputs/second, two runs of one tiny base, and clips.pt."""
    folder = tmp_path_factory.mktemp("studio")
    former, offline = Path.cwd(), os.environ.get("HF_HUB_OFFLINE")
    os.chdir(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    base = make_base(folder / "base.safetensors")
    for name, rank in (("first", 2), ("second", 4)):
        run = short_run(base, lora__rank=rank, trainer__max_steps=2, hydra__run__dir=f"outputs/{name}")
        stickgen.fit([*run, "callbacks.show_motion.every_n_epochs=1", "callbacks.show_motion.max_share=1"])
    clips = sample_sequences(12, seed=1)
    write_sequences(folder / "clips.pt", clips, SAMPLE_INFO)
    yield folder
    os.chdir(former)
    if offline is None:
        del os.environ["HF_HUB_OFFLINE"]
    else:
        os.environ["HF_HUB_OFFLINE"] = offline
