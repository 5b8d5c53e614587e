"""The kinds of adapters there are."""

from stickgen.lora.adapted import AdaptedLinear
from stickgen.lora.dora import DoRALinear
from stickgen.lora.layer import LoRALinear
from stickgen.lora.loha import LoHaLinear
from stickgen.lora.pissa import PiSSALinear

KINDS: dict[str, type[AdaptedLinear]] = {kind.KIND: kind for kind in (LoRALinear, DoRALinear, PiSSALinear, LoHaLinear)}
"""The layer of every kind, by the name in ``lora.kind``; :data:`stickgen.adapter_settings.KINDS` has their titles."""
