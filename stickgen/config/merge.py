"""Settings of a merge."""

from dataclasses import dataclass, field
from typing import Any

from stickgen.config.checks import check


@dataclass
class MergeConfig:
    """Settings of merge.py."""

    checkpoint: Any = "???"
    """A run folder, a .ckpt of one, or an adapter; or a list of them, which are merged together."""
    output: str = "merged_model.pth"
    """The merged model: .pth (a bare state dict that contains its settings), .safetensors or .onnx."""
    base_checkpoint: str | None = None
    """The base's file; null: as recorded by the run or the adapter."""
    allow_other_base: bool = False
    """Merge even into a base that the adapter was not trained on."""
    weights: list[float] = field(default_factory=list)
    """What each adapter's update is multiplied by; empty: equal shares of one."""
    save_dtype: str = "float32"
    """Width in which weights are stored: float32, float16 or bfloat16; an .onnx has float32."""
    data: str | None = None
    """A data file to verify on; null: the run's own, else the built-in sample motion."""
    tolerance: float = 1e-4
    """Largest difference allowed between merged and unmerged outputs."""
    overwrite: bool = False
    """Replace an existing output."""

    def __post_init__(self) -> None:
        check("tolerance", self.tolerance, self.tolerance > 0, "a number above 0")
        given = self.checkpoint
        good = isinstance(given, str) or (isinstance(given, list) and given and all(isinstance(p, str) for p in given))
        check("checkpoint", given, bool(good), "a path, or a list of paths,")
        suffixes = (".pth", ".safetensors", ".onnx")
        check("output", self.output, self.output.endswith(suffixes), "a name ending in .pth, .safetensors or .onnx")
        widths = ("float32",) if self.output.endswith(".onnx") else ("float32", "float16", "bfloat16")
        alone = " for an .onnx" if len(widths) == 1 else ""
        check("save_dtype", self.save_dtype, self.save_dtype in widths, " or ".join(widths) + alone)

    @property
    def sources(self) -> list[str]:
        """The adapters to merge, at least one."""
        return [self.checkpoint] if isinstance(self.checkpoint, str) else list(self.checkpoint)
