"""What a page posts, as it is read: within bounds, as text, each field as it was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from mailauth.portal.forms import KIND, BadForm, Form, TooLong, read


def request(body: bytes, kind: str = KIND, pieces: int = 1) -> Request:
    size = max(1, -(-len(body) // pieces))
    chunks = [body[start : start + size] for start in range(0, len(body), size)] or [b""]

    async def receive():
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}, receive)


async def test_fields_are_read_as_they_were_sent() -> None:
    form = await read(request(b"a=1&a=2&b=%E6%89%8B%E6%9C%BA&c=+x+&d", pieces=7))
    assert form.every("a") == ("1", "2")
    assert form.raw("a") == "2"
    assert form.text("b") == "手机"
    assert (form.raw("c"), form.text("c")) == (" x ", "x")
    assert (form.has("d"), form.raw("d"), form.has("e"), form.raw("e")) == (True, "", False, "")
    assert "手机" not in repr(form)


async def test_text_is_one_printable_line_in_its_composed_form() -> None:
    form = Form({"a": ("e\u0301\u0000\r\n\u202e\u200b x \u3000",)})
    assert form.text("a") == "é x"
    assert Form({"a": ("x" * 300_000,)}).text("a") == "x" * 20_000
    assert Form({"n": (" a \r\n\n b\n",)}).lines("n") == ("a", "b")


@pytest.mark.parametrize("body", [b"a=%ff", b"a=%ed%a0%80", b"\xff", "é".encode(), b"&".join([b"a=1"] * 201)])
async def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(BadForm):
        await read(request(body))


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=x", "application/json"])
async def test_what_is_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(BadForm):
        await read(request(b"a=1", kind))


async def test_what_is_too_long_is_refused_before_it_is_all_there() -> None:
    with pytest.raises(TooLong):
        await read(request(b"a=" + b"x" * 300_000, pieces=1000))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=30), max_size=10), st.integers(1, 9))
def test_whatever_a_browser_sends_comes_back(fields: dict[str, str], pieces: int) -> None:
    import asyncio  # noqa: PLC0415
    from urllib.parse import urlencode  # noqa: PLC0415

    sendable = {name: value for name, value in fields.items() if _is_text(name + value)}
    form = asyncio.run(read(request(urlencode(sendable).encode(), pieces=pieces)))
    assert {name: form.raw(name) for name in sendable} == sendable
    for name in sendable:
        assert form.text(name).translate(dict.fromkeys((0x200C, 0x200D))).isprintable()  # emoji of several people


def _is_text(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)
