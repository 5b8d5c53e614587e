r"""Contact sheets for judging motion by eye: models in an order that only the key tells.

    python benchmarks/blind_sheets.py base=assets/cmu_base.safetensors sneaky=outputs/sneaky \
        --prompts prompts.txt --out sheets

writes a sheet for every prompt and seed, with the models as A, B, … in another order on each, and key.txt. Give the
sheets to somebody who has not seen the key.
"""

import argparse
import random
from pathlib import Path

import torch

from stickgen.artifacts.model import ModelOptions, load_model
from stickgen.artifacts.model_name import label_and_path
from stickgen.generation import GenerationRequest, until_exploded
from stickgen.generation.generate import generate_with
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel, Style, save
from stickgen.reports.compare import read_prompts


def main() -> None:
    """Write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="label=path of run folders, adapters or bases")
    parser.add_argument("--prompts", type=Path, required=True, help="text file, one prompt a line")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--encoder", help="text encoder, hub id or folder")
    parser.add_argument("--encoder-id", help="id of an encoder that is given as a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the same motion on every machine
    named = [label_and_path(model) for model in args.models]
    loaded = [(label, load_model(Path(path))) for label, path in named]
    prompts = read_prompts(args.prompts)
    args.out.mkdir(parents=True, exist_ok=True)
    key = []
    for seed in args.seeds:
        request = GenerationRequest(prompts, round(args.seconds * FPS), seed=seed)
        made = generate_with(
            loaded, request, ModelOptions(encoder=args.encoder, encoder_id=args.encoder_id), check=False
        )
        for number, prompt in enumerate(prompts):
            row = made[number * len(loaded) : (number + 1) * len(loaded)]
            random.Random(f"{seed} {number}").shuffle(row)
            letters = [chr(ord("A") + place) for place in range(len(row))]
            panels = [
                Panel(until_exploded(motion.motion)[0], letter, prompt)
                for letter, motion in zip(letters, row, strict=True)
            ]
            name = f"prompt_{number + 1:02d}_seed_{seed}.png"
            save(args.out / name, panels, Style(size=200), overwrite=True)
            key.append(f"{name}: " + ", ".join(f"{x} {motion.model}" for x, motion in zip(letters, row, strict=True)))
    (args.out / "key.txt").write_text("\n".join(key) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
