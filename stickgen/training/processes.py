"""The processes of a run on several devices: this one, which writes, and those it starts beside itself."""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import OmegaConf

from stickgen.config import PROJECT, TrainConfig
from stickgen.errors import CheckpointError, ConfigError, StickgenError
from stickgen.training.precision import device_type

log = logging.getLogger(__name__)

_PRESENT: dict[str, Callable[[], bool]] = {
    "gpu": lambda: torch.cuda.is_available() or torch.backends.mps.is_available(),
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
}

GRACE_SECONDS = 10.0
"""How long a process that was told to end is waited for."""


def check_devices(config: TrainConfig) -> None:
    """Refuse a kind of device that this machine lacks, and more processes than it has processors.

    Settings of another's run may ask for any number. How many GPUs there are, Lightning asks.

    Raises:
        ConfigError: see above.
    """
    accelerator = config.trainer.accelerator
    if accelerator in _PRESENT and not _PRESENT[accelerator]():
        raise ConfigError(
            f"trainer.accelerator={accelerator}: PyTorch finds no such device on this machine; take trainer=cpu, or "
            "trainer.accelerator=auto"
        )
    most = max(os.cpu_count() or 1, 2)
    if device_type(config.trainer.accelerator) == "cpu" and config.trainer.devices > most:
        raise ConfigError(f"trainer.devices={config.trainer.devices}: at most {most}, the processors here, expected")


def count_for(trainer: Trainer, checkpoint: dict[str, Any], processes: int) -> None:
    """Count the micro-batches of a checkpoint as a process of the trainer's does: Lightning counts those of each.

    Args:
        trainer: has a :class:`~stickgen.data.datamodule.ClipDataModule`.
        checkpoint: is changed. Its counters may be one apart from each other.
        processes: how many the run had.

    Raises:
        CheckpointError: the checkpoint is of a version that did not record how many processes there were.
    """
    position = checkpoint.get("ClipDataModule", {})
    if position.get("processes") != processes:
        raise CheckpointError(f"resume: the run was of {processes} processes; trainer.devices={processes} continues it")
    data = trainer.datamodule  # type: ignore[attr-defined]
    moved = data.train_plan().after(position["batch"], processes) - position["batch"]
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counters in (progress["total"], progress["current"]):
        for name in counters:
            counters[name] += moved


class Processes:
    """Starts the processes of ranks 1 and up, and sees that none outlives the run.

    They run ``python -m stickgen.training.ddp_worker`` with the settings on standard input, rather than the command
    again as Lightning's own launcher would: a job of a sweep must not become another sweep, and a launcher's worker has
    no command. What they print is kept back, and shown where one of them fails. Lightning finds its rank in the
    environment and so starts nothing itself, under SLURM either.

    Args:
        config: the run's settings; of one process nothing is started or set.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.count = config.trainer.devices
        self.together = self.count > 1
        self._others: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> "Processes":
        if self.together:
            ours = {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(find_free_network_port()),
                "NODE_RANK": "0",
                "LOCAL_RANK": "0",
            }
            self._before = {name: os.environ.get(name) for name in (*ours, "WORLD_SIZE")}
            os.environ.update(ours)
        return self

    def start(self, config: TrainConfig) -> None:
        """Start the other processes on these settings, all of them decided."""
        settings = OmegaConf.to_yaml(OmegaConf.structured(config)).encode()
        # A checkout need not be installed: this process found it beside its script.
        checkout = str(PROJECT) if (PROJECT / "stickgen").is_dir() else None
        path = os.pathsep.join(filter(None, (checkout, os.environ.get("PYTHONPATH"))))
        for rank in range(1, self.count):
            output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by _end
            process = subprocess.Popen(
                [sys.executable, "-m", "stickgen.training.ddp_worker"],
                env={**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._others.append((process, output))
            assert process.stdin is not None
            process.stdin.write(settings)
            process.stdin.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        failed = self._end(at_once=isinstance(error, StickgenError))
        if self.together and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        if error is None or not isinstance(error, Exception) or isinstance(error, StickgenError) or not failed:
            return
        # That a process is gone is all that this one knows; why, the other has said.
        rank, said = next(iter(failed.items()))
        last = said.strip().splitlines()[-1] if said.strip() else "it said nothing"
        if last.startswith("error: "):
            raise StickgenError(last.removeprefix("error: ")) from None
        log.error("process %d of %d failed:\n%s", rank + 1, self.count, said)

    def _end(self, *, at_once: bool) -> dict[int, str]:
        """Wait for the others, and end those that stay; return what each that failed had printed, by rank."""
        deadline = time.monotonic() + (0 if at_once else GRACE_SECONDS)
        failed: dict[int, str] = {}
        for rank, (process, output) in enumerate(self._others, 1):
            status = _wait(process, deadline - time.monotonic())
            if status is None:
                process.terminate()
                if _wait(process, GRACE_SECONDS) is None:
                    process.kill()
                    process.wait()
            elif status != 0:
                output.seek(0)
                failed[rank] = output.read().decode(errors="replace")
            output.close()
        self._others = []
        return failed


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    try:
        return process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        return None
