r"""A whole run of train.py with PEFT's LoRA, on the base in PyTorch's own operations (plain_base.py).

    python benchmarks/peft_run.py data.path=data/salsa.pt base.dtype=float32 trainer.precision=auto \
        callbacks.show_motion.every_n_epochs=null

Settings are those of train.py, for plain LoRA on one device. Everything else is stickgen's: the data, the losses, the
optimizer, the validations. The adapter is saved as stickgen's own, which computes the same. `pip install peft` first.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from plain_base import plainly_written
from torch import Tensor, nn

from stickgen.adapter_settings import LoRASettings
from stickgen.cli.train import run
from stickgen.lora import match_targets
from stickgen.model import StickFigureTransformer


def inject(
    model: StickFigureTransformer,
    targets: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    *,
    layers: Sequence[int] | None = None,
    **others: Any,
) -> None:
    """Put PEFT's adapters into a base that is written in PyTorch's operations first; arguments as stickgen's own."""
    from peft import LoraConfig, inject_adapter_in_model

    if layers or LoRASettings(rank, alpha, dropout, **others) != LoRASettings(rank, alpha, dropout):
        raise SystemExit("peft_run.py: plain LoRA of one rank and alpha in all layers expected")
    plainly_written(model)
    model.requires_grad_(False)
    chosen = match_targets(model, targets)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen), model)


def state(model: nn.Module) -> dict[str, Tensor]:
    """Return PEFT's factors under stickgen's names."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return {name.replace(".default.weight", ""): value for name, value in trained.items()}


def settings(model: nn.Module) -> LoRASettings:
    """Return the settings of PEFT's adapters."""
    config = next(module.peft_config for module in model.modules() if hasattr(module, "peft_config"))["default"]
    return LoRASettings(config.r, config.lora_alpha, config.lora_dropout)


def main() -> None:
    """Run train.py with PEFT's adapters in the place of stickgen's."""
    setup, fit = (import_module(f"stickgen.training.{name}") for name in ("setup", "fit"))
    vars(setup)["inject_lora_adapters"] = inject
    vars(fit).update(get_lora_state_dict=state, lora_settings=settings)
    run()


if __name__ == "__main__":
    main()
