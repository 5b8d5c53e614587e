"""A whole run of train.py with PEFT's LoRA, on the base in PyTorch's own operations (plain_base.py).

    python benchmarks/peft_run.py data.path=data/salsa.pt base.dtype=float32 trainer.precision=auto

Settings are those of train.py, for plain LoRA with one rank. Everything else is stickgen's: the data, the losses, the
optimizer, the validations. The adapter is saved as stickgen's own, which computes the same. `pip install peft` first.
"""

from collections.abc import Sequence
from importlib import import_module

from peft import LoraConfig, inject_adapter_in_model
from plain_base import plainly_written
from torch import Tensor

from stickgen.adapter_settings import LoRASettings
from stickgen.cli.train import run
from stickgen.lora import match_targets
from stickgen.model import StickFigureTransformer
from stickgen.training import setup

fit = import_module("stickgen.training.fit")  # the package has a function of that name
_settings: LoRASettings


def _inject(
    model: StickFigureTransformer,
    targets: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    *,
    layers: Sequence[int] | None = None,
    **others: object,
) -> None:
    global _settings
    if layers or others.get("kind", "lora") != "lora" or others.get("rank_pattern"):
        raise SystemExit("peft_run.py: plain LoRA of one rank in all layers expected")
    _settings = LoRASettings(rank, alpha, dropout)
    plainly_written(model)
    model.requires_grad_(False)
    chosen = match_targets(model, targets)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen), model)


def _state(model: StickFigureTransformer) -> dict[str, Tensor]:
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return {name.replace(".default.weight", ""): value for name, value in state.items()}


setup.inject_lora_adapters = _inject  # type: ignore[assignment]
fit.get_lora_state_dict = _state
fit.lora_settings = lambda model: _settings

if __name__ == "__main__":
    run()
