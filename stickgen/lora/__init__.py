"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of any ``nn.Module``'s Linear layers."""

from stickgen.adapter_settings import LoRASettings
from stickgen.lora.adapted import AdaptedLinear, PeftWords
from stickgen.lora.adapters import NamedAdapters
from stickgen.lora.combine import Combination, check_weights, combine_adapters, truncate_adapter
from stickgen.lora.dora import DoRALinear
from stickgen.lora.inject import (
    adapted_layers,
    adapters_disabled,
    detach_lora_adapters,
    inject_lora_adapters,
    lora_settings,
)
from stickgen.lora.kinds import KINDS
from stickgen.lora.layer import LoRALinear
from stickgen.lora.loha import LoHaLinear
from stickgen.lora.merge import merge_lora_weights, unmerge_lora_weights
from stickgen.lora.pissa import PiSSALinear
from stickgen.lora.routing import route
from stickgen.lora.state import WRAPPERS, get_lora_state_dict, load_lora_state_dict
from stickgen.lora.targets import match_targets, module_paths

__all__ = [
    "KINDS",
    "WRAPPERS",
    "AdaptedLinear",
    "Combination",
    "DoRALinear",
    "LoHaLinear",
    "LoRALinear",
    "LoRASettings",
    "NamedAdapters",
    "PeftWords",
    "PiSSALinear",
    "adapted_layers",
    "adapters_disabled",
    "check_weights",
    "combine_adapters",
    "detach_lora_adapters",
    "get_lora_state_dict",
    "inject_lora_adapters",
    "load_lora_state_dict",
    "lora_settings",
    "match_targets",
    "merge_lora_weights",
    "module_paths",
    "route",
    "truncate_adapter",
    "unmerge_lora_weights",
]
