"""Looking up a command of a page: its program, options and settings, without running it."""

import re
from importlib.metadata import metadata

import typer
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from stickgen.cli import app
from stickgen.config import MergeConfig, TrainConfig, register, typed
from stickgen.errors import StickgenError
from tests.documentation.pages import ROOT, Command


def parse(command: Command) -> str | None:
    """Look up the program, the options and the settings of a command; return what is wrong, or None."""
    if command.kind == "python":
        compile(command.text, command.place, "exec")
        return None
    program, *arguments = command.words
    arguments = [argument for argument in arguments if argument not in ("…", "X")]
    if program.endswith("pip"):
        extras = metadata("stickgen").get_all("Provides-Extra", [])
        unknown = [
            name for part in re.findall(r"\[(.+?)\]", command.text) for name in part.split(",") if name not in extras
        ]
        return f"no such extras: {unknown}" if unknown else None
    if program == "stickgen":
        return _parse_typer(arguments, whole=command.kind != "inline")
    if program in ("train", "merge"):
        return _parse_hydra(program, arguments) if arguments else None
    return None if command.listed else "neither run nor listed in tests/documentation/pages.py"


def _parse_typer(arguments: list[str], *, whole: bool) -> str | None:
    group = typer.main.get_command(app)
    name, *rest = arguments
    if name.startswith("-"):
        return None
    found = group.commands.get(name)  # type: ignore[attr-defined]
    if rest and hasattr(found, "commands"):  # a group of commands
        group, name, *rest = found, *rest
        found = group.commands.get(name)
    if found is None:
        return f"no such command: stickgen {name}"
    try:
        if "--help" not in rest:  # it would be printed
            found.make_context(name, list(rest))
    except typer.BadParameter.__mro__[1] as error:
        incomplete = type(error).__name__ in ("MissingParameter", "BadOptionUsage")  # as sentences may be
        return None if incomplete and not whole else f"stickgen {name}: {error.format_message()}"  # type: ignore[attr-defined]
    return None


def _parse_hydra(program: str, arguments: list[str]) -> str | None:
    register()
    overrides = []
    try:
        for override in OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")]):
            first = next(override.sweep_string_iterator()) if override.is_discrete_sweep() else None
            overrides.append(override.input_line if first is None else f"{override.get_key_element()}={first}")
        overrides = [override for override in overrides if not override.startswith("resume=")]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            composed = compose(program, overrides, return_hydra_config=True)
        with open_dict(composed):
            del composed["hydra"]
            if program == "train":
                composed["run_dir"] = "run"
        typed(composed, TrainConfig if program == "train" else MergeConfig)
    except (HydraException, OmegaConfBaseException, StickgenError) as error:
        return str(error)
    return None
