"""Merge an adapter into its base: ``python merge.py checkpoint=<run | .ckpt | adapter folder> output=merged.pth``."""

from stickgen.cli.merge import run

if __name__ == "__main__":
    run()
