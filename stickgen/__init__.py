"""LoRA fine-tuning of a frozen text-to-stick-figure motion transformer."""

__version__ = "0.1.0"
