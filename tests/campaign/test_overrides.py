"""Whatever stands on train.py's command line, it makes settings or is refused in one line.

``STICKGEN_CAMPAIGN=nightly`` tries more than two thousand (docs/reliability.md); the counts are printed with ``-s``.
"""

import functools
from collections import Counter
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stickgen.config import PROJECT, TrainConfig, as_plain, register, setting_keys, typed
from stickgen.console import composing
from stickgen.errors import StickgenError
from stickgen.override_errors import override_mistake
from tests.campaign.sizes import NIGHTLY

EXAMPLES = 2200 if NIGHTLY else 40

VALUES = [
    "", "null", "true", "0", "1", "-1", "1.5", "1e-4", "1e400", "nan", "inf", "-inf", "100000", "2147483648",
    "9" * 30, "9" * 500, "'a b'", "[]", "[1,2]", "[a,[b]]", "{}", "{a: 1}", "{a: {b: [c]}}", "???", "${name}",
    "'${oc.env:HOME}'", "${nothing.there}", "${oc.env:NOT_SET}", "${now:%Y}", "'[a'", "x=y", "x y", "…", "auto",
    "bfloat16", "float32", "causal", "cpu", "ddp", "/dev/null", "[[[[[[[[]]]]]]]]", "\\", "'", "{", "]", "@", "1,2",
    "choice(1,2)", "range(3)",
]  # fmt: skip

VALID = [
    "lora.rank=4", "lora.alpha=8", "optimizer.lr=1e-3", "trainer.max_epochs=3", "trainer=cpu", "base=tiny", "seed=3",
    "objective=bidirectional", "experiment=quickstart", "data.batch_size=4", "callbacks.monitor=val/loss", "logger=csv",
    "lora/targets=[attention]", "lora.layers=[1,2]", "+lora.rank_pattern={out_proj: 4}", "base.dtype=auto",
    "data=sample",
]  # fmt: skip
"""What users write; a random word beside it may still be refused."""

KEYS = setting_keys(TrainConfig)
GROUPS = [
    "base",
    "data",
    "objective",
    "optimizer",
    "trainer",
    "callbacks",
    "logger",
    "experiment",
    "lora/targets",
    "lora",
]


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """One to three words of a command line."""
    words = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            words.append(draw(st.sampled_from(VALID)))
            continue
        key = draw(st.sampled_from(KEYS) | st.sampled_from(GROUPS) | st.text("abc._/+~@=", max_size=8))
        value = draw(st.sampled_from(VALUES) | st.text(max_size=8).filter(lambda text: "\x00" not in text))
        words.append(draw(st.sampled_from(("", "", "", "+", "++", "~"))) + f"{key}={value}")
    return words


@functools.wraps(lambda: None)
def _entry() -> None:
    """What stands for train.py's own function, which composing does not reach."""


def outcome(words: list[str]) -> str:
    """Compose and check settings; return whether they were accepted or refused, having checked how."""
    try:
        config: Any = compose("train", overrides=words)
        if OmegaConf.is_missing(config, "run_dir"):
            config.run_dir = "run"
        as_plain(typed(config, TrainConfig))
    except StickgenError as error:
        refusal = str(error)
    except (HydraException, OmegaConfBaseException) as error:
        refusal = override_mistake(error, TrainConfig)  # what the command prints
    except Exception as error:
        if not composing(error, _entry):
            raise
        refusal = override_mistake(error, TrainConfig)
    else:
        return "accepted"
    assert refusal.strip(), words
    return "refused"


@pytest.mark.timeout(3600 if NIGHTLY else 900)
def test_any_command_line_makes_settings_or_is_refused() -> None:
    register()
    counts: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not NIGHTLY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(overrides())
    def make(words: list[str]) -> None:
        counts[outcome(words)] += 1

    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        make()
    assert min(counts["refused"], counts["accepted"]) > 0
    print(f"\nsettings: {counts['refused']} refused, {counts['accepted']} accepted")
