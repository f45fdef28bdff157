import asyncio
import socket

import pytest

from mailauth.dialogue import Ending
from mailauth.mailbox import wire as wire_module
from mailauth.mailbox.wire import LineTooLong, Silence, Wire, talk_until


@pytest.fixture
async def ends():
    """A Wire, and the client's streams."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reader, writer = await asyncio.open_connection(sock=ours)
    client = await asyncio.open_connection(sock=theirs, limit=2**24)
    yield Wire(reader, writer, idle_s=5.0), *client
    for each in (writer, client[1]):
        each.close()


async def test_lines_and_octets_come_as_they_were_sent(ends):
    wire, _, client = ends
    client.write(b"one\r\ntwo\n12345three")
    client.write_eof()
    assert await wire.line() == b"one\r\n"
    assert await wire.line() == b"two\n"
    assert await wire.octets(5) == b"12345"
    assert await wire.octets(0) == b""
    assert await wire.line() == b""  # cut short is gone
    assert await wire.octets(1) == b""


async def test_a_line_without_an_end_is_too_long_some_time(ends):
    wire, _, client = ends
    client.write(b"x" * 200_000)
    with pytest.raises(LineTooLong):
        await wire.line()


async def test_silence_has_a_limit(ends):
    wire, _, client = ends
    wire._idle_s = 0.01
    client.write(b"half a li")
    with pytest.raises(Silence):
        await wire.line()
    with pytest.raises(Silence):
        await wire.octets(100)


async def test_much_is_sent_in_pieces_as_fast_as_it_is_taken(ends):
    wire, client, _ = ends
    content = bytes(range(256)) * 20_000

    async def send():
        async with wire.reply():
            wire.write(b"<")
            await wire.send(content)
            wire.write(memoryview(b">"))

    sending = asyncio.create_task(send())
    await asyncio.sleep(0)
    assert len(wire._pending) < len(content)
    assert await client.readexactly(len(content) + 2) == b"<" + content + b">"
    await sending


@pytest.fixture
async def deaf():
    """A Wire whose client never reads, and the client's socket."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reader, writer = await asyncio.open_connection(sock=ours)
    yield Wire(reader, writer, idle_s=5.0), theirs
    writer.close()
    theirs.close()


async def test_a_client_that_does_not_read_loses_the_connection(deaf, monkeypatch):
    wire, _ = deaf
    monkeypatch.setattr(wire_module, "STALL_S", 0.05)
    with pytest.raises(TimeoutError):
        await wire.say(b"x" * 5_000_000)
    assert wire._writer.is_closing()


async def test_a_goodbye_waits_for_the_reply_under_way(ends):
    wire, client, _ = ends
    ending = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def talk():
        async with wire.reply():
            begun.set()
            await wire.send(b"x" * 300_000)
            wire.write(b"\r\n")
        await wire.line()

    async def end():
        await begun.wait()
        ending.set_result(Ending.SHUTDOWN)
        return await client.readline(), await client.readline()

    said, goodbye = (await asyncio.gather(end(), talk_until(wire, talk(), ending, _goodbye)))[0]
    assert said == b"x" * 300_000 + b"\r\n"
    assert goodbye == b"BYE shutdown\r\n"


def _goodbye(cause):
    return b"BYE " + cause.encode()


async def test_a_goodbye_never_stands_in_the_middle_of_a_reply(deaf, monkeypatch):
    wire, client = deaf
    monkeypatch.setattr(wire_module, "GOODBYE_S", 0.05)
    ending = asyncio.get_running_loop().create_future()

    async def talk():
        asyncio.get_running_loop().call_soon(ending.set_result, Ending.REVOKED)
        await wire.say(b"x" * 5_000_000)  # more than a client takes that does not read

    await talk_until(wire, talk(), ending, _goodbye)
    assert wire._writer.is_closing()
    await asyncio.sleep(0)  # the transport closes the socket
    said = b""
    while part := await asyncio.to_thread(client.recv, 65536):
        said += part
    assert set(said) == {ord("x")}
    assert len(said) < 5_000_000


async def test_no_goodbye_when_there_is_no_word_for_it(ends):
    wire, client, _ = ends
    ending = asyncio.get_running_loop().create_future()
    ending.set_result(Ending.TIMEOUT)
    await talk_until(wire, wire.line(), ending, lambda cause: b"")
    wire._writer.close()
    assert await client.read() == b""


async def test_a_client_that_left_ends_the_session_without_a_fault(ends):
    wire, _, client = ends
    ending = asyncio.get_running_loop().create_future()

    async def talk():
        await wire.line()
        raise ConnectionResetError

    client.close()
    await talk_until(wire, talk(), ending, _goodbye)


async def test_a_bug_in_a_session_is_not_hidden(ends):
    wire = ends[0]

    async def talk():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await talk_until(wire, talk(), asyncio.get_running_loop().create_future(), _goodbye)


async def test_cancelling_the_caller_ends_the_session(ends):
    wire, _, _ = ends
    ended = []

    async def talk():
        try:
            await wire.line()
        finally:
            ended.append(True)

    task = asyncio.create_task(talk_until(wire, talk(), asyncio.get_running_loop().create_future(), _goodbye))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
