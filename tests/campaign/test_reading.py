"""Whatever a file holds, it is read or refused in one line: nothing runs, no bug shows, and nothing takes long.

``STICKGEN_CAMPAIGN=nightly`` reads more than ten thousand (docs/reliability.md); the counts are printed with ``-s``.
"""

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stickgen.errors import StickgenError
from tests.campaign.corpus import KINDS, Kind, copy_of, hostile_files, make_corpus
from tests.campaign.mutations import changed
from tests.campaign.sizes import NIGHTLY

EXAMPLES = 560 if NIGHTLY else 12
MAX_SECONDS = 10.0
"""Of the processor's time: how long a file takes on the clock depends on what else the machine does."""

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(3600 if NIGHTLY else 900),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    return folder


def outcome(kind: Kind, folder: Path) -> str:
    """Read a file; return whether it was accepted or refused, having checked how."""
    began = time.process_time()
    refusal = None
    try:
        kind.read(folder)
    except StickgenError as error:
        refusal = str(error)
    spent = time.process_time() - began
    assert spent < MAX_SECONDS, f"{kind.name}: {spent:.1f} s"
    if refusal is None:
        return "accepted"
    assert refusal.strip(), f"{kind.name}: refused without a word"
    assert len(refusal) < 2000, f"{kind.name}: {refusal[:200]}…"
    return "refused"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_valid_file_is_read(kind: Kind, corpus: Path) -> None:
    assert outcome(kind, corpus) == "accepted"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hostile_file_runs_nothing_and_is_refused(kind: Kind, corpus: Path, tmp_path: Path) -> None:
    folder, canary = copy_of(corpus, tmp_path / "copy"), tmp_path / "canary"
    for content in hostile_files(kind, corpus, canary):
        (folder / kind.file).write_bytes(content)
        assert outcome(kind, folder) == "refused" or kind.name.startswith("caption"), content[:200]
        assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_changed_file_is_read_or_refused(kind: Kind, corpus: Path, tmp_path: Path) -> None:
    folder = copy_of(corpus, tmp_path / "copy")
    counts: Counter[str] = Counter()
    file = folder / kind.file

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not NIGHTLY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def read(data: st.DataObject) -> None:
        file.write_bytes(data.draw(strategy))
        counts[outcome(kind, folder)] += 1

    strategy = changed(file.name, file.read_bytes())
    read()
    print(f"\nreading: {kind.name}: {counts['refused']} refused, {counts['accepted']} read")
