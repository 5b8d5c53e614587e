"""What the Train tab does: settings of a run, an estimate, and the run as a process of its own."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from stickgen.artifacts.run import RunFolder
from stickgen.config import PROJECT, TrainConfig, register
from stickgen.errors import ConfigError
from stickgen.locks import owner_of
from stickgen.override_errors import override_mistake
from stickgen.studio.generating import as_typed

TARGETS = tuple(sorted(path.stem for path in (PROJECT / "conf" / "lora" / "targets").glob("*.yaml")))
DEFAULT_TARGETS = ("transformer_encoder", "pose_decoder")
DEFAULT_RANK, DEFAULT_ALPHA = 8, 16

_composing = threading.Lock()
"""Hydra composes in a state of the whole process."""


@dataclass(frozen=True)
class Preset:
    """A recipe to start from.

    Attributes:
        title: what it is for.
        overrides: its settings.
        adapts: whether it trains an adapter, or all weights.
    """

    title: str
    overrides: tuple[str, ...] = ()
    adapts: bool = True


_TOP_LAYERS = ("experiment=style", "lora.layers=[-4,-3,-2,-1]", "data.augment.variants=4")

PRESETS = {
    "style": Preset("a style, from a few dozen clips", ("experiment=style",)),
    "card": Preset("the model card's recipe, for thousands of clips"),
    "top layers": Preset("a style, in the last four layers only, which is faster", _TOP_LAYERS),
    "full": Preset("all weights, no adapter", ("lora.enabled=false",), adapts=False),
    "quickstart": Preset("a check of the installation, on a tiny base", ("experiment=quickstart",)),
}


@dataclass(frozen=True)
class Wanted:
    """A run that is to be started.

    Attributes:
        preset: of :data:`PRESETS`.
        folder: the run's.
        data: the data file; None: motion that stickgen generates.
        curation: the curation file of the data; None: all clips.
        base: the base; None: the preset's.
        rank: of the adapter.
        alpha: of the adapter.
        targets: groups of adapted layers.
        prompts: what the model in training moves to, in pictures every epoch; none: as the preset has it.
    """

    preset: str
    folder: Path
    data: Path | None = None
    curation: Path | None = None
    base: Path | None = None
    rank: int = DEFAULT_RANK
    alpha: float = DEFAULT_ALPHA
    targets: Sequence[str] = DEFAULT_TARGETS
    prompts: Sequence[str] = ()

    @property
    def overrides(self) -> list[str]:
        """The settings as the command line takes them, without the run's folder.

        Raises:
            ConfigError: there is no such preset or group.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"preset={self.preset}: {', '.join(PRESETS)} expected")
        preset = PRESETS[self.preset]
        words = [*preset.overrides]
        for key, path in (("data.path", self.data), ("data.curation", self.curation), ("base.checkpoint", self.base)):
            if path is not None:
                words.append(f"{key}={_quoted(as_typed(path))}")
        if preset.adapts:
            words += [f"lora.rank={self.rank}"] if self.rank != DEFAULT_RANK else []
            words += [f"lora.alpha={self.alpha:g}"] if self.alpha != DEFAULT_ALPHA else []
            if unknown := [name for name in self.targets if name not in TARGETS]:
                raise ConfigError(f"lora/targets={unknown[0]}: {', '.join(TARGETS)} expected")
            if set(self.targets) != set(DEFAULT_TARGETS):
                words.append(f"lora/targets=[{','.join(self.targets)}]")
        if self.prompts:
            show = "callbacks.show_motion"
            words += [f"{show}.prompts=[{','.join(map(_quoted, self.prompts))}]", f"{show}.max_share=1"]
            words += [f"{show}.every_n_epochs=1"]
        return words

    @property
    def command(self) -> str:
        """The command that trains the same run, quoted for a shell."""
        return shlex.join(["stickgen", "train", *self.overrides, _run_dir(self.folder)])

    def settings(self) -> TrainConfig:
        """Return the checked settings of the run.

        Raises:
            ConfigError: one is impossible.
        """
        from stickgen.training import job_settings

        register()
        words = self.overrides
        try:
            with _composing:
                GlobalHydra.instance().clear()
                with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
                    composed = compose("train", words)
            return job_settings(composed, str(self.folder), words)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(override_mistake(error, TrainConfig)) from None


def _run_dir(folder: Path) -> str:
    return f"hydra.run.dir={_quoted(as_typed(folder))}"


def _quoted(text: str) -> str:
    """Return a value as Hydra reads it from a command line.

    Raises:
        ConfigError: it would be an interpolation, which a run's settings may not have.
    """
    if "${" in text:
        raise ConfigError(f"{text[:80]}: ${{ would be replaced by a setting; leave it out")
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return text
    # In quotes, backslashes count before quotes only, and at the end.
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    return "'" + re.sub(r"(\\+)$", lambda found: found[1] * 2, text) + "'"


class Job:
    """A run that this studio has started, in a process of its own that outlives the studio.

    Args:
        folder: the run's.
        words: arguments of ``stickgen train``.
    """

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.folder = folder
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the run is watched
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stickgen", "train", *words, "callbacks.progress_bar=false"],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the studio's terminal is not for the run
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def running(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    def last_line(self) -> str:
        """Return what it printed last."""
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), 4096, max(size - 4096, 0)).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class Jobs:
    """The runs that this studio has started, by folder."""

    def __init__(self) -> None:
        self._jobs: dict[Path, Job] = {}
        self._lock = threading.Lock()

    def start(self, wanted: Wanted) -> None:
        """Start a run.

        Raises:
            ConfigError: a setting is impossible.
        """
        wanted.settings()
        self._begin(wanted.folder, [*wanted.overrides, _run_dir(wanted.folder)])

    def resume(self, folder: Path) -> None:
        """Continue a run that was stopped.

        Raises:
            ConfigError: it is running, or is finished.
            CheckpointError: it has nothing to continue from.
        """
        if self._pid(folder) is not None:
            raise ConfigError(f"{as_typed(folder)}: is running; stop it first")
        if RunFolder(folder).metrics.is_file():
            raise ConfigError(f"{as_typed(folder)}: is finished; start a new run")
        RunFolder(folder).latest()
        self._begin(folder, [f"resume={_quoted(as_typed(folder))}"])

    def stop(self, folder: Path) -> None:
        """Ask a run to save at the end of its step and end, as Ctrl-C does.

        Raises:
            ConfigError: it is not running, or runs on another machine.
        """
        pid = self._pid(folder)
        if pid is None:
            raise ConfigError(f"{as_typed(folder)}: is not running")
        os.kill(pid, signal.SIGTERM)

    def state(self, folder: Path) -> str:
        """Return how a run is, in words."""
        run = RunFolder(folder)
        if self._runs_here(folder):
            return "running"
        job = self._jobs.get(folder)
        said = "" if job is None else job.last_line().removeprefix("error: ")
        if run.metrics.is_file():
            return "finished"
        if run.holds_results():
            return "stopped, and saved; Resume continues it"
        if job is not None:
            return f"ended before it saved anything: {said}"
        return "stopped before it saved anything"

    def folders(self) -> list[Path]:
        """Return the folders of the runs that this studio has started, the last one first."""
        return list(reversed(self._jobs))

    def _begin(self, folder: Path, words: Sequence[str]) -> None:
        with self._lock:
            job = self._jobs.pop(folder, None)
            if job is not None and job.running():
                self._jobs[folder] = job
                raise ConfigError(f"{as_typed(folder)}: is running already")
            self._jobs[folder] = Job(folder, words)

    def _runs_here(self, folder: Path) -> bool:
        job = self._jobs.get(folder)
        return (job is not None and job.running()) or owner_of(folder) is not None

    def _pid(self, folder: Path) -> int | None:
        """Return the process of a run: one that this studio has started, or any other that has locked the folder."""
        job = self._jobs.get(folder)
        if job is not None and job.running():
            return job.pid
        owner = owner_of(folder)
        if owner is None:
            return None
        if not owner.here:
            raise ConfigError(f"{as_typed(folder)}: runs on another machine; stop it there")
        return owner.pid


def estimated(wanted: Wanted) -> str:
    """Return how long a run is going to take, measured.

    Raises:
        StickgenError: see :func:`stickgen.training.estimate.estimate`.
    """
    from stickgen.training.estimate import estimate

    return str(estimate(wanted.settings()))
