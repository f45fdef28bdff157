"""A connection that changes hands: another protocol first, then the mailbox on streams, with and without TLS."""

import asyncio
import ssl
import sys

import pytest
import trustme
from mailbox_house import LOGIN, House

from mailauth.dialogue import Ending
from mailauth.verdict import Principal

PLAIN = b"Subject: plain\r\n\r\n" + b"x" * 200_000 + b"\r\n"


def _loops():
    yield pytest.param(asyncio.new_event_loop, id="asyncio")
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415

        yield pytest.param(uvloop.new_event_loop, id="uvloop")


@pytest.fixture(scope="module")
def contexts():
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost", common_name="localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


class Front(asyncio.Protocol):
    """Greets, reads one line, and hands the connection and what came behind it to the mailbox."""

    def __init__(self, serve, sessions):
        self._serve = serve
        self._sessions = sessions

    def connection_made(self, transport):
        self._transport = transport
        transport.write(b"who?\r\n")

    def data_received(self, data):
        loop = asyncio.get_running_loop()
        _, _, leftover = data.partition(b"\r\n")
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        reader.feed_data(leftover)
        writer = asyncio.StreamWriter(self._transport, protocol, reader, loop)
        ending = loop.create_future()
        principal = Principal(1, LOGIN, None)
        task = loop.create_task(self._serve(principal, reader, writer, ending, lambda cause: b"BYE " + cause.encode()))
        task.add_done_callback(lambda _: writer.close())
        self._sessions.append((task, ending))


@pytest.mark.parametrize("loop", list(_loops()))
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_the_first_command_may_come_with_the_last_of_the_login(tmp_path, contexts, loop, tls):
    async def run():
        house, sessions = House(tmp_path / "mail"), []
        house.fill(PLAIN)
        server = await asyncio.get_running_loop().create_server(
            lambda: Front(house.mailboxes.serve_imap, sessions), "127.0.0.1", 0, ssl=contexts[0] if tls else None
        )
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            server.sockets[0].getsockname()[1],
            ssl=contexts[1] if tls else None,
            server_hostname="localhost" if tls else None,
            limit=2**20,
        )
        assert await reader.readline() == b"who?\r\n"
        writer.write(b"me\r\na SELECT INBOX\r\nb FETCH 1 BODY.PEEK[]\r\nc ID")
        assert PLAIN in await asyncio.wait_for(reader.readuntil(b"b OK FETCH completed.\r\n"), 10)
        writer.write(b"LE\r\n")
        assert await reader.readline() == b"+ Idling.\r\n"
        ((task, ending),) = sessions
        ending.set_result(Ending.SHUTDOWN)
        assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"BYE shutdown\r\n")
        await task
        writer.close()
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())
