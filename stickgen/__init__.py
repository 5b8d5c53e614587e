"""LoRA fine-tuning of a frozen text-to-stick-figure motion transformer."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stickgen.library import Model, Motion, fit, load

__version__ = "0.1.0"

__all__ = ["Model", "Motion", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Import the library's names when they are first used: ``import stickgen`` alone needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("stickgen.library"), name)
