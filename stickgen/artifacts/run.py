"""Run folders: what a training run leaves behind, and how it is found again."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from stickgen import __version__
from stickgen.artifacts.patterns import check_patterns
from stickgen.artifacts.tensors import read_torch
from stickgen.config import PROJECT, TrainConfig, as_plain, read_saved
from stickgen.errors import CheckpointError, ConfigError
from stickgen.files import atomic_write
from stickgen.untrusted import parse_json, parse_yaml, refuse_interpolations

CHECKPOINT_KEY = "stickgen"
"""Under this key a .ckpt holds the run's settings and its base's fingerprint."""

PRUNED_AFTER = "pruned"
"""The epoch after which a search stopped a run: in its ``metrics.json``, and among its trial's user attributes."""

_RECORDED = ("torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "safetensors", "numpy")

# What OmegaConf, and our own checks, raise over values of any kind.
_DAMAGE = (
    OmegaConfBaseException, ConfigError, KeyError, AttributeError, ValueError, TypeError, OverflowError,
    RecursionError, AssertionError,
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    ======================  =========================================================
    ``config.yaml``         the resolved settings
    ``environment.json``    versions, git revision, command
    ``checkpoints/``        ``best.ckpt`` and ``last.ckpt``, without the frozen base; until the run is finished also the
                            ``previous.ckpt`` before the last
    ``adapter/``            the best adapter, in PEFT's format (LoRA runs)
    ``model.safetensors``   the best weights (runs that train all of them)
    ``metrics.json``        final metrics beside their baselines
    ``tensorboard/``        event files
    ``train.log``           what was printed, with times
    ======================  =========================================================
    """

    path: Path

    @property
    def settings(self) -> Path:
        """The file of resolved settings."""
        return self.path / "config.yaml"

    @property
    def adapter(self) -> Path:
        """The adapter's folder."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def environment(self) -> Path:
        """The file of versions, git revision and command."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """The file of final metrics."""
        return self.path / "metrics.json"

    def exists(self) -> bool:
        """Return whether a run has written here."""
        return self.settings.is_file()

    def holds_results(self) -> bool:
        """Return whether a run has got as far here as a checkpoint; one that has not leaves nothing to keep."""
        return any(self.checkpoints.glob("*.ckpt")) or self.metrics.is_file()

    def checkpoint(self, name: str) -> Path:
        """Return the path of ``best.ckpt`` or ``last.ckpt``.

        Raises:
            CheckpointError: the run has none yet.
        """
        path = self.checkpoints / f"{name}.ckpt"
        if not path.is_file():
            raise CheckpointError(f"{self.path}: has no checkpoints/{name}.ckpt; nothing to go on from, start it anew")
        return path

    def latest(self) -> tuple[Path, "Checkpoint"]:
        """Return the checkpoint that a run can continue from, and its content.

        It is the last one, the one before it where that is missing or damaged, or else the best.

        Raises:
            CheckpointError: the run has none, or all are damaged.
        """
        present = [self.checkpoints / f"{name}.ckpt" for name in ("last", "previous", "best")]
        present = [path for path in present if path.is_file()] or [self.checkpoint("last")]
        mistakes = []
        for path in present:
            try:
                return path, read_checkpoint(path)
            except CheckpointError as error:
                mistakes.append(error)
        raise mistakes[0]

    def forget_previous(self) -> None:
        """Remove the checkpoint before the last one of a finished run, once the last is found to be whole.

        Raises:
            CheckpointError: it is not.
        """
        previous = previous_checkpoint(self.checkpoints / "last.ckpt")
        if previous is not None and previous.is_file():
            read_checkpoint(self.checkpoint("last"))
            previous.unlink()

    def saved(self) -> str:
        """Return which step of a run is saved, and how to continue from it, for messages about its end."""
        if not self.holds_results():
            return "nothing is saved yet, the same command starts anew"
        try:
            step = self.latest()[1].steps
        except CheckpointError as error:
            return f"no step can be read: {error}"
        return f"step {step} is saved; stickgen train resume={shlex.quote(os.path.relpath(self.path))} continues"

    def kept(self) -> Path:
        """Return the checkpoint whose weights are the run's result: the best, or the last where none was validated.

        Raises:
            CheckpointError: the run has neither yet.
        """
        return self.checkpoint("best" if (self.checkpoints / "best.ckpt").is_file() else "last")

    def write_start(self, config: TrainConfig, *, first: bool = True) -> None:
        """Write the settings, and on a run's ``first`` start its environment.

        A resumed run may train for longer than it was started for; that becomes its setting.
        """
        with atomic_write(self.settings, overwrite=True) as scratch:
            scratch.write_text(OmegaConf.to_yaml(OmegaConf.structured(replace(config, resume=None))), encoding="utf-8")
        if first:
            write_json(self.environment, environment())

    def read_config(self) -> TrainConfig:
        """Return the settings the run was started with.

        Raises:
            CheckpointError: the folder is no run's, or its settings are damaged, or hold more than plain values.
        """
        path = self.settings
        if not self.exists():
            raise CheckpointError(f"{self.path}: no config.yaml in it; the folder of a training run expected")
        try:
            plain = parse_yaml(path.read_text(encoding="utf-8"))
            refuse_interpolations(plain)
            config = read_saved(plain)
            check_patterns((*config.lora.rank_pattern, *config.lora.alpha_pattern))
        except (*_DAMAGE, OSError) as error:
            raise CheckpointError(f"{path}: {(str(error) or 'damaged').splitlines()[0]}") from None
        return replace(config, callbacks=replace(config.callbacks, trial=self._own_trial(config.callbacks.trial)))

    def _own_trial(self, trial: str | None) -> str | None:
        """Return the trial of the search that the run lies in; the journal of any other would be written to."""
        if trial is None:
            return None
        journal = Path(trial.rpartition(":")[0])
        return trial if journal.resolve().parent == self.path.resolve().parent else None


def previous_checkpoint(path: Path) -> Path | None:
    """Return where a ``last.ckpt`` is kept when the next one replaces it; None for other checkpoints."""
    return path.with_name("previous.ckpt") if path.name == "last.ckpt" else None


@dataclass(frozen=True)
class Checkpoint:
    """What a .ckpt tells, apart from optimizer and loop state.

    Attributes:
        state: the trained tensors, by their path inside the model.
        config: the run's settings.
        base_fingerprint: digest of the frozen base; None where the whole model was trained.
        epochs: how many were begun; the last of them need not be finished.
        steps: how many the optimizer took.
    """

    state: dict[str, Tensor]
    config: TrainConfig
    base_fingerprint: str | None
    epochs: int
    steps: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a training checkpoint of ours.

    Raises:
        CheckpointError: the file is missing, damaged or not of stickgen.
    """
    content = read_torch(path)
    own = content.get(CHECKPOINT_KEY) if isinstance(content, Mapping) else None
    if not isinstance(own, Mapping):
        raise CheckpointError(f"{path}: not a checkpoint of a stickgen run")
    try:
        refuse_interpolations(own["config"])
        config = read_saved(own["config"])
        check_patterns((*config.lora.rank_pattern, *config.lora.alpha_pattern))
        state = {key.removeprefix("model."): value for key, value in content["state_dict"].items()}
        epochs, steps = int(content["epoch"]) + 1, int(content["global_step"])
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: damaged: {(str(error) or type(error).__name__).splitlines()[0]}") from None
    return Checkpoint(state, config, own.get("base_fingerprint"), epochs, steps)


def checkpoint_record(config: TrainConfig, base_fingerprint: str | None) -> dict[str, Any]:
    """Return what a .ckpt says of its run: plain values, which load without running anything."""
    return {"config": as_plain(config), "base_fingerprint": base_fingerprint}


def environment() -> dict[str, Any]:
    """Return the command that is running, and the versions and the source it depends on."""
    return {
        "stickgen": __version__,
        "git_revision": git_revision(),
        "command": _command(),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _RECORDED},
    }


def _command() -> str:
    """Return what is running, or for a job of a sweep or of a notebook what would run it alone."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is None or hydra.mode == RunMode.RUN:
        return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    of_the_sweep = ("sweep", "launcher", "callbacks.trial")
    return shlex.join(
        ["stickgen", "train", *(o for o in hydra.overrides.task if o.partition("=")[0] not in of_the_sweep)]
    )


def runnable(command: str) -> str:
    """Return a recorded command as a shell runs it: ``stickgen …`` as it is, anything else as a script of Python."""
    return command if command.startswith("stickgen ") else f"python {command}"


def git_revision() -> str | None:
    """Return the project's commit, with "-dirty" where files differ from it; None outside a git checkout."""
    if not (PROJECT / ".git").exists():  # an installed package may lie in a checkout of something else
        return None
    try:
        git = ["git", "-C", str(PROJECT)]
        revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision.strip() + ("-dirty" if status.stdout.strip() else "")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step; NaN, where there was nothing to measure, becomes null."""
    with atomic_write(path, overwrite=True) as scratch:
        text = json.dumps(_without_nan(content), indent=2, allow_nan=False)
        scratch.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        CheckpointError: the file is missing, or holds something else.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise CheckpointError(f"{path}: no such file, or not readable") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a JSON object expected")
    return content


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
