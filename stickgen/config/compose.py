"""From Hydra's composition to checked objects, and back to plain values."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from stickgen.config.merge import MergeConfig
from stickgen.config.train import TrainConfig
from stickgen.errors import ConfigError

Config = TypeVar("Config")

PROJECT = Path(__file__).resolve().parents[2]
"""The project's folder, with conf/ and assets/."""


def register() -> None:
    """Make the schemas known to Hydra, as ``train_schema`` and ``merge_schema``."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="merge_schema", node=MergeConfig)
    # A resumed run writes into its own folder, so Hydra's log goes there too.
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    # An environment variable that is set to nothing counts as not set.
    OmegaConf.register_new_resolver("env_or", lambda name, default: os.environ.get(name) or default, replace=True)
    # Hydra looks for plugins in packages of the name hydra_plugins, here and in the processes that a launcher starts.
    if (plugins := str(PROJECT / "stickgen" / "sweeps" / "plugins")) not in sys.path:
        sys.path.append(plugins)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), plugins)))
    # What comes with the project is found from any working directory.
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)


def _run_dir(resume: str | None, new: str) -> str:
    """Return the folder Hydra is to write into, before it makes one."""
    if resume is None:
        return new
    if not (Path(resume) / "config.yaml").is_file():
        raise ConfigError(f"resume={resume}: no config.yaml in it; the folder of a training run expected")
    return resume


def typed(config: DictConfig, kind: type[Config]) -> Config:
    """Resolve a composed configuration and check its values.

    Raises:
        ConfigError: a mandatory key is missing, or a value is impossible; the message begins with the key.
        OmegaConfBaseException: a key is unknown, or a value has the wrong type.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{missing[0]}: not set; give it on the command line, as {missing[0]}=…")
    # Through plain values: Hydra lets `+lora.rnk=4` add a key that the schema does not have, a fresh schema does not.
    plain = OmegaConf.to_container(config, resolve=True)
    return cast("Config", OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), plain)))


def setting_keys(schema: type) -> list[str]:
    """Return the dotted keys of a schema, groups included."""

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for name in node:
            yield f"{prefix}{name}"
            if isinstance(child := node._get_node(name), DictConfig):
                yield from walk(child, f"{prefix}{name}.")

    return list(walk(OmegaConf.structured(schema), ""))


def as_plain(config: Any) -> dict[str, Any]:
    """Return a configuration object as plain dicts, lists, strings and numbers."""
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.structured(config), resolve=True))
