"""Overwrites a file in place, as nothing of stickgen's does."""

from pathlib import Path

Path("scores.json").write_text('{"new": 1}')
