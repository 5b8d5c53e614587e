"""Fine-tune a base with LoRA adapters: ``python train.py lora.rank=8``; settings: ``python train.py --help``."""

from stickgen.cli.train import run

if __name__ == "__main__":
    run()
