"""``python -m stickgen.cli``."""

from stickgen.cli import main

main()
