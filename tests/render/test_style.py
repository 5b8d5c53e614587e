import numpy as np
import pytest

from stickgen.errors import ConfigError
from stickgen.render.style import THEMES, Colour, Style

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009),
# severity 1, on linear RGB.
_DEFICIENT = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour: Colour) -> np.ndarray:
    c = np.array(colour) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: Colour, b: Colour) -> float:
    """Contrast ratio of WCAG 2."""
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("name", THEMES)
def test_everything_stands_out_from_the_background(name: str) -> None:
    theme = THEMES[name]
    limbs = [theme.of_limb(limb) for limb in ("left_arm", "left_leg", "right_arm", "right_leg")]
    for colour in (*limbs, *theme.bodies, theme.ground):
        assert contrast(colour, theme.background) >= 3  # WCAG 2.1, 1.4.11: graphical objects
    assert contrast(theme.text, theme.background) >= 7


@pytest.mark.parametrize("deficiency", _DEFICIENT)
@pytest.mark.parametrize("name", THEMES)
def test_left_and_right_differ_for_colour_blind_eyes(name: str, deficiency: str) -> None:
    matrix = np.array(_DEFICIENT[deficiency])
    for limb in ("arm", "leg"):
        left, right = (lab(matrix @ linear(THEMES[name].of_limb(f"{side}_{limb}"))) for side in ("left", "right"))
        assert np.linalg.norm(left - right) > 40  # about 2 is just noticeable


@pytest.mark.parametrize("name", THEMES)
def test_the_palette_has_every_colour_itself(name: str) -> None:
    theme = THEMES[name]
    palette = theme.palette()
    assert len(palette) <= 3 * 256
    entries = {tuple(palette[i : i + 3]) for i in range(0, len(palette), 3)}
    assert {theme.background, theme.ground, theme.text, theme.left_arm, theme.right_leg, *theme.bodies} <= entries


def test_fading_goes_to_the_background() -> None:
    theme = THEMES["dark"]
    assert theme.faded(theme.left_arm, 1.0) == theme.left_arm
    assert theme.faded(theme.left_arm, 0.0) == theme.background


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"theme": "pink"}, "theme=pink: light or dark expected"),
        ({"camera": "drone"}, "camera=drone"),
        ({"trail": -1.0}, "trail=-1.0"),
        ({"trail": float("nan")}, "trail=nan"),
        ({"size": 0}, "size=0"),
        ({"size": 100_000}, "size=100000"),
        ({"sheet": 0}, "sheet=0"),
    ],
)
def test_impossible_styles_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Style(**wrong)  # type: ignore[arg-type]
