"""Every format's files with bytes changed, cut out or cut off: they are read, or refused in one line."""

import random
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import formats
from stickgen.errors import StickgenError
from stickgen.mocap.cutting import PrepareOptions, make_sequences
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.registry import find_sources

TRIES = 16


def damaged(whole: bytes, rng: random.Random, kind: int) -> bytes:
    content = bytearray(whole)
    if kind == 0:
        return bytes(content[: rng.randrange(len(content))])
    if kind == 1:
        at = rng.randrange(len(content))
        del content[at : at + rng.randrange(1, 64)]
        return bytes(content)
    # Anywhere, or in the header alone.
    for _ in range(4):
        content[rng.randrange(len(content) if kind == 2 else min(600, len(content)))] = rng.randrange(256)
    return bytes(content)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d")
    rng = random.Random(0)
    refused: dict[str, list[str]] = {}
    for case in formats.cases(formats.generated(30), tmp_path):
        ((path, importer),) = find_sources([case.path])
        assert isinstance(importer, Importer)
        whole = path.read_bytes()
        refused[case.name] = []
        for number in range(TRIES):
            path.write_bytes(damaged(whole, rng, number % 4))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of numbers that overflow
                    recordings = [replace(r, captions=("x",)) for r in importer.read(path, ImportOptions())]
                    make_sequences(recordings, PrepareOptions(minimum=1))
            except StickgenError as error:
                refused[case.name].append(str(error))
        path.write_bytes(whole)
    # Part of each is cut off, so that every format refuses some.
    assert all(refused.values()), refused
    assert not any("\n" in message for messages in refused.values() for message in messages)
