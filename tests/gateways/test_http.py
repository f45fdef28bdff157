from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
import trustme

from mailauth.factors.fetch import MAX_ANSWER_BYTES, Answer, Request
from mailauth.gateways.http import Http

GET = Request("GET", "https://api.example.org/x", (("secret", "s3cr3t-in-the-url"),))
REPEATABLE = Request("POST", "https://api.example.org/x", repeatable=True)
ONCE = Request("POST", "https://api.example.org/x", body=b"s3cr3t-in-the-body", headers=(("Authorization", "s3cr3t"),))


class Wire(httpx2.AsyncBaseTransport):
    """A network that does what the next item says: raises, or answers."""

    def __init__(self, *happenings: Exception | httpx2.Response | Callable[[], Any]) -> None:
        self.happenings = list(happenings)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        happening = self.happenings.pop(0)
        if isinstance(happening, Exception):
            raise happening
        return happening if isinstance(happening, httpx2.Response) else await happening()


async def send(wire: Wire, request: Request = GET, **settings: Any) -> Answer | None:
    async with Http(transport=wire, **settings) as http:
        return await http.send(request)


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(body))


async def test_a_request_goes_out_as_it_was_made() -> None:
    wire = Wire(answer(201, b'{"a": 1}'))
    request = Request(
        "POST", "https://api.example.org:8443/p", (("q", "a b+c/é&="), ("r", "")), (("X-One", "1"),), b"body"
    )
    assert await send(wire, request) == Answer(201, b'{"a": 1}')
    (sent,) = wire.requests
    assert (sent.method, str(sent.url)) == ("POST", "https://api.example.org:8443/p?q=a%20b%2Bc%2F%C3%A9%26%3D&r=")
    assert (sent.headers["X-One"], sent.headers["User-Agent"], sent.headers["Host"]) == ("1", "mailauth", request.host)
    assert sent.content == b"body"
    assert sent.headers["Accept-Encoding"] == "identity"


async def test_what_surely_did_nothing_is_tried_once_more() -> None:
    for fault in (httpx2.ConnectError("x"), httpx2.ConnectTimeout("x")):
        wire = Wire(fault, answer())
        assert await send(wire, ONCE) == Answer(200, b"{}")
        wire = Wire(fault, fault, answer())
        assert await send(wire, ONCE) is None
        assert len(wire.requests) == 2


@pytest.mark.parametrize("fault", [httpx2.ReadTimeout("x"), httpx2.ReadError("x"), httpx2.RemoteProtocolError("x")])
async def test_what_may_have_happened_is_tried_again_only_if_it_does_no_harm(fault: Exception) -> None:
    wire = Wire(fault, answer())
    assert await send(wire, ONCE) is None
    assert len(wire.requests) == 1
    wire = Wire(fault, answer())
    assert await send(wire, REPEATABLE) == Answer(200, b"{}")
    wire = Wire(fault, fault, answer())
    assert await send(wire, REPEATABLE) is None
    assert len(wire.requests) == 2


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_passing_status_is_tried_again_once(status: int) -> None:
    wire = Wire(answer(status), answer())
    assert await send(wire, REPEATABLE) == Answer(200, b"{}")
    wire = Wire(answer(status), answer(status), answer())
    assert await send(wire, REPEATABLE) == Answer(status, b"{}")
    wire = Wire(answer(status), answer())
    assert await send(wire, ONCE) == Answer(status, b"{}")
    wire = Wire(answer(status, **{"Retry-After": "7"}), answer())
    assert await send(wire, REPEATABLE) == Answer(status, b"{}", 7.0)  # the server asks for time, and gets it


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_any_other_status_is_an_answer(status: int) -> None:
    wire = Wire(answer(status), answer())
    assert await send(wire, REPEATABLE) == Answer(status, b"{}")
    assert len(wire.requests) == 1


async def test_no_redirect_is_followed() -> None:
    wire = Wire(answer(302, Location="https://evil.example/"), answer())
    assert await send(wire) == Answer(302, b"{}")
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999", 3600.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
        ("²", None),
        ("", None),
        ("1" * 50, None),
    ],
)
async def test_how_long_to_wait_is_read_and_bounded(text: str, wait_s: float | None) -> None:
    found = await send(
        Wire(httpx2.Response(429, headers=[(b"Retry-After", text.encode())], stream=httpx2.ByteStream(b"")))
    )
    assert found == Answer(429, b"", wait_s)


async def test_an_answer_without_end_is_none() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    wire = Wire(httpx2.Response(200, content=endless()))
    assert await send(wire) is None
    wire = Wire(answer(200, b"x" * MAX_ANSWER_BYTES))
    whole = await send(wire)
    assert whole is not None
    assert len(whole.body) == MAX_ANSWER_BYTES


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """It was not asked for, and 64 KiB of it could be 64 MiB."""
    wire = Wire(httpx2.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(b"\x1f\x8b\x08")))
    assert await send(wire) == Answer(200, b"\x1f\x8b\x08")


async def test_all_of_it_has_one_deadline() -> None:
    never = asyncio.Event()

    async def hang() -> httpx2.Response:
        await never.wait()
        raise AssertionError

    assert await send(Wire(hang), REPEATABLE, timeout_s=0.05) is None


async def test_a_cancelled_request_stays_cancelled() -> None:
    begun = asyncio.Event()

    async def hang() -> httpx2.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    waiting = asyncio.create_task(send(Wire(hang)))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("url", ["https://", "https://\x00/", "gopher://example.org/x"])
async def test_a_url_that_is_none_is_no_answer(url: str) -> None:
    async with Http() as http:
        assert await http.send(Request("GET", url)) is None


async def test_no_log_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await send(Wire(answer()))
    await send(Wire(httpx2.ReadTimeout("https://api.example.org/x?secret=s3cr3t-in-the-url"), answer()), ONCE)
    await send(Wire(httpx2.ConnectError("s3cr3t"), httpx2.ConnectError("s3cr3t")))
    assert "s3cr3t" not in caplog.text
    assert "api.example.org: no answer: ReadTimeout" in caplog.text


async def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    http = Http()
    assert not http._client._mounts
    await http.close()
    http = Http(proxy="http://proxy.example.org:3128")
    assert http._client._mounts
    await http.close()


async def test_a_certificate_that_nobody_vouches_for_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    served = []

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(reader)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, Http() as http:
        assert await http.send(Request("GET", f"https://localhost:{port}/x")) is None
    assert served == []
    assert "ConnectError" in caplog.text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1]", {}),
        (b"", {}),
        (b"{", {}),
        (b"\xff\xfe", {}),
        (b"[" * 60_000, {}),
        (b'"a"', {}),
    ],
)
def test_a_body_is_a_json_object_or_nothing(body: bytes, fields: dict[str, Any]) -> None:
    assert Answer(200, body).fields() == fields


def test_a_request_and_an_answer_show_nothing_secret() -> None:
    assert "s3cr3t" not in repr([GET, ONCE, Answer(200, b"s3cr3t")])
