"""How much the campaign tries."""

import os

NIGHTLY = os.environ.get("STICKGEN_CAMPAIGN") == "nightly"
"""Whether it runs at its full size (docs/reliability.md), and not at that of an ordinary test."""
