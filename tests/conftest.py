import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before torch is loaded: small tests on several threads, beside each other, spend their time waiting for a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from stickgen.signals import STOPPING

ROOT = Path(__file__).resolve().parents[1]


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("STICKGEN_SHARED", ROOT.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"needs {name}/ of the development data, whose licence keeps it out of the repository")
    return folder


@pytest.fixture(scope="session")
def shared_mocap() -> Path:
    """Folder of CMU motion capture: cmu_sample.npz, cmu_styles.npz and bvh/."""
    return _shared("mocap")


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """Folder of reference outputs of the base model."""
    return _shared("fixtures")


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Give back what a command that ran in this process has made of the signals to stop."""
    former = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)
