"""What the jobs of a sweep came to, read from their folders: none is left out, whatever became of it."""

import csv
import io
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stickgen.artifacts.run import PRUNED_AFTER, RunFolder, read_json
from stickgen.config import as_plain
from stickgen.errors import ERROR_FILE, CheckpointError, ConfigError
from stickgen.files import atomic_write
from stickgen.metrics import higher_is_better
from stickgen.sweeps.settings import OVERRIDES_FILE, RECORD_FILE, SEARCHED_BY, flat, value_of
from stickgen.untrusted import parse_yaml, refuse_interpolations

FINISHED, PRUNED, FAILED, STOPPED, MISSING = "finished", "pruned", "failed", "stopped", "missing"
"""What can have become of a job: ``stopped`` has begun and not ended, ``missing`` has left nothing to tell."""

_NOT_VARIED = ("run_dir", "resume", SEARCHED_BY, "trainer.micro_batch", "trainer.cache_frozen")


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        number: its own, which is its folder's name.
        status: see :data:`FINISHED`.
        settings: of those that the sweep varies, by dotted key; what is not known of a job is left out.
        scores: its final metrics, as ``val/pose_mse``; empty where it has none.
        monitored: the metric that the sweep compares; NaN where it has none.
        seconds: how long it took.
        command: what runs it alone; "" where it never began.
        said: why it failed, or where it was pruned.
    """

    number: int
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    monitored: float = math.nan
    seconds: float = math.nan
    command: str = ""
    said: str = ""

    @property
    def has_value(self) -> bool:
        """Whether it can be compared."""
        return math.isfinite(self.monitored)


@dataclass(frozen=True)
class Sweep:
    """All jobs of a sweep.

    Attributes:
        folder: the sweep's.
        monitor: the metric that is compared.
        varied: dotted keys of the settings that differ from job to job.
        jobs: by number.
    """

    folder: Path
    monitor: str
    varied: list[str]
    jobs: list[Job]

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return higher_is_better(self.monitor)

    @property
    def best(self) -> Job | None:
        """The job with the best value; None where none has one."""
        valued = [job for job in self.jobs if job.has_value]
        return min(valued, key=lambda job: (self._rank(job), job.number), default=None)

    def sorted_by(self, key: str | None) -> list[Job]:
        """Return the jobs by a column, the smallest first; None: by the monitored metric, the best first.

        Jobs that have no value there come last, by number.

        Raises:
            ConfigError: there is no such column.
        """
        if key is None:
            return sorted(self.jobs, key=lambda job: (not job.has_value, self._rank(job), job.number))
        meant = [key] if key in self.columns else [n for n in self.columns if n.rpartition(".")[2] == key]
        if len(meant) != 1:
            raise ConfigError(f"sort={key}: no such column; {', '.join(self.columns)}")
        (column,) = meant

        def place(job: Job) -> tuple[bool, bool, Any, int]:
            value = self.row(job)[column]
            return value in (None, ""), isinstance(value, str), value if value is not None else 0, job.number

        return sorted(self.jobs, key=place)

    @property
    def columns(self) -> list[str]:
        """The names of a table's columns."""
        scores = dict.fromkeys(name for job in self.jobs for name in job.scores)
        return ["job", "status", *self.varied, *scores, "seconds", "said", "command"]

    def row(self, job: Job) -> dict[str, Any]:
        """Return a job's values by column, None where it has none."""
        known = {"job": job.number, "status": job.status, "said": job.said, "command": job.command}
        known["seconds"] = None if math.isnan(job.seconds) else job.seconds
        values: dict[str, Any] = {**job.settings, **job.scores, **known}
        return {name: values.get(name) for name in self.columns}

    def write_csv(self, path: Path, jobs: Sequence[Job], *, overwrite: bool = False) -> None:
        """Write the table, one job a line."""
        lines = io.StringIO(newline="")
        writer = csv.DictWriter(lines, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.row(job) for job in jobs)
        with atomic_write(path, overwrite=overwrite) as scratch:
            scratch.write_text(lines.getvalue(), encoding="utf-8")

    def _rank(self, job: Job) -> float:
        value = job.monitored if job.has_value else 0.0
        return -value if self.maximize else value


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder.

    Raises:
        CheckpointError: it is no sweep's, or its record is damaged.
    """
    composed = _read_record(folder)
    with _damage_of(folder / RECORD_FILE):
        planned = _planned(composed)
        monitor = str(composed.callbacks.monitor)
    numbered = {int(path.name): path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()}
    there = {number: numbered[number] for number in sorted(numbered)}
    asked = dict(enumerate(planned))
    for number, path in there.items():
        asked[number] = {**asked.get(number, {}), **_given(path)}
    started = {number: _settings(RunFolder(path)) for number, path in there.items()}
    varied = _varied([*started.values()], [asked[number] for number in sorted(asked)])
    jobs = [_job(number, there.get(number), asked[number], started.get(number, {}), varied) for number in sorted(asked)]
    return Sweep(folder, monitor, varied, jobs)


def read_runs(folders: Sequence[Path]) -> tuple[list[str], list[Job]]:
    """Return runs of any folders as the jobs of a sweep would be, numbered in their order.

    Returns:
        dotted keys of the settings that differ, apart from the run's name, and a job for each folder.
    """
    started = [_settings(RunFolder(folder)) for folder in folders]
    varied = [key for key in _varied(started, []) if key != "name"]
    return varied, [
        _job(number, folder, {}, settings, varied)
        for number, (folder, settings) in enumerate(zip(folders, started, strict=True))
    ]


def read_varied(job: Path) -> dict[str, Any]:
    """Return what a job was given of the settings that its sweep varies; no other job is read.

    Raises:
        CheckpointError: its folder does not lie in a sweep's, or the record is damaged.
    """
    composed, given = _read_record(job.parent), _given(job)
    with _damage_of(job.parent / RECORD_FILE):
        return {key: given[key] for key in _varied_keys(_overrides(composed)) if key in given}


def _read_record(folder: Path) -> Any:
    """Return the settings of a sweep's record; what may hold interpolations is never resolved."""
    record = folder / RECORD_FILE
    if not record.is_file():
        raise CheckpointError(f"{folder}: no {RECORD_FILE} in it; the folder of a sweep expected")
    with _damage_of(record):
        plain = _plain(record)
        # All that is read of it.
        sweeper = plain["hydra"]["sweeper"]
        refuse_interpolations([plain["callbacks"]["monitor"], sweeper.get("params"), sweeper.get("trials")])
        return OmegaConf.create(plain)


@contextmanager
def _damage_of(record: Path) -> Iterator[None]:
    """Report whatever a record makes its readers raise as damage, in one line."""
    try:
        yield
    except (
        OmegaConfBaseException, HydraException, ValueError, LookupError, TypeError, AttributeError, OSError,
        OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{record}: damaged: {(str(error) or type(error).__name__).splitlines()[0]}") from None


def _overrides(composed: Any) -> list[Override]:
    """Return the overrides of a sweep: those of its sweeper, then those of the command line."""
    params = [f"{key}={value}" for key, value in (composed.hydra.sweeper.params or {}).items()]
    return OverridesParser.create().parse_overrides([*params, *composed.hydra.overrides.task])


def _varied_keys(overrides: Sequence[Override]) -> list[str]:
    varied = (override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override())
    return list(dict.fromkeys(varied))


def _planned(composed: Any) -> list[dict[str, Any]]:
    """Return the varied settings of every job that a sweep was to have, as far as its record tells."""
    sweeper = composed.hydra.sweeper
    if not str(sweeper["_target_"]).endswith("BasicSweeper"):  # a search draws them as it goes
        return [{} for _ in range(int(sweeper.trials))]
    overrides = _overrides(composed)
    varied = _varied_keys(overrides)
    jobs = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
    pairs = [dict(override.lstrip("+").split("=", 1) for override in job) for job in jobs]
    return [{key: value_of(text) for key, text in job.items() if key in varied} for job in pairs]


def _given(job: Path) -> dict[str, Any]:
    """Return what a job was given, by dotted key; {} where it has left no word of it."""
    try:
        overrides = _plain(job / OVERRIDES_FILE)
        pairs = [str(override).lstrip("+").split("=", 1) for override in overrides]
        return {key: value_of(text) for key, text in pairs if key not in _NOT_VARIED}
    except (OSError, OmegaConfBaseException, ValueError, TypeError):
        return {}


def _plain(path: Path) -> Any:
    """Return the values of a YAML file, as they stand."""
    return parse_yaml(path.read_text(encoding="utf-8"))


def _settings(run: RunFolder) -> dict[str, Any]:
    """Return a job's settings by dotted key; {} where it has not begun, or they are damaged."""
    try:
        return {k: v for k, v in flat(as_plain(run.read_config())).items() if k not in _NOT_VARIED}
    except CheckpointError:
        return {}


def _varied(started: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys that were given different values, and those that differ among the jobs that began."""
    return list(dict.fromkeys([*_differing(asked), *_differing([job for job in started if job])]))


def _differing(jobs: Sequence[dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for job in jobs for key in job)
    values = {key: [job[key] for job in jobs if key in job] for key in keys}
    return [key for key in keys if any(value != values[key][0] for value in values[key])]


def _job(
    number: int, folder: Path | None, asked: Mapping[str, Any], started: Mapping[str, Any], varied: Sequence[str]
) -> Job:
    settings = {**asked, **started}
    known = {key: settings[key] for key in varied if key in settings}
    if folder is None:
        return Job(number, MISSING, known)
    run, error = RunFolder(folder), folder / ERROR_FILE
    if error.is_file():  # whatever an earlier job, which may have been another, has left in the folder
        said = error.read_text(encoding="utf-8", errors="replace").strip()
        return Job(number, FAILED, {key: asked[key] for key in varied if key in asked}, said=said)
    command = ""
    with suppress(CheckpointError):
        command = str(read_json(run.environment).get("command", ""))
    if run.metrics.is_file():
        try:
            metrics = read_json(run.metrics)
            scores = {
                f"{split}/{name}": math.nan if value is None else float(value)
                for split, values in metrics["scores"][metrics["trained"]].items()
                for name, value in values.items()
            }
            monitored = math.nan if metrics["monitored"] is None else float(metrics["monitored"])
            seconds, after = float(metrics["seconds"]), metrics.get(PRUNED_AFTER)
        except CheckpointError as mistake:
            return Job(number, FAILED, known, command=command, said=str(mistake))
        except (KeyError, TypeError, ValueError, AttributeError) as mistake:
            return Job(number, FAILED, known, command=command, said=f"{run.metrics}: damaged: {mistake!r}")
        status, said = (FINISHED, "") if after is None else (PRUNED, f"after epoch {after}")
        return Job(number, status, known, scores, monitored, seconds, command, said)
    if run.exists():
        way_out = f"stickgen train resume={shlex.quote(str(folder))} continues" if run.holds_results() else ""
        return Job(number, STOPPED, known, command=command, said=way_out)
    return Job(number, MISSING, known, said="its folder holds nothing but a log")
