"""Columns of texts as NumPy arrays: a number a row, and the different texts one after the other."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


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
        codes: dict[str, int] = {}
        rows = np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.int32)
        return cls(rows, *_laid_out([text.encode() for text in codes]))

    @classmethod
    def none(cls, count: int) -> "Texts":
        """Return a column of empty texts, which takes no memory."""
        return cls(np.broadcast_to(np.int32(0), count), np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64))

    @classmethod
    def one_after_the_other(cls, parts: "Sequence[tuple[Texts, np.ndarray]]") -> "Texts":
        """Return the chosen rows of several columns; what several of them hold is held several times."""
        begins = np.cumsum([0, *(len(texts.ends) for texts, _ in parts)])
        data = np.cumsum([0, *(len(texts.data) for texts, _ in parts)])
        return cls(
            np.concatenate(
                [texts.codes[rows] + np.int32(at) for (texts, rows), at in zip(parts, begins, strict=False)]
            ),
            np.concatenate([texts.data for texts, _ in parts]),
            np.concatenate([texts.ends + at for (texts, _), at in zip(parts, data, strict=False)]),
        )

    @classmethod
    def joined(cls, parts: "Sequence[tuple[Texts, np.ndarray, Mapping[int, str]]]") -> "Texts":
        """Return the chosen rows of several columns, in which all of one name have one code.

        Args:
            parts: a column, its rows, and texts by code that replace its own.
        """
        codes: dict[bytes, int] = {}
        rows = []
        for texts, chosen, instead in parts:
            used = texts.codes[chosen]
            new = np.zeros(len(texts.ends), dtype=np.int32)
            for code in np.flatnonzero(np.bincount(used, minlength=len(texts.ends))).tolist():
                text = instead[code].encode() if code in instead else texts.encoded(code)
                new[code] = codes.setdefault(text, len(codes))
            rows.append(new[used])
        return cls(np.concatenate(rows), *_laid_out(codes))

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


def _laid_out(texts: Collection[bytes]) -> tuple[np.ndarray, np.ndarray]:
    ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
    return np.frombuffer(b"".join(texts), dtype=np.uint8), ends
