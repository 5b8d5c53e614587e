"""Signals outside of the training, and those that someone else waits for; tests/test_resume.py stops whole runs."""

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stickgen.artifacts.run import RunFolder
from stickgen.errors import InterruptedRunError, PreemptedRunError
from stickgen.training.preemption import Preemption


class FakeTrainer(SimpleNamespace):
    """What the callback asks a Trainer; ``saved`` collects what it saves."""

    def __init__(self) -> None:
        strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
        super().__init__(saved=[], strategy=strategy, global_step=7, is_last_batch=False)

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append(path)


def end_batch(preemption: Preemption, trainer: Any, ends_step: bool = True) -> None:
    preemption.on_train_batch_end(trainer, None, None, SimpleNamespace(ends_step=ends_step), 0)


def test_before_the_training_a_run_ends_at_once(tmp_path: Path) -> None:
    preemption = Preemption(RunFolder(tmp_path))
    with pytest.raises(PreemptedRunError, match=r"^SIGTERM: stopped; .* starts anew$") as stopped:
        terminated(preemption)
    assert stopped.value.exit_status == 143
    assert isinstance(stopped.value, InterruptedRunError)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def terminated(preemption: Preemption) -> None:
    with preemption.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)


def test_a_library_at_work_does_not_take_the_stop_for_a_mistake(tmp_path: Path) -> None:
    """OmegaConf and PyTorch, for two, tell any Exception anew as their own."""

    def library(preemption: Preemption) -> None:
        with preemption.listening():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(600)
            except Exception as error:
                raise ValueError(f"not a base: {error}") from error

    with pytest.raises(PreemptedRunError, match=r"^SIGTERM: stopped; "):
        library(Preemption(RunFolder(tmp_path)))


def test_a_signal_that_is_sent_again_does_not_disturb_the_way_out(tmp_path: Path) -> None:
    left = []

    def stopped(preemption: Preemption) -> None:
        with preemption.listening():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(600)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
                left.append("everything")

    with pytest.raises(PreemptedRunError, match=r"^SIGTERM: stopped; "):
        stopped(Preemption(RunFolder(tmp_path)))
    assert left == ["everything"]


def test_while_it_trains_a_run_ends_where_a_step_ends(tmp_path: Path) -> None:
    preemption, trainer = Preemption(RunFolder(tmp_path)), FakeTrainer()
    with preemption.listening():
        preemption.on_train_start(trainer, None)
        end_batch(preemption, trainer)
        os.kill(os.getpid(), signal.SIGUSR1)
        end_batch(preemption, trainer, ends_step=False)
        assert trainer.saved == []
        with pytest.raises(PreemptedRunError, match=r"SIGUSR1: stopped and saved at step 7") as stopped:
            end_batch(preemption, trainer)
    assert stopped.value.exit_status == 128 + signal.SIGUSR1
    assert trainer.saved == [tmp_path / "checkpoints" / "last.ckpt"]


def test_ctrl_c_saves_like_any_other_signal_and_a_second_one_ends_at_once(tmp_path: Path) -> None:
    preemption, trainer = Preemption(RunFolder(tmp_path)), FakeTrainer()
    with preemption.listening():
        preemption.on_train_start(trainer, None)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(PreemptedRunError, match=r"^SIGINT: stopped and saved at step 7; .*resume=") as stopped:
            end_batch(preemption, trainer)
    assert stopped.value.exit_status == 130
    assert trainer.saved == [tmp_path / "checkpoints" / "last.ckpt"]

    def twice(preemption: Preemption) -> None:
        with preemption.listening():
            preemption.on_train_start(trainer, None)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        twice(Preemption(RunFolder(tmp_path)))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_job_in_the_background_ignores_ctrl_c(tmp_path: Path) -> None:
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Preemption(RunFolder(tmp_path)).listening():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)


def test_whoever_waited_for_the_signal_is_called_once_all_is_saved(tmp_path: Path) -> None:
    """As submitit does: SIGUSR2 puts the job back into the queue, SIGTERM is let pass."""
    preemption, trainer = Preemption(RunFolder(tmp_path)), FakeTrainer()
    passed = []

    def requeue(number: int, frame: Any) -> None:
        assert trainer.saved
        raise SystemExit(-1)

    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        signal.signal(signal.SIGUSR2, requeue)
        signal.signal(signal.SIGTERM, lambda number, frame: passed.append(number))
        with preemption.listening():
            preemption.on_train_start(trainer, None)
            os.kill(os.getpid(), signal.SIGTERM)
            end_batch(preemption, trainer)
            assert passed == [signal.SIGTERM]
            end_batch(preemption, trainer)
            assert len(trainer.saved) == 1  # and it goes on
            os.kill(os.getpid(), signal.SIGUSR2)
            with pytest.raises(SystemExit):
                end_batch(preemption, trainer)
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        for number, was in former.items():
            signal.signal(number, was)


def test_jobs_of_this_machine_end_on_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No scheduler announces anything there, though submitit's handler waits for one."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    preemption, trainer = Preemption(RunFolder(tmp_path)), FakeTrainer()
    former = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with preemption.listening():
            preemption.on_train_start(trainer, None)
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(PreemptedRunError, match="SIGTERM: stopped and saved at step 7"):
                end_batch(preemption, trainer)
        assert trainer.saved
    finally:
        signal.signal(signal.SIGTERM, former)


def test_a_signal_that_nobody_waits_for_is_left_alone_and_other_threads_get_none(tmp_path: Path) -> None:
    seen = []

    def listen() -> None:
        with Preemption(RunFolder(tmp_path)).listening():
            seen.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2))

    listen()
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert callable(seen[0])
    assert seen[1:] == [signal.SIG_DFL] * 3
