import random
from collections.abc import Sequence

import numpy as np
import pytest

from stickgen.data import texts as module
from stickgen.data.texts import Texts, TextsOfParts, of_one_value

NAMES = ("", "a", "ab", "b\0", "ü", *(f"take_{n}" for n in range(9)))
Parts = list[tuple[Texts, np.ndarray]]


@pytest.fixture(params=range(20))
def parts(request: pytest.FixtureRequest) -> Parts:
    """Columns of few names, and rows of them, several times or not at all."""
    draw = random.Random(request.param)
    columns = [Texts.of(draw.choices(NAMES, k=draw.randint(1, 30))) for _ in range(draw.randint(1, 4))]
    return [
        (column, np.array(draw.choices(range(len(column.codes)), k=draw.randint(0, 20)), int)) for column in columns
    ]


def texts_of(parts: Parts) -> list[str]:
    return [column.of_row(int(row)) for column, rows in parts for row in rows]


def read(column: Texts) -> list[str]:
    return [column.of_row(row) for row in range(len(column.codes))]


def join(parts: Parts, instead: Sequence[dict[int, str]] | None = None) -> Texts:
    replaced = instead or [{}] * len(parts)
    return Texts.joined([(column, rows, new) for (column, rows), new in zip(parts, replaced, strict=True)])


def test_joined_columns_have_one_code_for_one_text(parts: Parts) -> None:
    joined = join(parts)
    assert read(joined) == texts_of(parts)
    assert len(joined.ends) == len(set(texts_of(parts)))
    assert joined.codes.dtype == np.int32


def test_the_codes_are_those_of_joining_one_by_one(parts: Parts) -> None:
    # What replaces a text by itself replaces nothing.
    instead = [{0: column.text(0)} for column, _ in parts]
    one, other = join(parts), join(parts, instead)
    for name in ("codes", "data", "ends"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_texts_of_one_sum_are_told_apart(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FACTOR", np.uint64(1))  # "ab" and "ba" are of one sum then, and so on
    names = Texts.of(["ab", "ba", "ab", "c"])
    both = [*parts, (names, np.arange(4))]
    assert read(join(both)) == texts_of(both)


def test_texts_that_stay_in_their_parts_are_read_and_copied_as_one(parts: Parts) -> None:
    column = TextsOfParts(parts)
    assert read(column) == texts_of(parts)
    assert read(Texts(column.codes, column.data, column.ends)) == texts_of(parts)


def test_a_text_may_be_replaced(parts: Parts) -> None:
    column = Texts.of(["#0", "walk", "#0"])
    joined = join([*parts, (column, np.arange(3))], [*({} for _ in parts), {0: "#17"}])
    assert read(joined)[-3:] == ["#17", "walk", "#17"]


def test_a_column_of_one_value_takes_no_memory() -> None:
    column = of_one_value(np.array([7, 7, 7]))
    assert column.strides == (0,)
    assert column.tolist() == [7, 7, 7]
    assert of_one_value(np.array([7, 7, 8])).strides != (0,)
    assert of_one_value(np.array([], int)).tolist() == []
