"""Motion to look at and to take elsewhere: pictures, and files of numbers; knows figures, not models."""

from stickgen.render.output import SUFFIXES, check_output, check_panels, save
from stickgen.render.panel import Panel
from stickgen.render.style import THEMES, Style

__all__ = ["SUFFIXES", "THEMES", "Panel", "Style", "check_output", "check_panels", "save"]
