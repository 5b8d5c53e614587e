"""A share of the campaign; ``python -m tests.campaign`` runs all of it."""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.commands import COMMANDS, Command
from tests.campaign.driver import Campaign, Found, Layout, Server, thinned
from tests.campaign.faults import KINDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the injector reads /proc and forks")

SECOND = Path("/dev/shm")
FAULTS = 4
"""Faults of a command here, of the hundreds of the whole campaign."""
CHEAP = [command for command in COMMANDS if command.line[0] == "stickgen" and command.name != "evaluate"]
"""The whole campaign has evaluate, which takes half a minute for each fault."""
RUNS = [command for command in COMMANDS if command.name in ("train", "resume")]


@pytest.fixture
def layout(made: Path) -> Iterator[Layout]:
    """Outputs on another file system than the temporary folder's, where there is one; the whole campaign has both."""
    first = made.parent / "layout"
    shutil.rmtree(first, ignore_errors=True)
    first.mkdir()
    alone = not os.access(SECOND, os.W_OK) or SECOND.stat().st_dev == first.stat().st_dev
    if alone:
        yield Layout("one", first, made.parent / "temporary")
        return
    with tempfile.TemporaryDirectory(dir=SECOND) as second:
        yield Layout("two", Path(second), made.parent / "temporary")


def faults_of(campaign: Campaign, command: Command, count: int) -> list[tuple[int, str]]:
    """Draw faults, the same ones every time: of every kind, anywhere in the command."""
    numbers = thinned(command, campaign.boundaries(command))
    draw = random.Random(command.name)
    return [(draw.choice(numbers), KINDS[turn % len(KINDS)]) for turn in range(count)]


@pytest.mark.parametrize("command", CHEAP, ids=lambda command: command.name)
def test_whatever_write_fails_the_outputs_are_the_old_or_the_new(
    server: Server, layout: Layout, made: Path, command: Command
) -> None:
    if command.name == "card":
        pytest.importorskip("huggingface_hub")
    if command.name == "sweep-report":
        pytest.importorskip("matplotlib")
    campaign = Campaign(server, layout, made)
    found = Found(command.name, layout.name)
    for at, kind in faults_of(campaign, command, FAULTS):
        campaign.inject(command, at, kind, found, repeat=kind == "kill")
    assert found.failures == []
    assert sum(found.faults.values()) == FAULTS


@pytest.mark.parametrize("command", RUNS, ids=lambda command: command.name)
def test_a_run_whose_write_fails_continues_to_the_same_weights(
    server: Server, layout: Layout, made: Path, command: Command
) -> None:
    campaign = Campaign(server, layout, made)
    found = Found(command.name, layout.name)
    passed = campaign.boundaries(command)
    checkpoints = [
        n for n in thinned(command, passed) if "last.ckpt" in passed[n - 1][1] or "previous" in passed[n - 1][1]
    ]
    # At the first of them there may be a best checkpoint and no last one yet.
    for at, kind in (
        (checkpoints[0], "EIO"),
        (checkpoints[len(checkpoints) // 2], "kill"),
        (checkpoints[-1], "ENOSPC"),
    ):
        campaign.inject(command, at, kind, found)
    assert found.failures == []
    assert found.repeated == 3


def test_the_injector_finds_a_writer_that_is_not_atomic(server: Server, made: Path, tmp_path: Path) -> None:
    """Or else the tests above would prove nothing."""
    campaign = Campaign(server, Layout("one", tmp_path, tmp_path / "temporary"), made)
    naive = Command("naive", ["tests/campaign/naive.py"])
    found = Found("naive", "one")
    passed = campaign.boundaries(naive)
    assert [what for what, _ in passed] == ["open", "write"]
    for at, kind in ((2, "kill"), (2, "ENOSPC")):
        campaign.inject(naive, at, kind, found)
    assert len(found.failures) == 2
    assert "scores.json is neither old nor new" in found.failures[0]
    assert "a traceback" in found.failures[1]
