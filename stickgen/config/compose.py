"""From Hydra's composition to checked objects, and back to plain values."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from stickgen.config.merge import MergeConfig
from stickgen.config.train import TrainConfig
from stickgen.errors import ConfigError

Config = TypeVar("Config")

_PACKAGE = Path(__file__).resolve().parents[1]

PROJECT = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
"""The folder with conf/ and assets/: the checkout, or the package itself where it was installed from a wheel."""

OUTPUTS = Path("outputs")
"""Runs are below this folder of the working directory, unless Hydra is told otherwise (``conf/hydra/run.yaml``)."""


def register() -> None:
    """Make the schemas known to Hydra, as ``train_schema`` and ``merge_schema``."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="merge_schema", node=MergeConfig)
    # A resumed run writes into its own folder, so Hydra's log goes there too.
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    # An environment variable that is set to nothing counts as not set.
    OmegaConf.register_new_resolver("env_or", lambda name, default: os.environ.get(name) or default, replace=True)
    # What comes with the project is found from any working directory.
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)


def _run_dir(resume: str | None, new: str) -> str:
    """Return the folder Hydra is to write into, before it makes one."""
    if resume is None:
        return new
    folder = run_to_resume(resume)
    if not (Path(folder) / "config.yaml").is_file():
        wrong = "no config.yaml in it" if Path(folder).is_dir() else "no such folder"
        raise ConfigError(f"resume={resume}: {wrong}; name the folder of a training run, or latest")
    return folder


def run_to_resume(resume: str) -> str:
    """Return the folder that ``resume`` names; ``latest`` is the run below outputs/ that was started last.

    Raises:
        ConfigError: there is no run below outputs/.
    """
    if resume != "latest":
        return resume
    # A run writes its settings as it starts, and again as it is resumed.
    settings = [path for runs in ("*", "*/*", "*/*/*") for path in OUTPUTS.glob(f"{runs}/config.yaml")]
    if not settings:
        raise ConfigError(f"resume=latest: no run in {OUTPUTS}/ of this folder; name the folder of a training run")
    return str(max(settings, key=lambda path: path.stat().st_mtime).parent)


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
