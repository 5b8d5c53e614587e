"""The settings of a sweep's jobs: what each was given, and what tells one job from another."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stickgen.config import TrainConfig, setting_keys
from stickgen.files import atomic_write

RECORD_FILE = "multirun.yaml"
"""In a sweep's folder: the settings that its jobs share, and what it varies, as Hydra would write it."""

OVERRIDES_FILE = "overrides.yaml"
"""In a job's folder: what it was given, known also of a job whose settings were refused."""

SEARCHED_BY = "callbacks.trial"
"""The setting that joins a job to its search."""

_WITHOUT_EFFECT = (
    "name", "run_dir", "resume", SEARCHED_BY, "logger", "callbacks.progress_bar", "callbacks.show_motion",
    "callbacks.checkpoint_every_n_steps", "trainer.threads", "trainer.micro_batch",
    "trainer.cache_frozen",
)  # fmt: skip
"""Settings that change no result but for the last digits of sums."""

_KEYS = frozenset(setting_keys(TrainConfig))


def write_overrides(job: Path, overrides: Sequence[str]) -> None:
    """Keep in a job's folder what it was given, as ``key=value``."""
    with atomic_write(job / OVERRIDES_FILE, overwrite=True) as scratch:
        OmegaConf.save(OmegaConf.create(list(overrides)), scratch)


def write_record(folder: Path, config: DictConfig) -> None:
    """Keep in a sweep's folder the settings that its jobs share, and what it varies."""
    with atomic_write(folder / RECORD_FILE, overwrite=True) as scratch:
        OmegaConf.save(config, scratch)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by dotted key; a dictionary whose keys are the user's own, as ``lora.rank_pattern``, is one."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and any(known.startswith(f"{key}.") for known in _KEYS):
            found.update(flat(value, f"{key}."))
        else:
            found[key] = value
    return found


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any], besides: Collection[str] = ()) -> str | None:
    """Return the first dotted key in which two sets of settings differ to an effect; None: their results compare.

    Args:
        ours: settings in groups.
        theirs: likewise.
        besides: keys that may differ.
    """
    one, other = flat(ours), flat(theirs)
    ignored = (*_WITHOUT_EFFECT, *besides)
    for key in [*one, *(key for key in other if key not in one)]:
        if one.get(key) != other.get(key) and not any(key == i or key.startswith(f"{i}.") for i in ignored):
            return key
    return None


def value_of(text: str) -> Any:
    """Return a value as the settings have it: 8 as a number, null as None."""
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index,call-overload]
