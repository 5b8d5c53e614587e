"""The built-in sample data set: a stick-figure theatre in NumPy.

Performers with bodies of their own do everyday things in several styles, in ways a body could: bones keep their
length, feet stand still while they carry, and what is in the air falls.
"""

from stickgen.sample.generate import ACTIONS_OF_SAMPLE, SAMPLE_INFO, sample_sequences
from stickgen.sample.styles import STYLES

__all__ = ["ACTIONS_OF_SAMPLE", "SAMPLE_INFO", "STYLES", "sample_sequences"]
