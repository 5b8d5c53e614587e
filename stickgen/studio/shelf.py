"""What the studio has made and the browser may fetch: pages, pictures and files, the last few of each."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

_MOST = 24
"""Things that are kept; older ones go, so that the memory does not grow. A page refers to a handful."""

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Thing:
    """Something to fetch.

    Attributes:
        name: of the file; its end gives the kind.
        content: the bytes.
    """

    name: str
    content: bytes

    @property
    def kind(self) -> str:
        """The media type."""
        return _KINDS.get(PurePath(self.name).suffix.lower(), "application/octet-stream")


class Shelf:
    """The things, by a name that nobody can guess."""

    def __init__(self) -> None:
        self._things: OrderedDict[str, Thing] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, name: str, content: bytes | str) -> str:
        """Keep a thing and return its address in the studio."""
        key = secrets.token_urlsafe(12)
        thing = Thing(name, content.encode() if isinstance(content, str) else content)
        with self._lock:
            self._things[key] = thing
            while len(self._things) > _MOST:
                self._things.popitem(last=False)
        return f"/made/{key}/{quote(name)}"

    def get(self, key: str) -> Thing | None:
        """Return a thing; None where it has gone."""
        with self._lock:
            return self._things.get(key)
