"""The gate around a small application that says what it was asked."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from stickgen.studio.gate import MOST_BYTES, Gate, Message, Receive, Scope, Send

TOKEN = "the-token"
HOST = "127.0.0.1:7860"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Client:
    """What sends requests, with the cookies that it was given."""

    cookies: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: Iterable[bytes] = ()
    ) -> Answer:
        sent: list[Message] = []
        chunks = [*body]
        waiting = [
            {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1}
            for at, chunk in enumerate(chunks or [b""])
        ]

        async def receive() -> Message:
            return waiting.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        parts = urlsplit(target)
        cookie = (
            {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        )
        given = {"host": HOST, **cookie, **(headers or {})}
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "query_string": quote(parts.query, safe="=&%").encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        asyncio.run(Gate(application, TOKEN)(scope, receive, send))
        start, *rest = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        if "set-cookie" in found:
            name, _, value = found["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name] = value
        return Answer(start["status"], found, b"".join(message["body"] for message in rest).decode())


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']} {size}".encode()})


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def known(client: Client) -> Client:
    """A browser that has opened the printed address."""
    client.ask("GET", f"/?token={TOKEN}")
    return client


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/made/a/b", "/clips/a", "/manifest.json"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_is_answered_without_the_token(client: Client, method: str, path: str) -> None:
    answer = client.ask(method, path)
    assert (answer.status, answer.text) == (403, "no token; open the address that stickgen studio printed")


def test_a_wrong_token_is_refused(client: Client) -> None:
    for token in ("", "the-toke", "the-token2", "é"):
        answer = client.ask("GET", f"/?token={token}")
        assert answer.status == 403
        assert "set-cookie" not in answer.headers
    assert client.ask("POST", f"/?token={TOKEN}").status == 403
    assert client.ask("GET", f"/config?token={TOKEN}").status == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(client: Client) -> None:
    answer = client.ask("GET", f"/?token={TOKEN}")
    assert answer.status == 200
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in answer.headers["set-cookie"]
    assert TOKEN not in answer.text
    assert client.ask("GET", "/config").text == "GET /config 0"
    (name,) = client.cookies
    for value in ("", "wrong", f"{TOKEN}x"):
        client.cookies = {name: value}
        assert client.ask("GET", "/config").status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "0.0.0.0:7860", ""])
def test_other_names_of_the_machine_are_refused(known: Client, host: str) -> None:
    for target in ("/config", f"/?token={TOKEN}"):
        answer = known.ask("GET", target, {"host": host})
        assert (answer.status, answer.text[:10]) == (403, "wrong host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:7860"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites_are_refused(known: Client, method: str, headers: dict[str, str]) -> None:
    answer = known.ask(method, "/gradio_api/queue/join", headers)
    assert (answer.status, answer.text[:12]) == (403, "wrong origin")


def test_its_own_page_is_answered(known: Client) -> None:
    for headers in ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        answer = known.ask("POST", "/x", headers, [b"abc"])
        assert answer.text == "POST /x 3"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_requests_are_limited(known: Client) -> None:
    too_large = (413, f"at most {MOST_BYTES} bytes expected; the studio takes no files")
    assert known.ask("POST", "/x", {}, [b"a" * MOST_BYTES]).text == f"POST /x {MOST_BYTES}"
    stated = known.ask("POST", "/x", {"content-length": str(MOST_BYTES + 1)}, [b""])
    streamed = known.ask("POST", "/x", {}, [b"a" * 2**16] * 17)
    nonsense = known.ask("POST", "/x", {"content-length": "x"})
    for answer in (stated, streamed, nonsense):
        assert (answer.status, answer.text) == too_large


def test_websockets_are_refused(known: Client) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Gate(application, TOKEN)({"type": "websocket", "path": "/", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
