"""Columns of texts as NumPy arrays: a number a row, and the different texts one after the other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, and its bits look random: 2⁶⁴ over the golden ratio."""


def of_one_value(column: np.ndarray) -> np.ndarray:
    """Return a column; where its rows are all alike, as a view of a single one, which takes no memory."""
    alike = len(column) > 1 and bool((column == column[0]).all())
    return np.broadcast_to(column[:1].copy(), column.shape) if alike else column


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of texts. All takes of one name have one code, and so have sources and styles.

    Attributes:
        codes: which text each row has, int32 ``[N]``.
        data: the different texts one after the other, UTF-8 as uint8.
        ends: where each ends in ``data``, int64 ``[texts]``.
    """

    codes: np.ndarray
    data: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Return the column of one text a row."""
        return cls(*_numbered_by_a_dict(text.encode() for text in texts))

    @classmethod
    def none(cls, count: int) -> "Texts":
        """Return a column of empty texts, which takes no memory."""
        return cls(np.broadcast_to(np.int32(0), count), np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64))

    @classmethod
    def joined(cls, parts: "Sequence[tuple[Texts, np.ndarray, Mapping[int, str]]]") -> "Texts":
        """Return the chosen rows of several columns, in which all of one name have one code.

        Args:
            parts: a column, its rows, and texts by code that replace its own.
        """
        used = [texts.codes[rows] for texts, rows, _ in parts]
        chosen = [
            np.flatnonzero(np.bincount(codes, minlength=len(texts.ends)))
            for (texts, _, _), codes in zip(parts, used, strict=True)
        ]
        if any(instead for _, _, instead in parts):
            numbers, data, ends = _numbered_by_a_dict(_replaced(parts, chosen))
        else:
            numbers, data, ends = _numbered(*_gathered(parts, chosen))
        rows = []
        begins = np.cumsum([0, *map(len, chosen)])
        for (texts, _, _), codes, some, begin in zip(parts, used, chosen, begins, strict=False):
            new = np.zeros(len(texts.ends), dtype=np.int32)
            new[some] = numbers[begin : begin + len(some)]
            rows.append(new[codes])
        return cls(of_one_value(np.concatenate(rows)), data, ends)

    def encoded(self, code: int) -> bytes:
        """Return the text of a code in UTF-8."""
        begin = int(self.ends[code - 1]) if code else 0
        return self.data[begin : int(self.ends[code])].tobytes()

    def text(self, code: int) -> str:
        """Return the text of a code."""
        return self.encoded(code).decode()

    def of_row(self, row: int) -> str:
        """Return the text of a row."""
        return self.text(int(self.codes[row]))


class TextsOfParts(Texts):
    """The chosen rows of several columns, whose texts stay where they are; what several of them hold has several codes.

    Args:
        parts: a column and its rows.
    """

    _parts: Sequence[Texts]
    _begins: np.ndarray

    def __init__(self, parts: Sequence[tuple[Texts, np.ndarray]]) -> None:
        begins = np.cumsum([0, *(len(texts.ends) for texts, _ in parts)])
        codes = [texts.codes[rows] + np.int32(begin) for (texts, rows), begin in zip(parts, begins, strict=False)]
        object.__setattr__(self, "codes", np.concatenate(codes))
        object.__setattr__(self, "_parts", [texts for texts, _ in parts])
        object.__setattr__(self, "_begins", begins[:-1])

    @property
    def data(self) -> np.ndarray:
        """Return all texts, copied."""
        return np.concatenate([texts.data for texts in self._parts])

    @property
    def ends(self) -> np.ndarray:
        """Return where each ends in :attr:`data`."""
        data = np.cumsum([0, *(len(texts.data) for texts in self._parts)])
        return np.concatenate([texts.ends + at for texts, at in zip(self._parts, data, strict=False)])

    def encoded(self, code: int) -> bytes:
        """Return the text of a code in UTF-8."""
        part = int(np.searchsorted(self._begins, code, side="right")) - 1
        return self._parts[part].encoded(code - int(self._begins[part]))


Chosen = Sequence[tuple[Texts, np.ndarray, Mapping[int, str]]]


def _numbered_by_a_dict(texts: Iterable[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what :func:`_numbered` does, of texts one by one."""
    codes: dict[bytes, int] = {}
    numbers = np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.int32)
    ends = np.cumsum(np.fromiter(map(len, codes), dtype=np.int64, count=len(codes)))
    return numbers, np.frombuffer(b"".join(codes), dtype=np.uint8), ends


def _replaced(parts: Chosen, chosen: Sequence[np.ndarray]) -> Iterator[bytes]:
    """Yield the chosen texts, or what replaces them."""
    for (texts, _, instead), some in zip(parts, chosen, strict=True):
        for code in some.tolist():
            yield instead[code].encode() if code in instead else texts.encoded(code)


def _gathered(parts: Chosen, chosen: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the chosen texts one after the other, and their lengths."""
    data, lengths = [], []
    for (texts, _, _), some in zip(parts, chosen, strict=True):
        begins = np.where(some > 0, texts.ends[some - 1], 0)
        length = texts.ends[some] - begins
        data.append(texts.data[places_of(begins, length)])
        lengths.append(length)
    return np.concatenate(data), np.concatenate(lengths)


def places_of(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return all places of pieces that begin somewhere, one after the other."""
    begins = begins - np.cumsum(lengths) + lengths
    places = np.repeat(begins, lengths)
    places += np.arange(len(places))
    return places


def _numbered(data: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number texts, equal ones alike, by their first appearance.

    A dict of half a million names would take a second, and more memory than the rest of a table.

    Args:
        data: the texts one after the other.
        lengths: of each.

    Returns:
        the number of each, int32; the different texts one after the other, and where each ends.
    """
    begins = np.cumsum(lengths) - lengths
    sums = np.zeros(len(lengths), dtype=np.uint64)
    left = np.flatnonzero(lengths)
    for at in range(int(lengths.max(initial=0))):
        sums[left] = sums[left] * _FACTOR + data[begins[left] + at] + np.uint64(1)
        left = left[lengths[left] > at + 1]
    _, firsts, of = np.unique(sums, return_index=True, return_inverse=True)
    first = firsts[of]
    alike = np.array_equal(lengths, lengths[first]) and np.array_equal(data, data[places_of(begins[first], lengths)])
    if not alike:  # two different texts of one sum, which hardly ever are
        return _numbered_by_a_dict(data[begin : begin + n].tobytes() for begin, n in zip(begins, lengths, strict=True))
    firsts.sort()
    numbers = np.searchsorted(firsts, first).astype(np.int32)
    return numbers, data[places_of(begins[firsts], lengths[firsts])], np.cumsum(lengths[firsts])
