"""Motion to look at and to take elsewhere: pictures, and files of numbers; knows figures, not models."""

from stickgen.render.forms import FORMS, form_of
from stickgen.render.output import check_output, check_panels, save
from stickgen.render.panel import Panel
from stickgen.render.style import THEMES, Style

__all__ = ["FORMS", "THEMES", "Panel", "Style", "check_output", "check_panels", "form_of", "save"]
