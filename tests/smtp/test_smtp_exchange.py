"""Lines, whole and in pieces."""

from __future__ import annotations

import asyncio

import pytest

from mailauth.smtp.exchange import MAX_SKIPPED_BYTES, LineTooLong, read_line


def reader(*chunks: bytes, limit: int = 10, eof: bool = True) -> asyncio.StreamReader:
    stream = asyncio.StreamReader(limit=limit)
    for chunk in chunks:
        stream.feed_data(chunk)
    if eof:
        stream.feed_eof()
    return stream


async def test_lines_end_with_crlf_only() -> None:
    stream = reader(b"one\r\ntw", b"o\nb\rc\r", b"\n\r\nlast")
    assert [await read_line(stream) for _ in range(3)] == [b"one", b"two\nb\rc", b""]
    with pytest.raises(asyncio.IncompleteReadError):
        await read_line(stream)


@pytest.mark.parametrize("length", [11, 12, 20, 21, 22, 1000])
async def test_a_line_too_long_is_thrown_away_and_the_next_one_read(length: int) -> None:
    stream = reader(b"x" * length + b"\r\nnext\r\n")
    with pytest.raises(LineTooLong) as caught:
        await read_line(stream)
    assert not caught.value.endless
    assert await read_line(stream) == b"next"


async def test_a_line_of_just_the_limit_is_read() -> None:
    assert await read_line(reader(b"x" * 10 + b"\r\n")) == b"x" * 10


async def test_a_line_without_end_is_given_up() -> None:
    stream = reader(b"x" * (MAX_SKIPPED_BYTES + 100), eof=False)
    with pytest.raises(LineTooLong) as caught:
        await read_line(stream)
    assert caught.value.endless
