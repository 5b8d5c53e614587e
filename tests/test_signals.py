import multiprocessing
import os
import signal
import time

import pytest

from stickgen import signals
from stickgen.signals import STOPPING, pass_on, pass_signals_on, received


@pytest.fixture(autouse=True)
def nothing_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", [])


def test_a_process_without_workers_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        pass_on(signal.SIGTERM, None)
    assert stopped.value.code == 143
    assert capsys.readouterr().err == "error: SIGTERM: stopped\n"
    assert received() == signal.SIGTERM


def test_workers_are_told_and_decide_how_it_ends() -> None:
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    worker.start()
    pass_on(signal.SIGTERM, None)
    worker.join()
    assert worker.exitcode == -signal.SIGTERM


def test_whoever_handles_a_signal_keeps_it() -> None:
    former = {number: signal.getsignal(number) for number in STOPPING}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pass_signals_on()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR1) is pass_on
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, was in former.items():
            signal.signal(number, was)
