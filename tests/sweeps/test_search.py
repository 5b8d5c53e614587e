"""The search by Optuna, from the shell and piece by piece."""

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from stickgen.artifacts.run import RunFolder, read_json
from stickgen.errors import ConfigError, StickgenError
from tests.runs import run_script, short_run

optuna = pytest.importorskip("optuna")

from stickgen.sweeps import search as search_module  # noqa: E402
from stickgen.sweeps.search import Search, distribution  # noqa: E402
from stickgen.training.pruning import Pruning, open_study  # noqa: E402


def drawn_from(override: str) -> Any:
    return distribution(OverridesParser.create().parse_override(override))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lora.rank=choice(2,4)", optuna.distributions.CategoricalDistribution([2, 4])),
        ("lora.rank=2,4", optuna.distributions.CategoricalDistribution([2, 4])),
        ("lora.rank=range(1,9)", optuna.distributions.IntDistribution(1, 8)),
        ("lora.rank=range(2,9,2)", optuna.distributions.IntDistribution(2, 8, step=2)),
        ("lora.rank=int(interval(2,64))", optuna.distributions.IntDistribution(2, 64)),
        ("lora.dropout=interval(0,0.5)", optuna.distributions.FloatDistribution(0.0, 0.5)),
        ("optimizer.lr=tag(log, interval(1e-4,1e-2))", optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)),
    ],
)
def test_hydras_syntax_says_what_a_value_is_drawn_from(override: str, expected: Any) -> None:
    assert drawn_from(override) == expected


@pytest.mark.parametrize("override", ["optimizer.lr=tag(log, interval(0.0,1e-2))", "lora.rank=glob(*)"])
def test_what_cannot_be_drawn_from_names_the_key(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        drawn_from(override)


class Job:
    """What a launcher returns of a job."""

    def __init__(self, value: float | Exception) -> None:
        self.value = value

    @property
    def return_value(self) -> float:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Launcher:
    """Scores jobs by a function of their overrides; keeps what it was asked for."""

    def __init__(self, score: Any) -> None:
        self.score = score
        self.launched: list[tuple[int, list[list[str]]]] = []

    def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[Job]:
        self.launched.append((initial_job_idx, jobs))
        return [Job(self.score(dict(o.split("=", 1) for o in job))) for job in jobs]


@pytest.fixture
def search(tmp_path: Path) -> Any:
    def make(launcher: Launcher, **changes: Any) -> Search:
        from omegaconf import OmegaConf

        config = OmegaConf.create(
            {"hydra": {"sweep": {"dir": str(tmp_path / "jobs")}}, "callbacks": {"monitor": "val/pose_mse"}}
        )
        params = {"lora.rank": "choice(2,4,8)", "lora.alpha": "interval(1.0,9.0)"}
        settings: dict[str, Any] = {"trials": 6, "at_once": 4, "seed": 0, "params": params, **changes}
        return Search(config, launcher, None, **settings)  # type: ignore[arg-type]

    return make


def alpha(job: dict[str, str]) -> float:
    return abs(float(job["lora.alpha"]) - 4)


def test_jobs_are_numbered_as_their_trials_and_the_best_is_returned(search: Any, tmp_path: Path) -> None:
    launcher = Launcher(alpha)
    found = search(launcher).run(["lora.rank=8", "seed=3"])
    assert [(first, len(jobs)) for first, jobs in launcher.launched] == [(0, 4), (4, 2)]
    jobs = [dict(o.split("=", 1) for o in job) for _, batch in launcher.launched for job in batch]
    assert all(job["lora.rank"] == "8" and job["seed"] == "3" for job in jobs)  # the command line wins
    assert [job["callbacks.trial"].strip("'").rpartition(":")[2] for job in jobs] == [*"012345"]
    assert found["value"] == min(map(alpha, jobs))
    assert alpha(jobs[found["job"]]) == found["value"]


def test_a_search_started_again_takes_up_what_had_not_ended(search: Any) -> None:
    def interrupted(job: dict[str, str]) -> float:
        raise KeyboardInterrupt

    stopped, again = Launcher(interrupted), Launcher(alpha)
    with pytest.raises(KeyboardInterrupt):
        search(stopped).run([])
    search(again).run([])
    assert again.launched[0] == stopped.launched[0]
    assert [(first, len(jobs)) for first, jobs in again.launched] == [(0, 4), (4, 2)]
    search(third := Launcher(alpha)).run([])
    assert third.launched == []


def jobs_of(launcher: Launcher) -> list[list[str]]:
    return [job for _, batch in launcher.launched for job in batch]


def test_a_search_started_again_draws_what_it_would_have_drawn_in_one_go(search: Any, tmp_path: Path) -> None:
    search(whole := Launcher(alpha), trials=14).run([])
    (tmp_path / "jobs" / search_module.JOURNAL).unlink()
    search(first := Launcher(alpha), trials=8).run([])
    search(second := Launcher(alpha), trials=14).run([])
    assert jobs_of(first) + jobs_of(second) == jobs_of(whole)
    drawn = {tuple(override for override in job if "trial" not in override) for job in jobs_of(whole)}
    assert len(drawn) == 14


def test_a_search_goes_on_under_its_own_settings_alone(search: Any, tmp_path: Path) -> None:
    search(Launcher(alpha), trials=2).run([])
    again = search(launcher := Launcher(alpha), trials=4)
    again.config.callbacks.monitor = "val/action_accuracy"
    with pytest.raises(ConfigError, match=r"callbacks\.monitor: val/action_accuracy, and .* has val/pose_mse"):
        again.run([])
    again.config.callbacks.monitor = "val/pose_mse"
    again.config.callbacks.progress_bar = False  # changes no result
    again.run([])
    assert [(first, len(jobs)) for first, jobs in launcher.launched] == [(2, 2)]
    with pytest.raises(ConfigError, match=r"callbacks\.monitor: what jobs are compared by cannot be searched"):
        search(Launcher(alpha)).run(["callbacks.monitor=choice(val/loss,val/pose_mse)"])


@pytest.mark.parametrize("name", ["it's", "back\\'slash", "plain\\"])
def test_a_folder_may_have_any_name(name: str) -> None:
    override = OverridesParser.create().parse_override(f"callbacks.trial={search_module._quoted(name + '/j:1')}")
    assert override.value() == name + "/j:1"


def test_a_search_does_not_go_on_in_another_space(search: Any, tmp_path: Path) -> None:
    search(Launcher(alpha), trials=2).run([])
    record = tmp_path / "jobs" / "multirun.yaml"
    begun = record.stat().st_mtime_ns
    launcher = Launcher(alpha)
    with pytest.raises(ConfigError, match=r"lora\.rank: the search in .*jobs draws it from .*choose another"):
        search(launcher).run(["lora.rank=choice(2,4)"])
    assert launcher.launched == []
    assert record.stat().st_mtime_ns == begun  # the settings of the search that did begin
    study = open_study(tmp_path / "jobs" / search_module.JOURNAL, maximize=False)
    assert len(study.trials) == 2  # no trial is left that could not be run
    search(launcher, trials=3).run(["lora.alpha=interval(2.0,5.0)"])  # another range may follow
    assert len(launcher.launched) == 1


def test_failed_jobs_do_not_end_a_search_unless_all_fail(search: Any, tmp_path: Path) -> None:
    def mostly(job: dict[str, str]) -> float | Exception:
        return ConfigError("lora.rank=2: no") if job["lora.rank"] == "2" else 1.0

    assert search(Launcher(mostly)).run([])["value"] == 1.0
    study = open_study(tmp_path / "jobs" / search_module.JOURNAL, maximize=False)
    states = {trial.params["lora.rank"]: trial.state.name for trial in study.trials}
    assert states.pop(2, "FAIL") == "FAIL"
    assert set(states.values()) == {"COMPLETE"}
    (tmp_path / "jobs" / search_module.JOURNAL).unlink()
    with pytest.raises(StickgenError, match="none of 6 jobs came to a result"):
        search(Launcher(lambda job: ConfigError("no"))).run([])


def test_impossible_searches_are_refused(search: Any) -> None:
    for name, value in (("trials", 0), ("at_once", 0), ("seed", -1)):
        with pytest.raises(ConfigError, match=rf"hydra\.sweeper\.{name}={value}"):
            search(Launcher(alpha), **{name: value})
    with pytest.raises(ConfigError, match="nothing to search"):
        search(Launcher(alpha), params={}).run(["lora.rank=2"])


def test_a_trial_that_the_study_does_not_have_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path / "journal", maximize=False)
    with pytest.raises(ConfigError, match="the study has no such trial"):
        Pruning(f"{tmp_path / 'journal'}:3", "val/pose_mse")


def test_a_run_at_its_end_is_not_pruned(tmp_path: Path) -> None:
    """There is nothing to spare it, and its value counts."""
    study = open_study(tmp_path / "journal", maximize=False)
    for _ in range(5):
        trial = study.ask()
        for epoch in range(5):
            trial.report(1.0, epoch)
        study.tell(trial, 1.0)
    trainer = MagicMock(sanity_checking=False, callback_metrics={"val/loss": 2.0}, max_epochs=5, max_steps=-1)
    trainer.strategy.reduce_boolean_decision = lambda decision, all: decision
    for epoch, pruned in ((3, True), (4, False)):
        pruning = Pruning(f"{tmp_path / 'journal'}:{study.ask().number}", "val/loss")
        trainer.current_epoch, trainer.should_stop = epoch, False
        pruning.on_validation_end(trainer, MagicMock())
        assert (pruning.after is not None, trainer.should_stop) == (pruned, pruned)


def test_a_search_from_the_shell_prunes_what_falls_behind(base: Path, tmp_path: Path) -> None:
    """One of the learning rates does nothing at all, and is met once others have been measured."""
    settings = ["hydra.sweeper.trials=8", "hydra.sweeper.params={lora.rank: 'choice(1,2)'}", "trainer.max_epochs=5"]
    lr = "optimizer.lr=choice(1e-9,1e-2)"
    short = short_run(base, **{"hydra.sweep.dir": "jobs"})
    short = [override for override in short if not override.startswith(("optimizer.lr", "trainer.max"))]
    done = run_script("train.py", "sweep=optuna", lr, *settings, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = [RunFolder(tmp_path / "jobs" / str(job)) for job in range(8)]
    assert [run.path.name for run in runs if run.metrics.is_file()] == [*"01234567"]
    pruned = {run.path.name: read_json(run.metrics)["pruned"] for run in runs}
    idle = {run.path.name for run in runs if run.read_config().optimizer.lr < 1e-3}
    assert any(pruned[job] for job in idle)
    assert all(after is None or after < 5 for after in pruned.values())
    assert "best of 8 jobs: " in done.stdout
