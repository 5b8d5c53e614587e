"""What a page that is handed on says of its models: what they were made from, and under which licences."""

from collections.abc import Sequence
from pathlib import Path

from stickgen import __version__
from stickgen.artifacts.model import LoadedModel
from stickgen.data.file import open_clips
from stickgen.data.licenses import licenses_of
from stickgen.errors import StickgenError

_SHIPPED = "febb5fa19308a5a0bb904880e1438344"
"""Fingerprint of the base that training adapts by default."""

_NOTICE = (
    "MIT licence. Part of the data was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF "
    "EIA-0196217."
)
"""What assets/README.md says of it."""


def credits_of(loaded: Sequence[tuple[str, LoadedModel]], base: LoadedModel, runtime: str) -> list[str]:
    """Return a line about each adapter, one about the base and one about the software, from what their files record.

    Args:
        loaded: label and model.
        base: below the adapters, or the whole model.
        runtime: version of onnxruntime-web.
    """
    adapters = [f"Adapter {label}: {_data_of(one)}" for label, one in loaded if one.adapted]
    trained = base.record.origin.get("data")
    known = f", trained on {Path(trained).name}" if isinstance(trained, str) and trained else ""
    parts = [
        f"Base{'' if base.base_path is None else f' {base.base_path.name}'}:",
        f"{sum(weight.numel() for weight in base.model.parameters()):,} numbers{known}.",
        _NOTICE if base.fingerprint == _SHIPPED else "",
    ]
    software = (
        f"Made with stickgen {__version__} (MIT licence). onnxruntime-web {runtime} (MIT licence) runs the model."
    )
    return [*adapters, " ".join(part for part in parts if part), software]


def _data_of(adapter: LoadedModel) -> str:
    """Return what an adapter was trained on, with the licences that its data file records."""
    if adapter.run is None:
        return "trained with stickgen"
    path = adapter.run.data.path
    if path is None:
        return "trained on motion that stickgen generates"
    try:
        licenses = dict.fromkeys(text for texts in licenses_of(open_clips(Path(path))[1]).values() for text in texts)
    except StickgenError:  # it has been moved since
        licenses = {}
    return f"trained on {Path(path).name}" + (f" ({'; '.join(licenses)})" if licenses else "")
