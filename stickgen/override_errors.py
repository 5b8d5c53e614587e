"""What is wrong with a setting on the command line, in one line."""

import difflib
import os
import re

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from stickgen.config import PROJECT, REPLACED, MergeConfig, setting_keys
from stickgen.errors import StickgenError

_EXPECTED = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}
"""OmegaConf's names of types, as messages have them."""


def override_mistake(error: Exception, schema: type) -> str:
    """Return one line about an override that Hydra or OmegaConf refused: the override, what is wrong, the way out.

    Args:
        error: what was raised.
        schema: the dataclass of the settings, to look for the key that a mistyped one was meant to be.
    """
    cause: BaseException | None = error
    while cause is not None:  # a check of ours that ran inside an interpolation
        if isinstance(cause, StickgenError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, schema)
    message = str(error).partition("Config search path")[0]
    if not isinstance(error, HydraException | OmegaConfBaseException):
        message = f"the overrides make no settings: {message.splitlines()[0] if message else type(error).__name__}"
    reason = str(error.__cause__ or "")
    return (
        _unknown_key(message, schema)
        or _not_installed(message)
        or _unknown_choice(message)
        or _wrong_type(message, reason)
        or f"{message.strip()}{f': {reason.splitlines()[0]}' if reason else ''} (--help lists the settings)"
    )


def _unreadable(override: str, schema: type) -> str:
    if "=" in override:
        return f"{override}: cannot be read; quote a value with special characters twice, as 'key=\"value\"'"
    if override in setting_keys(schema):
        return f"{override}: has no value; give it as {override}=…"
    keys = ["checkpoint"] if schema is MergeConfig else ["base.checkpoint", "data.path", "resume"]
    shown = " or ".join(f"{key}={override}" for key in keys)
    return f"{override}: not a setting; settings are given as key=value, such as {shown}"


def _unknown_key(message: str, schema: type) -> str | None:
    mistyped = re.match(r"Could not override '([^']+)'", message)
    if mistyped is None:
        return None
    key = mistyped[1]
    if key in setting_keys(schema):  # a dictionary, which Hydra takes for closed
        return f"{key}: begin with a + to add keys to it, as '+{key}=…'"
    if key in REPLACED:
        return f"{key}: no such setting any more; write {REPLACED[key]}"
    near = difflib.get_close_matches(key, setting_keys(schema), n=1)
    return f"{key}: no such setting; {f'did you mean {near[0]}?' if near else '--help lists them'}"


def _not_installed(message: str) -> str | None:
    plugin = re.match(r".*Could not find 'hydra/(launcher|sweeper)/(\w+)'", message)
    if plugin is None:
        return None
    install = "'stickgen[ray]'" if plugin[2].startswith("ray") else "'stickgen[sweep]'"
    return f"hydra/{plugin[1]}={plugin[2]}: no such {plugin[1]} installed; pip install {install} brings conf's own"


def _unknown_choice(message: str) -> str | None:
    """Of several choices in a list, Hydra lists no options, so they are looked up."""
    asked = re.match(r".*Could not (?:find|load) '([^']+)/([^'/]+)'", message)
    if asked is None:
        return None
    group, choice = asked[1], asked[2]
    options = re.findall(r"^\t(\S+)$", message, re.MULTILINE)
    options = options or sorted(path.stem for path in (PROJECT / "conf" / group).glob("*.yaml"))
    if not options:
        return None
    near = difflib.get_close_matches(choice, options, n=1)
    hint = f"did you mean {near[0]}? Choose" if near else "choose"
    return f"{group}={choice}: no such choice; {hint} from {', '.join(options)}"


def _wrong_type(message: str, reason: str) -> str | None:
    text = f"{message}\n{reason}"
    kind = re.search(r"could not be converted to (Integer|Float)|is not a valid (bool)", text)
    if kind is None:
        return None
    expected = _EXPECTED[kind[1] or kind[2]]
    variable, key = re.search(r"\$\{env_or:(\w+),", text), re.search(r"full_key: (\S+)", text)
    if variable and key:
        value = os.environ.get(variable[1], "")
        return f"{variable[1]}={value}: {expected} expected; this environment variable sets {key[1]}"
    given = re.fullmatch(r"Error merging override (\S.*)", message.strip())
    return f"{given[1]}: {expected} expected" if given else None
