"""The portal over real sockets: TLS, silence, half requests, and a clean end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import httpx2
import pytest
from api_site import ROOT, Api
from portal_site import Site

import servers
from mailauth.portal import serving
from mailauth.portal.serving import PortalServer
from mailauth.serving.listen import bind


@asynccontextmanager
async def served(database, ring, *, tls=None):
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    site = Site(database.store, ring, origin=f"{'http' if tls is None else 'https'}://localhost:{port}")
    server = PortalServer(site.app, [sock], tls)
    await server.start()
    try:
        yield site, port, server
    finally:
        await server.stop()


async def test_it_serves_plainly_on_this_machine(sqlite_database, ring) -> None:
    async with served(sqlite_database, ring) as (site, _, _), httpx2.AsyncClient(base_url=site.origin) as client:
        answer = await client.get("/signin")
        assert answer.status_code == 200
        assert "server" not in answer.headers
        assert (await client.get("/signin")).status_code == 200  # on the same connection


async def test_it_serves_over_tls(sqlite_database, ring) -> None:
    async with (
        served(sqlite_database, ring, tls=servers.server_tls()) as (site, port, _),
        httpx2.AsyncClient(base_url=site.origin, verify=servers.client_tls()) as client,
    ):
        answer = await client.get("/signin")
        assert answer.status_code == 200
        assert answer.headers["set-cookie"].startswith("__Host-mailauth-form=")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /signin HTTP/1.1\r\nHost: x\r\n\r\n")  # no TLS: nothing is said
        assert await reader.read() == b""
        writer.close()


async def test_signals_stay_the_programs(sqlite_database, ring) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with served(sqlite_database, ring):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_after_stopping_nobody_is_listening(sqlite_database, ring) -> None:
    async with served(sqlite_database, ring) as (_, port, server):
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("beginning", [b"", b"GET /signin HT", b"GET /signin HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_w19_who_says_nothing_or_a_little_at_a_time_is_let_go(
    sqlite_database, ring, monkeypatch, beginning
) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 0.2)
    async with served(sqlite_database, ring) as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(beginning)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()


async def test_w19_a_head_without_an_end_is_refused(sqlite_database, ring) -> None:
    async with served(sqlite_database, ring) as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"a" * 200_000)
        async with asyncio.timeout(30):
            try:
                answer = await reader.read()
            except ConnectionResetError:  # it was closed with our bytes unread
                answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        writer.close()


@pytest.mark.parametrize("at_once", [True, False])
async def test_w19_a_head_of_more_than_16_kib_is_refused_whole_or_in_parts(sqlite_database, ring, at_once) -> None:
    async with served(sqlite_database, ring) as (site, port, _):
        host = site.origin.partition("//")[2]

        def head(length: int) -> bytes:
            return f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nX-Long: {'a' * length}\r\n\r\n".encode()

        for length, status in ((15_000, b"200"), (16_400, b"431")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            sent = head(length)
            if at_once or status == b"200":
                writer.write(sent)
            else:
                writer.write(sent[:16_400])  # more than is read of a head that does not end, and nothing after it
            async with asyncio.timeout(30):
                assert (await reader.readline()).split(b" ")[1] == status, length
            writer.close()


async def test_w19_the_head_is_measured_even_if_it_came_whole(sqlite_database, ring) -> None:
    site = Site(sqlite_database.store, ring)
    transport = httpx2.ASGITransport(app=serving.bounded(site.app))
    async with httpx2.AsyncClient(transport=transport, base_url=site.origin) as client:
        for headers, address, status in (
            ({"X-Long": "a" * 16_000}, "/healthz", 200),
            ({"X-Long": "a" * 60_000}, "/healthz", 431),
            ({f"X-{number}": "a" * 100 for number in range(160)}, "/healthz", 431),
            ({}, "/healthz?" + "a" * 16_400, 431),
        ):
            assert (await client.get(address, headers=headers)).status_code == status


@pytest.mark.parametrize("address", ["/signin", "/api/v1/accounts/bob@example.test"])
async def test_who_still_waits_when_the_program_ends_is_told_so(
    sqlite_database, ring, monkeypatch, caplog, address
) -> None:
    monkeypatch.setattr(serving, "STOPPING_S", 0.1)
    async with served(sqlite_database, ring) as (site, port, server):
        api = Api(site)
        api.people()
        is_api = address.startswith("/api/")
        kind = "application/json" if is_api else "application/x-www-form-urlencoded"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"{'PATCH' if is_api else 'POST'} {address} HTTP/1.1\r\nHost: {site.origin.partition('//')[2]}\r\n"
            f"Authorization: Bearer {api.token(ROOT)}\r\nExpect: 100-continue\r\n"
            f"Content-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
        )
        writer.write(head.encode())
        async with asyncio.timeout(30):
            assert b" 100 " in await reader.readline()  # the body is being waited for
            await server.stop()
            answer = (await reader.read()).decode().lstrip()
        writer.close()
    status, _, rest = answer.partition("\r\n")
    assert " 503 " in status
    assert "\r\nretry-after: 30\r\n" in rest and "\r\ncontent-security-policy: " in rest
    assert ("problems/unknown" if is_api else "whether it was done") in rest
    assert "Exception in ASGI application" not in caplog.text


async def test_w19_a_body_that_is_announced_and_does_not_come_is_given_up(sqlite_database, ring, monkeypatch) -> None:
    from mailauth.portal import forms  # noqa: PLC0415

    monkeypatch.setattr(forms, "PATIENCE_S", 0.2)
    async with served(sqlite_database, ring) as (site, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST /signin HTTP/1.1\r\nHost: {site.origin.partition('//')[2]}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\ncsrf="
        )
        writer.write(head.encode())
        async with asyncio.timeout(30):
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_socket_that_is_given_is_closed_with_the_server(sqlite_database, ring) -> None:
    sock = bind("127.0.0.1", 0)
    site = Site(sqlite_database.store, ring)
    server = PortalServer(site.app, [sock], None)
    await server.start()
    await server.stop()
    assert sock.fileno() == -1


async def test_w19_the_head_of_a_later_request_is_waited_for_no_longer(sqlite_database, ring, monkeypatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 0.3)
    async with served(sqlite_database, ring) as (site, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        host = f"Host: {site.origin.partition('//')[2]}\r\n"
        writer.write(f"GET /healthz HTTP/1.1\r\n{host}\r\n".encode())
        assert b"200" in await reader.readuntil(b"ok\n")
        writer.write(f"GET / HTTP/1.1\r\n{host}".encode())
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
