import copy
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stickgen import config as config_module
from stickgen.adapter_settings import LoRASettings
from stickgen.config import (
    PROJECT,
    AugmentConfig,
    BaseConfig,
    DataConfig,
    LoRAConfig,
    MergeConfig,
    TrainConfig,
    as_plain,
    read_saved,
    register,
    run_to_resume,
    setting_keys,
    typed,
)
from stickgen.errors import ConfigError, StickgenError

CONF = PROJECT / "conf"
GROUPS = ("base", "callbacks", "data", "logger", "lora", "lora/targets", "objective", "optimizer", "trainer")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
TARGETS = sorted(path.stem for path in (CONF / "lora" / "targets").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _schemas() -> None:
    register()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USE_LORA", "LORA_RANK"):
        monkeypatch.delenv(name, raising=False)


def composed(*overrides: str, name: str = "train") -> DictConfig:
    # The run's folder is Hydra's own where there is a running job.
    run_dir = ["run_dir=somewhere"] if name == "train" else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, [*run_dir, *overrides])


def train(*overrides: str) -> TrainConfig:
    return typed(composed(*overrides), TrainConfig)


def refused(overrides: Sequence[str], *parts: str) -> None:
    """Composing fails, and the message has all the parts."""
    with pytest.raises((StickgenError, HydraException, OmegaConfBaseException)) as caught:
        train(*overrides)
    message = f"{caught.value} {caught.value.__cause__}"
    for part in parts:
        assert part in message


# Choices


def test_every_group_is_listed_here() -> None:
    folders = {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")}
    assert folders - {".", "experiment", "hydra", "hydra/job_logging"} - set(GROUPS) == {"sweep", "launcher"}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    # A variant's sizes come without a checkpoint of that size.
    checkpoint = ["base.checkpoint=some.pth"] if group == "base" else []
    config = train(f"{group}={option}", *checkpoint)
    chosen = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml"))
    assert isinstance(chosen, dict)
    values: Any = as_plain(config)
    for part in group.split("/"):
        values = values[part]
    for key, value in chosen.items():
        if key not in ("defaults", "checkpoint") and "${" not in str(value):
            assert values[key] == (values[key] | value if isinstance(value, dict) else value), key


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    config = train(f"experiment={experiment}")
    recipe = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml")
    assert config.name == recipe.name
    for group, values in recipe.items():
        if isinstance(values, DictConfig):
            for key, value in values.items():
                if not isinstance(value, DictConfig) and "${" not in str(value):
                    assert getattr(getattr(config, group), key) == value, f"{group}.{key}"


@pytest.mark.parametrize("sweep", ["grid", "optuna"])
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "slurm"])
def test_every_sweep_composes_with_every_launcher(sweep: str, launcher: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra stickgen[sweep]")
    overrides = [f"sweep={sweep}", f"launcher={launcher}", "trainer.max_epochs=3", "run_dir=somewhere"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("train", overrides, return_hydra_config=True)
    assert whole.hydra.mode.name == "MULTIRUN"
    assert set(whole.hydra.sweeper.params) >= {"lora.rank", "lora.alpha"}
    assert launcher.partition("_")[0] in whole.hydra.launcher["_target_"].lower()
    config = train(*overrides[:3])
    assert (config.trainer.max_epochs, config.callbacks.progress_bar) == (3, False)
    assert config.trainer.threads == (None if launcher == "slurm" else 1)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_command_line_wins_over_an_experiment(experiment: str) -> None:
    config = train(f"experiment={experiment}", "optimizer.lr=0.123", "trainer.max_epochs=77", "data.batch_size=5")
    assert (config.optimizer.lr, config.trainer.max_epochs, config.data.batch_size) == (0.123, 77, 5)


def test_the_shipped_bases_recipe_keeps_its_curves_as_numbers_too() -> None:
    assert train("experiment=pretrain_cmu").logger.kinds == ["tensorboard", "csv"]


def test_pretraining_starts_from_scratch_in_the_size_that_is_chosen() -> None:
    config = train("experiment=pretrain", "base=large")
    assert config.base.from_scratch
    assert config.base.checkpoint is None
    assert not config.lora.enabled
    assert (config.base.d_model, config.base.nhead, config.base.num_layers) == (512, 16, 10)


@pytest.mark.parametrize("names", [*itertools.combinations(TARGETS, 2), TARGETS[:1]])
def test_target_groups_compose_to_exactly_those_chosen(names: Sequence[str]) -> None:
    config = train(f"lora/targets=[{','.join(names)}]")
    assert list(config.lora.targets) == list(names)
    expected = [OmegaConf.load(CONF / "lora" / "targets" / f"{name}.yaml")[name] for name in names]
    assert list(config.lora.targets.values()) == expected
    assert config.lora.target_modules == list(dict.fromkeys(itertools.chain(*expected)))


def test_target_groups_in_the_cards_terms() -> None:
    assert train("lora/targets=[attention,pose_decoder]").lora.targets == {
        "attention": ["self_attn"],
        "pose_decoder": ["pose_decoder"],
    }
    assert train().lora.target_modules == ["transformer_encoder", "pose_decoder"]


def test_a_group_of_targets_may_be_written_on_the_command_line() -> None:
    config = train("lora/targets=[pose_decoder]", "+lora.targets.mine=[q_proj,v_proj]")
    assert config.lora.target_modules == ["pose_decoder", "q_proj", "v_proj"]


def test_a_module_of_two_groups_is_targeted_once() -> None:
    lora = LoRAConfig(targets={"a": ["q_proj", "ffn"], "b": ["ffn", "pose_decoder"]})
    assert lora.target_modules == ["q_proj", "ffn", "pose_decoder"]


# Defaults


def test_the_defaults_are_the_model_cards() -> None:
    config = train()
    assert (config.lora.enabled, config.lora.rank, config.lora.alpha, config.lora.dropout) == (True, 8, 16.0, 0.05)
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (1e-4, 0.01)
    assert (config.trainer.max_epochs, config.trainer.accumulate_grad_batches) == (20, 32)
    assert (config.data.batch_size, config.trainer.gradient_clip_val) == (2, 1.0)
    weights = config.objective.weights
    assert (weights.pose, weights.temporal, weights.action, weights.physics) == (1.0, 0.1, 0.2, 0.25)
    assert config.data.min_quality == 0.8


def test_the_default_objective_is_honest() -> None:
    objective = train().objective
    assert objective.causal
    assert objective.feed_actions == objective.drop_text == objective.input_pace == 0
    assert objective.input_noise == objective.input_drift == 0
    assert train().data.augment == AugmentConfig()
    assert objective.gravity == 0
    reference = train("objective=bidirectional").objective
    assert not reference.causal
    assert reference.gravity == 0.1


def test_the_default_base_comes_with_the_project_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train().base.checkpoint == str(PROJECT / "assets" / "cmu_base.safetensors")


def test_the_merge_settings() -> None:
    made = typed(composed("checkpoint=run", name="merge"), MergeConfig)
    assert made == MergeConfig(checkpoint="run")
    assert made.output == "merged_model.pth"


# The environment


@pytest.mark.parametrize(
    ("value", "enabled"),
    [("true", True), ("True", True), ("1", True), ("yes", True), ("false", False), ("0", False), ("no", False)],
)
def test_use_lora(monkeypatch: pytest.MonkeyPatch, value: str, enabled: bool) -> None:
    monkeypatch.setenv("USE_LORA", value)
    assert train().lora.enabled is enabled


def test_lora_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_RANK", "32")
    assert train().lora.rank == 32
    assert train().lora.alpha == 16.0


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_LORA", "false")
    monkeypatch.setenv("LORA_RANK", "32")
    config = train("lora.enabled=true", "lora.rank=4")
    assert config.lora.enabled
    assert config.lora.rank == 4


def test_the_environment_is_not_kept_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_RANK", "32")
    kept = OmegaConf.to_yaml(OmegaConf.structured(train()))
    assert "LORA_RANK" not in kept
    assert "rank: 32" in kept


@pytest.mark.parametrize(("name", "value"), [("USE_LORA", "maybe"), ("LORA_RANK", "abc"), ("LORA_RANK", "2.5")])
def test_a_variable_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    refused([], name, value, {"USE_LORA": "lora.enabled", "LORA_RANK": "lora.rank"}[name])


def test_a_rank_from_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_RANK", "0")
    refused([], "lora.rank=0")


# Mistakes


@pytest.mark.parametrize(
    "override",
    [
        "lora.rank=abc",
        "lora.rank=2.5",
        "lora.rank=null",
        "lora.enabled=perhaps",
        "lora.alpha=much",
        "optimizer.lr=fast",
        "trainer.max_epochs=1.5",
        "data.batch_size=[2]",
        "data.sources=mocap",
        "objective.weights.pose=heavy",
        "seed=abc",
    ],
)
def test_a_wrong_type_stops_at_composition_and_names_the_key(override: str) -> None:
    with pytest.raises(HydraException) as caught:
        composed(override)
    assert override.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize("override", ["lora.rnk=4", "loras.rank=4", "data.sample.clip=3", "extra=1", "trainer.gpus=1"])
def test_an_unknown_key_stops_at_composition(override: str) -> None:
    with pytest.raises(HydraException, match=re.escape(override.partition("=")[0])):
        composed(override)


@pytest.mark.parametrize("override", ["+lora.rnk=4", "+extra=1"])
def test_an_unknown_key_cannot_be_forced_in(override: str) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException), match=re.escape(override[1:].partition("=")[0])):
        train(override)


@pytest.mark.parametrize("override", ["base=enormous", "trainer=abacus", "objective=vague", "experiment=magic"])
def test_an_unknown_choice_is_named_with_the_ones_there_are(override: str) -> None:
    group, _, choice = override.partition("=")
    options = [option for g, option in OPTIONS if g == group] or EXPERIMENTS
    refused([override], f"{group}/{choice}", *options)


def test_an_unknown_target_group_is_named() -> None:
    refused(["lora/targets=[attention,nose]"], "lora/targets/nose")


@pytest.mark.parametrize(
    "override",
    [
        "base.dropout=1",
        "base.d_model=0",
        "base.num_layers=-1",
        "base.input_dim=24",
        "base.pose_output=relative",
        "base.pose_scale=0",
        "lora.rank=0",
        "lora.rank=-8",
        "lora.alpha=0",
        "lora.layers=[]",
        "optimizer.lora_plus_ratio=0",
        "optimizer.lora_plus_ratio=nan",
        "lora.alpha=-1",
        "lora.alpha=nan",
        "lora.alpha=inf",
        "lora.dropout=1",
        "lora.dropout=-0.1",
        "lora.dropout=nan",
        "data.sample.clips=0",
        "data.sample.clips=1000000000",
        "data.num_workers=100000",
        "data.dim=21",
        "data.min_quality=1.1",
        "data.min_quality=nan",
        "data.val_fraction=0",
        "data.test_fraction=1",
        "data.batch_size=0",
        "data.max_frames=2",
        "data.train_clips=0",
        "data.num_workers=-1",
        "data.augment.mirror=1.1",
        "data.augment.swap_sides=-0.1",
        "data.augment.loop=2",
        "data.augment.crop=nan",
        "data.augment.rest_start=-1",
        "data.augment.speed=0.8",
        "data.augment.scale=5",
        "data.augment.shift=-1",
        "data.augment.shift=inf",
        "objective.weights.pose=-1",
        "objective.weights.physics=nan",
        "objective.feed_actions=1.5",
        "objective.drop_text=1.5",
        "objective.input_pace=-0.5",
        "objective.input_noise=-0.1",
        "objective.input_noise=nan",
        "objective.input_drift=-0.1",
        "objective.input_drift=inf",
        "objective.physics_scale=[1,1,1]",
        "objective.physics_scale=[1,1,1,1,1,0]",
        "optimizer.lr=0",
        "optimizer.lr=inf",
        "optimizer.weight_decay=-1",
        "optimizer.warmup_fraction=1",
        "trainer.max_epochs=0",
        "trainer.max_steps=0",
        "trainer.accumulate_grad_batches=0",
        "trainer.gradient_clip_val=-1",
        "trainer.precision=8-bit",
        "trainer.accelerator=xyz",
        "trainer.threads=0",
        "callbacks.checkpoint_every_n_steps=0",
        "callbacks.early_stopping_patience=0",
        "callbacks.monitor=val/beauty",
        "callbacks.show_motion.every_n_epochs=0",
        "callbacks.show_motion.max_share=1.5",
        "callbacks.show_motion.clips=17",
        "callbacks.show_motion.captions=-1",
        "callbacks.show_motion.prompts=[a walk, ' ']",
        "callbacks.show_motion.frames=1",
        "seed=-1",
        "seed=4294967296",
    ],
)
def test_an_impossible_value_is_a_config_error_that_begins_with_the_key(override: str) -> None:
    key, _, value = override.partition("=")
    with pytest.raises(ConfigError) as caught:
        train(override)
    message = str(caught.value)
    assert message.startswith(f"{key}=")
    assert message.endswith("expected")
    assert value.strip("[]").split(",")[0] in message
    assert "\n" not in message


def test_fractions_that_leave_nothing_to_train_on() -> None:
    refused(["data.val_fraction=0.5", "data.test_fraction=0.5"], "data.val_fraction + data.test_fraction=1.0")


def test_an_unknown_condition() -> None:
    refused(["data.conditions=[camera,weather]"], "data.conditions=weather")
    assert train("data.conditions=[camera,partner]").data.conditions == ["camera", "partner"]


def test_the_defaults_of_every_group_are_possible() -> None:
    for kind in (BaseConfig, LoRAConfig, DataConfig, MergeConfig):
        kind()


# What goes together


def test_a_base_is_never_made_up() -> None:
    refused(["base.checkpoint=null"], "base.checkpoint: no base given", "experiment=pretrain")
    refused(["base=medium"], "base.checkpoint: no base given")
    refused(["base.checkpoint=''"], "base.checkpoint: no base given")


def test_from_scratch_and_a_checkpoint_contradict_each_other() -> None:
    refused(["experiment=pretrain", "base.checkpoint=some.pth"], "base.checkpoint=some.pth", "base.from_scratch=true")


def test_adapters_need_a_trained_base() -> None:
    refused(["experiment=pretrain", "lora.enabled=true"], "lora.enabled=true: adapters need a trained base")


def test_settings_of_single_layers() -> None:
    lora = train(
        "+lora.rank_pattern={out_proj: 4, pose_decoder.*: 16}", "+lora.alpha_pattern={out_proj: 2}", "lora.layers=[6,7]"
    ).lora
    assert lora.rank_pattern == {"out_proj": 4, "pose_decoder.*": 16}
    assert (lora.alpha_pattern, lora.layers) == ({"out_proj": 2.0}, [6, 7])
    refused(["+lora.rank_pattern={out_proj: 0}"], "lora.rank_pattern.out_proj=0: a whole number of at least 1 expected")
    refused(["+lora.alpha_pattern={ffn: -1}"], "lora.alpha_pattern.ffn=-1.0: a number above 0 expected")


def test_a_rate_for_b_needs_adapters() -> None:
    assert train("optimizer.lora_plus_ratio=16").optimizer.lora_plus_ratio == 16
    refused(["lora.enabled=false", "optimizer.lora_plus_ratio=16"], "optimizer.lora_plus_ratio=16: is for adapters")


def test_the_defaults_of_adapters_are_the_dataclasss() -> None:
    assert train("lora/targets=[]", "lora.enabled=false").lora == LoRAConfig(enabled=False)
    assert train().lora.settings == LoRASettings()


@pytest.mark.parametrize("override", ["lora.kind=vera", "lora.kind=DoRA"])
def test_a_kind_of_adapter_that_does_not_exist(override: str) -> None:
    refused([override], f"{override}: one of lora, dora, pissa, loha expected")


@pytest.mark.parametrize(("former", "kind"), [(True, "dora"), (False, "lora")])
def test_settings_of_former_versions_are_read(former: bool, kind: str) -> None:
    plain = as_plain(train("lora.rank=3"))
    del plain["lora"]["kind"]
    assert read_saved(plain) == train("lora.rank=3")
    before = {**plain, "lora": {**plain["lora"], "use_dora": former}}
    assert read_saved(before) == train("lora.rank=3", f"lora.kind={kind}")
    assert before["lora"]["use_dora"] is former, "what was given is left as it is"


FORMER = {
    "optimizer": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "objective": {
        "name": "bidirectional",
        "physics_weights": {"mse": 1.0, "gravity": 0.1, "momentum": 0.1, "consistency": 0.2},
    },
    "trainer": {"strategy": "auto", "log_every_n_steps": 1},
    "logger": {"tensorboard": False, "csv": True},
}
"""Keys that are gone, with the values that runs wrote."""


def saved_by_a_former_version() -> dict[str, Any]:
    plain = as_plain(train("objective=bidirectional", "objective.gravity=0"))
    del plain["objective"]["gravity"], plain["logger"]["kinds"]
    for group, values in FORMER.items():
        plain[group].update(copy.deepcopy(values))
    plain["callbacks"]["show_motion"]["given"] = 4
    return plain


def test_settings_that_are_gone_are_read_as_what_they_did() -> None:
    read = read_saved(saved_by_a_former_version())
    assert read == train("objective=bidirectional", "logger=csv")
    assert read.objective.gravity == 0.1


@pytest.mark.parametrize("key", ["optimizer.beta2", "objective.physics_weights.momentum"])
def test_a_value_that_this_version_cannot_use_is_not_forgotten(key: str) -> None:
    plain = saved_by_a_former_version()
    *groups, last = key.split(".")
    group = plain
    for name in groups:
        group = group[name]
    group[last] = 0.5
    with pytest.raises(ConfigError, match=f"{key}=0.5: this version knows"):
        read_saved(plain)


def test_loggers_are_a_list() -> None:
    assert train("logger=tensorboard_csv").logger.kinds == ["tensorboard", "csv"]
    assert train("logger.kinds=[]").logger.kinds == []
    refused(["logger.kinds=[comet]"], "logger.kinds=['comet']: a list of tensorboard, csv, wandb, mlflow")


@pytest.mark.parametrize("changes", [{"use_dora": "yes"}, {"use_dora": True, "kind": "lora"}, {"use_vera": True}])
def test_settings_that_no_version_wrote(changes: dict[str, Any]) -> None:
    plain = as_plain(train())
    del plain["lora"]["kind"]
    plain["lora"].update(changes)
    with pytest.raises(OmegaConfBaseException, match=next(iter(changes))):
        read_saved(plain)
    with pytest.raises(ConfigError, match="the settings of a run expected"):
        read_saved("lora")


def test_adapters_need_targets() -> None:
    refused(["lora/targets=[]"], "lora.targets: empty")
    train("lora/targets=[]", "lora.enabled=false")


def test_a_mandatory_key_is_named_with_the_way_to_give_it() -> None:
    with pytest.raises(ConfigError, match="checkpoint: not set; give it on the command line, as checkpoint=…"):
        typed(composed(name="merge"), MergeConfig)
    with pytest.raises(ConfigError, match="run_dir: not set"):
        typed(
            OmegaConf.structured(TrainConfig(base=BaseConfig(checkpoint="b"), lora=LoRAConfig(enabled=False))),
            TrainConfig,
        )


@pytest.mark.parametrize("override", ["output=merged.bin", "output=merged", "tolerance=0", "tolerance=nan"])
def test_impossible_merge_settings(override: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(override.partition("=")[0])):
        typed(composed("checkpoint=run", override, name="merge"), MergeConfig)


# Typed and plain


def test_typed_gives_the_dataclasses_and_not_containers() -> None:
    config = train("data.sources=[a,b]")
    assert type(config) is TrainConfig
    assert type(config.data) is DataConfig
    assert type(config.data.sources) is list
    assert type(config.lora.targets) is dict


def test_an_untyped_config_is_checked_against_the_schema() -> None:
    plain = OmegaConf.create(as_plain(train("lora.rank=3")))
    assert typed(plain, TrainConfig) == train("lora.rank=3")
    plain.lora.rank = "abc"
    with pytest.raises(OmegaConfBaseException, match="abc"):
        typed(plain, TrainConfig)


def test_plain_settings_go_through_json_and_back() -> None:
    config = train("experiment=quickstart", "data.sources=[a]")
    again = OmegaConf.merge(OmegaConf.structured(TrainConfig), json.loads(json.dumps(as_plain(config))))
    assert typed(again, TrainConfig) == config


def test_setting_keys_are_all_that_can_be_overridden() -> None:
    keys = setting_keys(TrainConfig)
    for key in ("seed", "lora", "lora.rank", "data.sample.clips", "objective.weights.pose", "lora.targets"):
        assert key in keys
    assert len(keys) == len(set(keys))
    assert setting_keys(MergeConfig) == list(MergeConfig.__dataclass_fields__)


def test_conf_and_schema_have_the_same_groups() -> None:
    assert set(as_plain(train())) == set(TrainConfig.__dataclass_fields__)


def test_registering_again_is_harmless() -> None:
    register()
    train()


# Speed of --help


@pytest.mark.parametrize("script", ["train.py", "merge.py"])
def test_help_needs_no_torch(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(PROJECT / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "stickgen.config" in imported
    heavy = {
        "torch",
        "lightning",
        "numpy",
        "rich",
        "matplotlib",
        "stickgen.training",
        "stickgen.export",
        "stickgen.model",
    }
    assert imported & heavy == set()
    assert ("lora/targets: " if script == "train.py" else "tolerance: ") in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_module_itself_imports_no_torch() -> None:
    code = f"import sys; import {config_module.__name__}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_latest_run_may_be_in_a_folder_of_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = ["outputs/lora/2026-01-31_12-00-00", "outputs/grid-sweep/2026-01-31_13-00-00/0", "outputs/sneaky"]
    for age, folder in enumerate(folders):
        Path(folder).mkdir(parents=True)
        settings = Path(folder, "config.yaml")
        settings.touch()
        os.utime(settings, (age, age))
        assert run_to_resume("latest") == folder
