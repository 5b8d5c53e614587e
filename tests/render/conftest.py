import numpy as np
import pytest


@pytest.fixture
def spread() -> np.ndarray:
    """Twelve frames of a figure whose five limbs go five ways, gliding to the right."""
    neck, pelvis = (0.0, 0.77), (0.0, 0.466)
    pose = [*neck, *pelvis, *pelvis, -0.3, 0.0, *pelvis, 0.3, 0.0, *neck, -0.35, 0.6, *neck, 0.35, 0.6]
    motion = np.tile(np.array(pose), (12, 1))
    motion[:, 0::2] += 0.05 * np.arange(12)[:, None]
    return motion
