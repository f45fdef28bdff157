"""The keeper at real mail servers: every way to log in, to tell who the client is, and to be sure who the server is."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from http_daemons import Dovecot, need_dovecot
from mail_daemons import Postfix, need_postfix, public_folder

from keepers import MASTER_PASSWORD, asked, attempt, principal
from mailauth import config
from mailauth.attempt import Service
from mailauth.ends import End, Ends
from mailauth.founding import certificates
from mailauth.keeper.client import KeptBackends
from mailauth.keeper.configured import open_keeper
from mailauth.serving.backing import BackendUnavailable, Opened
from site_of_tests import free_ports
from wire import eventually

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("keeper_daemons")]

IMAP, POP3, SMTP = Service.IMAP, Service.POP3, Service.SMTP
ALICE = "alice@example.test"
CLEAR, IMPLICIT, PROXIED = "clear", "implicit", "proxied"
AUTHENTICATION = """\
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = {folder}/masters
  master = yes
  result_success = continue
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
login_trusted_networks = 127.0.0.1
login_log_format_elements = user=<%u> rip=%r rport=%b lip=%l lport=%a %c
haproxy_trusted_networks = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.key
service auth {{
  unix_listener {folder}/sasl {{
    mode = 0666
  }}
}}
"""
LISTENER = """\
service {service}-login {{
  inet_listener {name} {{
    address = 127.0.0.1
    port = {port}
    {how}
  }}
}}
"""


@dataclass
class Behind:
    """Dovecot and Postfix. ports: by service and how it is reached."""

    folder: Path
    ports: dict[tuple[Service, str], int] = field(default_factory=dict)
    log: Path = Path()

    @contextlib.asynccontextmanager
    async def kept(self, how: str = CLEAR, **keys: object) -> AsyncIterator[KeptBackends]:
        """What is configured by one table. how: which ports."""
        written: dict[str, object] = {"user": "proxy", "password_file": "master", "tls_ca": "ca.pem"}
        written |= {service.value: f"127.0.0.1:{port}" for (service, way), port in self.ports.items() if way == how}
        written |= {"tls": "implicit" if how == IMPLICIT else "off"} | keys
        table = "".join(f"{key} = {value!r}\n" for key, value in written.items() if value is not None)
        table = table.replace("False", "false").replace("'", '"')
        path = self.folder / "mailauth.toml"
        path.write_text(
            '[store]\nurl = "sqlite:///a"\n[key]\nfile = "k"\n[mailbox]\nkind = "backend"\n[backends.here]\n' + table
        )
        async with asked(open_keeper(config.load(path))) as asking:
            backends = KeptBackends(asking)
            yield backends
            await backends.close()

    async def logged(self, pattern: str) -> None:
        """Wait for a line of the log."""
        await eventually(lambda: re.search(pattern, self.log.read_text()))


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    need_dovecot()
    with public_folder() as folder:
        made = certificates.make()
        for name, content in {
            "ca.pem": made.authority,
            "server.pem": made.server,
            "server.key": made.key,
            "other.pem": certificates.make().authority,
            "master": MASTER_PASSWORD.encode() + b"\n",
            "wrong": b"another\n",
            "hers": b"her own\n",
            "masters": f"proxy:{{PLAIN}}{MASTER_PASSWORD}\n".encode(),
            "users": f"{ALICE}:{{PLAIN}}her own\n".encode(),
        }.items():
            (folder / name).write_bytes(content)
        found = Behind(folder)
        found.ports = dict(
            zip([(s, how) for s in (IMAP, POP3) for how in (IMPLICIT, PROXIED)], free_ports(4), strict=True)
        )
        listeners = "".join(
            LISTENER.format(
                service=s, name=f"{s}-{how}", port=port, how="ssl = yes" if how == IMPLICIT else "haproxy = yes"
            )
            for (s, how), port in found.ports.items()
        )
        text = AUTHENTICATION.format(folder=folder) + listeners
        dovecot = Dovecot(folder / "dovecot", (IMAP, POP3), text)
        found.ports |= {(service, CLEAR): port for service, port in dovecot.ports.items()}
        found.log = dovecot.log
        with dovecot.running():
            yield found


async def answered(opened: Opened, command: bytes, end: bytes) -> bytes:
    """What a session says to this command, up to a line that holds `end`."""
    loop = asyncio.get_running_loop()
    said = opened.unread
    async with asyncio.timeout(30):
        await loop.sock_sendall(opened.sock, command)
        while end not in said:
            more = await loop.sock_recv(opened.sock, 65536)
            assert more, said
            said += more
    return said


def from_there(client: str) -> Ends:
    """A client's connection from this address."""
    return Ends(End(client, 4001), End("2001:db8::1" if ":" in client else "198.51.100.1", 993))


async def works(opened: Opened, service: Service) -> None:
    """It is a session of hers."""
    with opened.sock:
        if service is IMAP:
            assert "IDLE" in opened.capabilities
            assert b"x OK [READ-WRITE] Select completed" in await answered(opened, b"x SELECT INBOX\r\n", b"\nx ")
        else:
            assert (await answered(opened, b"STAT\r\n", b"\n")).startswith(b"+OK ")


WAYS = {
    "authzid": {},
    "separator": {"separator": "*"},
    "fixed": {"login": "fixed", "user": ALICE, "password_file": "hers", "accounts": [ALICE]},
}


@pytest.mark.parametrize("service", [IMAP, POP3])
@pytest.mark.parametrize(("how", "tls"), [(CLEAR, "off"), (CLEAR, "starttls"), (IMPLICIT, "implicit")])
@pytest.mark.parametrize("way", WAYS)
async def test_an_account_is_logged_in(behind: Behind, service: Service, how: str, tls: str, way: str) -> None:
    client = f"192.0.2.{len(way) + 10 * len(how) + len(tls)}"
    async with behind.kept(how, tls=tls, **WAYS[way]) as backends:
        await works(await backends.open(attempt(service, peer=client), principal(), from_there(client)), service)
    line = f"{service}-login: Info: Login: user=<{ALICE}>, rip={client}, rport=4001, "
    await behind.logged(line + ("lip=198.51.100.1, lport=993," if service is IMAP else "lip=127.0.0.1, "))


@pytest.mark.parametrize("service", [IMAP, POP3])
@pytest.mark.parametrize(
    ("origin", "client"), [("proxy1", "192.0.2.101"), ("proxy2", "192.0.2.102"), ("proxy2", "2001:db8::9")]
)
async def test_a_header_tells_who_the_client_is(behind: Behind, service: Service, origin: str, client: str) -> None:
    async with behind.kept(PROXIED, origin=origin) as backends:
        line = f"{service}-login: Info: Login: user=<{ALICE}>, rip={client}, rport="
        ends = from_there(client)
        await works(await backends.open(attempt(service, peer=client), principal(), ends), service)
        await behind.logged(f"{line}4001, lip={ends.server.address}, lport=993")
        await works(await backends.open(attempt(service, peer=client), principal()), service)
        its = behind.ports[service, PROXIED]
        await behind.logged(f"{line}{'[1-9][0-9]*' if origin == 'proxy1' else '0'}, lip=[0-9a-f.:]*, lport={its}")
        await works(await backends.open(attempt(service, peer=""), principal()), service)


async def test_nobody_is_told_of_where_that_is_not_wanted(behind: Behind) -> None:
    async with behind.kept(origin="none") as backends:
        await works(await backends.open(attempt(peer="192.0.2.200"), principal()), IMAP)
    assert "192.0.2.200" not in behind.log.read_text()


FAULTS = {
    "wrong name": (IMPLICIT, {"tls_name": "mail.example.test"}, "no TLS: .*(match|mismatch)"),
    "unknown authority": (IMPLICIT, {"tls_ca": "other.pem"}, "no TLS: .*certificate"),
    "the system's authorities": (IMPLICIT, {"tls_ca": ""}, "no TLS: .*certificate"),
    "STARTTLS, wrong name": (CLEAR, {"tls": "starttls", "tls_name": "mail.example.test"}, "no TLS: .*match"),
    "no TLS there": (CLEAR, {"tls": "implicit"}, "no TLS: WRONG_VERSION_NUMBER"),
    "wrong password": (CLEAR, {"password_file": "wrong"}, r"refuses the login \[(AUTHENTICATIONFAILED|AUTH)\]"),
    "TLS where none is meant": (IMPLICIT, {"tls": "off"}, "has not let us in in time|hung up|does not greet"),
}


@pytest.mark.parametrize("service", [IMAP, POP3])
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_not_right_is_no_connection(
    behind: Behind, service: Service, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailauth.keeper.keeper.LOGIN_S", 0.5 if fault == "TLS where none is meant" else 8.0)
    how, keys, told = FAULTS[fault]
    async with behind.kept(how, **keys) as backends:
        with pytest.raises(BackendUnavailable, match=f"back end here, {service} at 127.0.0.1:[0-9]+: {told}") as caught:
            await backends.open(attempt(service), principal())
    assert MASTER_PASSWORD not in str(caught.value)


async def test_an_account_that_is_not_there_is_not_opened(behind: Behind) -> None:
    async with behind.kept() as backends:
        with pytest.raises(
            BackendUnavailable, match=r"refuses the login \[AUTHORIZATIONFAILED\]; .* has it this account"
        ):
            await backends.open(attempt(), principal("nobody@example.test"))


async def test_any_certificate_will_do_only_where_that_is_said(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind.kept(IMPLICIT, tls_ca="other.pem", tls_verify=False) as backends:
        await works(await backends.open(attempt(), principal()), IMAP)
    assert "tls_verify: is false" in caplog.text


@pytest.mark.parametrize(("how", "tls"), [(CLEAR, "off"), (IMPLICIT, "implicit")])
async def test_much_goes_both_ways_and_the_end_is_passed_on(behind: Behind, how: str, tls: str) -> None:
    """8 MiB in, and out again, whole."""
    message = b"Subject: much\r\n\r\n" + b"".join(b"%078d\r\n" % number for number in range(100_000))
    async with behind.kept(how, tls=tls) as backends:
        opened = await backends.open(attempt(), principal())
        with opened.sock:
            await answered(opened, b"c CREATE much\r\nx SELECT much\r\n", b"\nx ")
            assert b"y OK" in await answered(
                opened, b"y APPEND much {%d+}\r\n" % len(message) + message + b"\r\n", b"y OK"
            )
            await answered(opened, b"z NOOP\r\n", b"z OK")
            said = await answered(opened, b"f FETCH 1 BODY.PEEK[]\r\n", b"\nf OK")
            assert message in said
            await asyncio.get_running_loop().sock_sendall(opened.sock, b"u UNSELECT\r\nd DELETE much\r\nl LOGOUT\r\n")
            last = b""
            async with asyncio.timeout(30):
                while more := await asyncio.get_running_loop().sock_recv(opened.sock, 65536):
                    last += more
            assert b"l OK Logout completed" in last


@pytest.fixture(scope="module")
def postfix(behind: Behind) -> Iterator[Postfix]:
    need_postfix()
    certificate = behind.folder / "server.pem", behind.folder / "server.key"
    options = {"submission": f"smtpd_sasl_path={behind.folder}/sasl"}
    made = Postfix(behind.folder / "postfix", options, certificate=certificate)
    behind.ports[SMTP, "submission"] = made.ports["submission"]
    with made.running():
        yield made


@pytest.mark.parametrize(
    ("keys", "sasl"),
    [
        ({"login": "xclient", "user": None, "password_file": None}, "XCLIENT"),
        ({}, "PLAIN"),
        ({"separator": "*"}, "PLAIN"),
    ],
)
@pytest.mark.parametrize("tls", ["off", "starttls"])
async def test_mail_is_sent_as_the_account(
    behind: Behind, postfix: Postfix, keys: dict[str, object], sasl: str, tls: str
) -> None:
    client = f"192.0.2.{50 + len(keys) + 10 * len(tls)}"
    async with behind.kept("submission", tls=tls, **keys) as backends:
        offer = await backends.smtp_offer()
        assert {"SIZE 10240000", "8BITMIME", "SMTPUTF8"} <= {*offer}
        opened = await backends.open(
            attempt(SMTP, peer=client, client="phone.example.test"), principal(), from_there(client)
        )
        with opened.sock:
            assert {"SIZE 10240000", "8BITMIME"} <= {*opened.capabilities}
            for command in (b"MAIL FROM:<alice@example.test>", b"RCPT TO:<bob@example.org>", b"DATA"):
                said = await answered(opened, command + b"\r\n", b"\n")
                assert said[:1] in b"23", said
            said = await answered(opened, b"Subject: x\r\n\r\nx\r\n.\r\n", b"\n")
            assert said.startswith(b"250 2.0.0 Ok: queued as ")
    line = rf"client=unknown\[{client}\], sasl_method={sasl}, sasl_username={re.escape(ALICE)}"
    await eventually(lambda: re.search(line, postfix.log.read_text()))
