"""The studio's server, on the loopback address."""

import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response

from stickgen.errors import ConfigError, StickgenError
from stickgen.studio.app import blocks, mount, without_links
from stickgen.studio.gate import Gate
from stickgen.studio.studio import Studio, line_of

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """Where a studio is.

    Attributes:
        port: of the loopback address.
        token: the secret.
    """

    port: int
    token: str

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/?token={self.token}"


def build(studio: Studio, token: str) -> Gate:
    """Return the application: the page, what it has made, and the gate around both."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    # A page has a policy of its own inside.
    own = {"content-security-policy": "frame-ancestors 'self'"}

    @app.get("/made/{key}/{name}")
    def made(key: str, name: str) -> Response:
        thing = studio.shelf.get(key)
        if thing is None:
            return Response("gone; make it again", 404, media_type="text/plain")
        return Response(thing.content, media_type=thing.kind, headers=own)

    @app.get("/clips/{key}")
    def clips(key: str) -> Response:
        try:
            return Response(studio.files.page(key), media_type="text/html", headers=own)
        except StickgenError as error:
            return Response(line_of(error), 404, media_type="text/plain")

    @app.post("/clips/{key}")
    def change(key: str, asked: dict[str, Any]) -> Response:
        try:
            return Response(studio.files.change(key, asked), media_type="text/plain")
        except (StickgenError, OSError) as error:
            return Response(f"not saved: {line_of(error)}", 400, media_type="text/plain")

    # Gradio's ways to files and to other hosts, which the studio has no use for.
    for path in ("upload", "file={rest:path}", "file/{rest:path}", "proxy={rest:path}"):
        app.add_api_route(f"/gradio_api/{path}", _refused, methods=["GET", "HEAD", "POST"])
    mount(app, blocks(studio))
    return Gate(without_links(app), token)


def _refused() -> Response:
    return Response("the studio takes and gives no files here", 403, media_type="text/plain")


class Server:
    """A studio that can be reached.

    Args:
        studio: what is served.
        port: of the loopback address; 0: a free one.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, studio: Studio, port: int = 0) -> None:
        self._socket = _listen(port)
        self.address = Address(self._socket.getsockname()[1], secrets.token_urlsafe(24))
        # The access log would have the token in it.
        config = uvicorn.Config(
            build(studio, self.address.token),
            log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none",
        )  # fmt: skip
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Answer requests until the process is asked to stop, or :meth:`stop` is called."""
        # uvicorn has closed everything when it raises Ctrl-C again.
        with self._socket, suppress(KeyboardInterrupt):
            self._server.run([self._socket])

    def stop(self) -> None:
        """End soon."""
        self._server.should_exit = True


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # whoever opens the address before the server runs, waits
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or "0 to 65535 expected"
        raise ConfigError(f"port={port}: {reason}; leave --port out to take a free one") from None
    return listening
