"""The studio's server, on the loopback address."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response

from stickgen.errors import ConfigError
from stickgen.studio.app import blocks, mount, without_links
from stickgen.studio.gate import Gate
from stickgen.studio.studio import Studio

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

    @app.get("/made/{key}/{name}")
    def made(key: str, name: str) -> Response:
        thing = studio.shelf.get(key)
        if thing is None:
            return Response("gone; make it again", 404, media_type="text/plain")
        # A page has a policy of its own inside.
        own = {"content-security-policy": "frame-ancestors 'self'"}
        return Response(thing.content, media_type=thing.kind, headers=own)

    mount(app, blocks(studio))
    return Gate(without_links(app), token)


def serve(studio: Studio, port: int, tell: Callable[[Address], None]) -> None:
    """Answer requests until the process is asked to stop.

    Args:
        studio: what is served.
        port: of the loopback address; 0: a free one.
        tell: is called with the address when the server is ready.

    Raises:
        ConfigError: the port is taken.
    """
    listening = _listen(port)
    address = Address(listening.getsockname()[1], secrets.token_urlsafe(24))
    # The access log would have the token in it.
    config = uvicorn.Config(
        build(studio, address.token), log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)

    async def run() -> None:
        serving = asyncio.ensure_future(server.serve([listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        if server.started:
            tell(address)
        await serving

    with listening, _without_interrupt():
        asyncio.run(run())


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or "0 to 65535 expected"
        raise ConfigError(f"port={port}: {reason}; leave --port out to take a free one") from None
    return listening


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """End in peace at Ctrl-C: uvicorn has closed everything when it raises it again."""
    try:
        yield
    except KeyboardInterrupt:
        return
