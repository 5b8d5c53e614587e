"""The gate around a small application that says what it was asked."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from stickgen.studio.gate import MOST_BYTES, Gate, Receive, Scope, Send

TOKEN = "the-token"
HOST = "127.0.0.1:7860"


@pytest.fixture
def client() -> Iterator[TestClient]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']} {size}".encode()})

    with TestClient(Gate(app, TOKEN), base_url=f"http://{HOST}", follow_redirects=False) as opened:  # type: ignore[arg-type]
        yield opened


@pytest.fixture
def known(client: TestClient) -> TestClient:
    """A browser that has opened the printed address."""
    client.get(f"/?token={TOKEN}")
    return client


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/made/a/b", "/clips/a", "/manifest.json"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_is_answered_without_the_token(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 403
    assert method == "HEAD" or answer.text == "no token; open the address that stickgen studio printed"


def test_a_wrong_token_is_refused(client: TestClient) -> None:
    for token in ("", "the-toke", "the-token2", "é"):
        answer = client.get("/", params={"token": token})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    assert client.post(f"/?token={TOKEN}").status_code == 403
    assert client.get(f"/config?token={TOKEN}").status_code == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(client: TestClient) -> None:
    answer = client.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    assert TOKEN not in answer.text
    assert client.get("/config").text == "GET /config 0"
    name = cookie.partition("=")[0]
    client.cookies.clear()
    for value in ("", "wrong", f"{TOKEN}x"):
        assert client.get("/config", headers={"cookie": f"{name}={value}"}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "0.0.0.0:7860", ""])
def test_other_names_of_the_machine_are_refused(known: TestClient, host: str) -> None:
    answer = known.get("/config", headers={"host": host})
    assert (answer.status_code, answer.text[:10]) == (403, "wrong host")
    assert known.get(f"/?token={TOKEN}", headers={"host": host}).status_code == 403


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
def test_other_sites_are_refused(known: TestClient, method: str, headers: dict[str, str]) -> None:
    answer = known.request(method, "/gradio_api/queue/join", headers=headers)
    assert (answer.status_code, answer.text[:12]) == (403, "wrong origin")


def test_its_own_page_is_answered(known: TestClient) -> None:
    for headers in ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        answer = known.post("/x", content=b"abc", headers=headers)
        assert answer.text == "POST /x 3"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_requests_are_limited(known: TestClient) -> None:
    assert known.post("/x", content=b"a" * MOST_BYTES).text == f"POST /x {MOST_BYTES}"
    answer = known.post("/x", content=b"a" * (MOST_BYTES + 1))
    assert (answer.status_code, answer.text) == (413, f"at most {MOST_BYTES} bytes expected; the studio takes no files")

    def endless() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 1000 + 2):
            yield b"a" * 1000

    answer = known.post("/x", content=endless())
    assert answer.status_code == 413
    assert known.post("/x", headers={"content-length": "x"}).status_code == 413


def test_websockets_are_refused(known: TestClient) -> None:
    with pytest.raises(Exception, match="1008|close"), known.websocket_connect("/ws"):
        pass
