"""Which requests the studio answers: those of the browser that opened the printed address, and no others.

Any page that a browser shows can send requests to a server on the same machine, and a name of another site can be made
to point there (DNS rebinding). So a request needs a secret, the address that was typed, and an origin of its own.
"""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 2**20
"""Of a request. The studio takes no files: it reads the folders that it was started with."""

_TOO_LARGE = f"at most {MOST_BYTES} bytes expected; the studio takes no files"
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
_OWN = (None, "none", "same-origin")
"""Values of Sec-Fetch-Site: of programs that are no browser, of an address that was typed, of the studio's own page."""

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'self'; "
    "form-action 'self'; base-uri 'self'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

# Not a redirect: after one, a browser that came from another page would not send the cookie (SameSite=Strict).
_WELCOME = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    "<title>stickgen studio</title><p>Opening the studio …"
)


class Gate:
    """An ASGI application around another one, which passes on what it may answer.

    Args:
        app: the application.
        token: the secret of the printed address.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._token = token
        # Two studios of one machine share the browser's cookies: ports do not divide them.
        self._cookie = f"stickgen_studio_{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it in one line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if (refusal := _foreign(headers)) is not None:
            await _answer(send, 403, refusal)
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if given is not None and scope["method"] == "GET" and scope["path"] == "/":
            if not self._is_token(given[0]):
                await _answer(send, 403, "wrong token; open the address that this start of stickgen studio printed")
                return
            cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 200, _WELCOME, kind="text/html", further=[(b"set-cookie", cookie.encode())])
            return
        if not self._is_token(_cookie(headers, self._cookie)):
            await _answer(send, 403, "no token; open the address that stickgen studio printed")
            return
        if (refusal := _other_site(headers)) is not None:
            await _answer(send, 403, refusal)
            return
        if not headers.get("content-length", "0").isdigit() or int(headers.get("content-length", 0)) > MOST_BYTES:
            await _answer(send, 413, _TOO_LARGE)
            return
        try:
            await self._app(scope, _limited(receive), _protected(send))
        except TooLargeError:
            await _answer(send, 413, _TOO_LARGE)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())


class TooLargeError(Exception):
    """A request without a stated length has too many bytes."""


def _foreign(headers: dict[str, str]) -> str | None:
    """Return why a request is not addressed to the studio; None where it is."""
    known = _HOST.fullmatch(headers.get("host", ""))
    return None if known else "wrong host; the studio answers at 127.0.0.1 and localhost only"


def _other_site(headers: dict[str, str]) -> str | None:
    """Return why a request comes from another page; None where it does not."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers['host']}":
        return "wrong origin; the studio answers its own page only"
    if headers.get("sec-fetch-site") not in _OWN:
        return "wrong origin; the studio answers its own page only, type its address"
    return None


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _limited(receive: Receive) -> Receive:
    """Return what receives a request, and fails where it gets too long."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BYTES:
            raise TooLargeError
        return message

    return limited


def _protected(send: Send) -> Send:
    """Return what sends an answer with headers that keep the page to itself; an answer's own policy is kept."""

    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message.get("headers", ())}
            ours = (*_HEADERS, (b"content-security-policy", _POLICY.encode()))
            kept = [*message.get("headers", ()), *(one for one in ours if one[0] not in named)]
            message = {**message, "headers": kept}
        await send(message)

    return protected


async def _answer(
    send: Send, status: int, text: str, *, kind: str = "text/plain", further: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = text.encode()
    head = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*head, *_HEADERS, *(further or [])]})
    await send({"type": "http.response.body", "body": body})
