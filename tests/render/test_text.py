import pytest

from stickgen.render.text import wrap

LONG = "a tired person walks forward and then sits down on the floor for a while"


def test_short_texts_stay() -> None:
    assert wrap("a walk", 14, 300) == ["a walk"]
    assert wrap("", 14, 300) == []


def test_long_texts_are_wrapped_and_cut() -> None:
    lines = wrap(LONG, 14, 200, lines=9)
    assert " ".join(lines) == LONG
    assert 2 < len(lines) < 9
    two = wrap(LONG, 14, 200, lines=2)
    assert len(two) == 2
    assert two[0] == lines[0]
    assert two[1].endswith("…")
    assert two[1][:-1].rstrip() in LONG


def test_of_paths_the_end_is_kept() -> None:
    (line,) = wrap("/a/very/long/way/to/a/folder/of/runs/salsa", 14, 120, keep_end=True)
    assert line.startswith("…")
    assert line.endswith("/salsa")


def test_nothing_fits() -> None:
    assert wrap("walk", 14, 1) == ["…"]


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a walk – slow", "a walk - slow"),
        ("Céline läuft 3 × schnell…", "Celine lauft 3 x schnell…"),
        ("“quoted” it’s", "“quoted” it’s"),
        ("smørrebrød, Łódź, Straße", "smorrebrod, Lodz, Strasse"),
        ("走る 🏃", "?? ?"),
    ],
)
def test_what_the_font_lacks_is_written_otherwise(text: str, drawn: str) -> None:
    assert wrap(text, 14, 500) == [drawn]
