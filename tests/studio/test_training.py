import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from stickgen.config import PROJECT, LoRAConfig
from stickgen.errors import ConfigError
from stickgen.locks import folder_lock, owner_of
from stickgen.studio.curves import chart
from stickgen.studio.training import DEFAULT_ALPHA, DEFAULT_RANK, DEFAULT_TARGETS, PRESETS, Jobs, Wanted, estimated
from stickgen.studio.watching import Watch

QUICK = Wanted("quickstart", Path("outputs/new"))


def test_its_defaults_are_those_of_the_command_line() -> None:
    settings = LoRAConfig()
    assert (settings.rank, settings.alpha) == (DEFAULT_RANK, DEFAULT_ALPHA)
    targets = (PROJECT / "conf" / "train.yaml").read_text().partition("lora/targets: [")[2].partition("]")[0]
    assert tuple(targets.split(", ")) == DEFAULT_TARGETS


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_trained(place: Path, preset: str) -> None:
    config = replace(QUICK, preset=preset, data=Path("clips.pt"), rank=4, targets=("attention",)).settings()
    assert config.data.path == "clips.pt"
    assert config.lora.enabled == (preset != "full")
    if preset != "full":
        assert (config.lora.rank, list(config.lora.targets)) == (4, ["attention"])
    assert config.lora.layers == ([-4, -3, -2, -1] if preset == "top layers" else None)


def test_texts_arrive_as_they_were_typed(place: Path) -> None:
    prompts = ["a person's walk", 'say "x" \\', "it's \\' odd", "a, [b] {c} = d # $HOME", "ä"]
    wanted = replace(QUICK, data=Path("my clips, [1].pt"), prompts=prompts, curation=Path("it's.yaml"))
    config = wanted.settings()
    assert config.callbacks.show_motion.prompts == prompts
    assert (config.data.path, config.data.curation) == ("my clips, [1].pt", "it's.yaml")
    assert shlex.split(wanted.command)[2:-1] == wanted.overrides
    with pytest.raises(ConfigError, match=r"would be replaced by a setting"):
        replace(QUICK, prompts=["${oc.env:HOME}"]).settings()


def test_impossible_settings_are_refused_before_anything_starts(place: Path) -> None:
    for change, message in (
        ({"preset": "none"}, "preset=none: style, card"),
        ({"targets": ("wings",)}, "lora/targets=wings"),
        ({"targets": ()}, "lora.targets: empty"),
        ({"rank": 0}, "lora.rank"),
    ):
        with pytest.raises(ConfigError, match=message):
            Jobs().start(replace(QUICK, **change))  # type: ignore[arg-type]
    assert not QUICK.folder.exists()


def test_the_time_is_estimated_without_writing_anything(place: Path) -> None:
    before = sorted(place.rglob("*"))
    assert " s, estimated from one step: 10 steps of 4 clips at " in estimated(QUICK)
    assert sorted(place.rglob("*")) == before


def test_runs_of_others_are_known_by_their_locks(place: Path, tmp_path: Path) -> None:
    jobs, first = Jobs(), Path("outputs/first")
    assert jobs.state(first) == "finished"
    assert owner_of(first) is None
    with pytest.raises(ConfigError, match="outputs/first: is not running"):
        jobs.stop(first)
    with pytest.raises(ConfigError, match="outputs/first: is finished"):
        jobs.resume(first)
    with folder_lock(tmp_path / "run"):
        owner = owner_of(tmp_path / "run")
        assert owner is not None
        assert owner.here
        assert jobs.state(tmp_path / "run") == "running"
        with pytest.raises(ConfigError, match="is running; stop it first"):
            jobs.resume(tmp_path / "run")
    assert jobs.state(tmp_path / "run") == "stopped before it saved anything"


def test_a_run_is_shown_beside_its_base_and_simple_guesses(place: Path, tmp_path: Path) -> None:
    watch = Watch()
    page = watch.charts(Path("outputs/first"))
    assert page.count("<svg") == 3
    for name in ("frozen base", "constant velocity", "most frequent action"):
        assert name in page
    assert watch.step(Path("outputs/first")) == 2
    steps, pictures = watch.motions(Path("outputs/first"))
    assert steps
    assert 'src="data:image/gif;base64,' in pictures
    assert watch.charts(tmp_path) == "<p>No curves yet.</p>"
    assert watch.step(tmp_path) is None


def test_a_chart_says_what_it_draws() -> None:
    text = chart("<b>", [(0, 2.0), (5, float("nan")), (10, 1.0)], {"base": 2.0, "far": 1000.0}, logarithmic=True)
    assert "&lt;b&gt;: 1 at step 10; base 2; far 1e+03" in text
    assert text.count("<line") == 1  # one that is far away would flatten the curve
    assert "no value yet" in chart("x", [], {})
