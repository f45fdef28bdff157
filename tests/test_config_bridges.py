"""[[bridge]]: what is taken, what is refused and in which words, before anything listens."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from mailauth import config
from mailauth.attempt import Service
from mailauth.bridgeheads import bridges_of, whence_of
from mailauth.config import Address, ConfigError
from mailauth.config.bridge import UnixPath

NEEDED = '[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "keys"\n'
UNIX = '[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:run/auth"\n'
TCP = '[[bridge]]\nkind = "saslauthd"\naddress = "127.0.0.1:4000"\nallow_tcp = true\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mailauth.toml"


def loaded(file: Path, text: str) -> config.Settings:
    file.write_text(NEEDED + text, encoding="utf-8")
    return config.load(file)


def test_the_least_table_is_taken_and_everything_else_has_its_default(file: Path) -> None:
    (bridge,) = loaded(file, UNIX).bridge
    assert bridge.address == UnixPath(file.parent / "run" / "auth")
    assert (bridge.socket_mode, bridge.socket_group, bridge.users, bridge.groups) == (0o660, "", (), ())
    assert bridge.services == tuple(Service)
    assert bridge.clients == (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert (bridge.slots, bridge.other_service, bridge.token_file, bridge.allow_tcp) == (100, None, None, False)
    assert loaded(file, "").bridge == ()


def test_a_whole_table_is_read_into_values_of_the_right_type(file: Path) -> None:
    unix, tcp = loaded(
        file,
        UNIX + 'socket_group = "postfix"\nsocket_mode = "0600"\nusers = ["exim"]\ngroups = ["mail"]\n'
        'services = ["smtp", "smtp"]\nother_service = "imap"\nclients = ["10.0.0.0/8"]\nslots = 8\n'
        'token_file = "env:TOKEN"\ntempfail = "code"\n' + TCP + 'hosts = ["192.0.2.1/32"]\n',
    ).bridge
    assert (unix.socket_mode, unix.socket_group, unix.users, unix.groups) == (0o600, "postfix", ("exim",), ("mail",))
    assert (unix.services, unix.other_service, unix.slots) == ((Service.SMTP,), Service.IMAP, 8)
    assert unix.options.options == {"tempfail": "code"}
    assert tcp.address == Address("127.0.0.1", 4000)
    assert tcp.hosts == (ip_network("192.0.2.1/32"),)


REFUSED = {
    '[bridge]\nkind = "saslauthd"\n': "[bridge] must be written [[bridge]], once for each address",
    '[[bridge]]\naddress = "unix:x"\n': "[bridge] #1 kind: is missing",
    '[[bridge]]\nkind = "saslauthd"\n': "[bridge] #1 address: is missing",
    UNIX.replace("dovecot-auth", "../x"): "[bridge] #1 kind: must be the name of a bridge",
    UNIX.replace("unix:run/auth", "unix:"): '[bridge] #1 address: must be "unix:PATH"',
    UNIX.replace("unix:run/auth", "unix:run/"): '[bridge] #1 address: must be "unix:PATH"',
    UNIX.replace("unix:run/auth", "run/auth"): '[bridge] #1 address: must be "unix:PATH", or: must be "HOST:PORT"',
    TCP.replace("allow_tcp = true\n", ""): "[bridge] #1 address: is TCP, which is not encrypted; use unix:PATH, or "
    "write allow_tcp = true",
    UNIX + 'socket_mode = "0666"\n': "[bridge] #1 socket_mode: must let its owner write and say nothing about others",
    UNIX + 'socket_mode = "0060"\n': "[bridge] #1 socket_mode: must let its owner write",
    UNIX + "socket_mode = 432\n": "[bridge] #1 socket_mode: must be an octal mode in quotes",
    UNIX + "services = []\n": "[bridge] #1 services: is empty",
    UNIX + 'services = ["ftp"]\n': '[bridge] #1 services: must be "imap", "pop3" or "smtp"',
    UNIX + 'services = "smtp"\n': "[bridge] #1 services: must be a list of ",
    UNIX + 'users = [""]\n': "[bridge] #1 users: must be a list of texts, none of them empty",
    UNIX + 'users = "postfix"\n': "[bridge] #1 users: must be a list of texts",
    UNIX + "slots = 3\n": "[bridge] #1 slots: must be 4 to 100000 (is 3)",
    UNIX + 'token = "hush"\n': "[bridge] #1 token: a secret does not stand in this file; ",
    UNIX + TCP + UNIX: "[bridge] #3 address: unix:",
    TCP + TCP: "[bridge] #2 address: 127.0.0.1:4000 is taken by [bridge] #1 already",
    TCP + '[portal]\naddress = "127.0.0.1:4000"\npublic_url = "http://localhost:4000"\n': "[portal] address: "
    "127.0.0.1:4000 is taken by [bridge] #1 already",
    TCP + '[[listen]]\nservice = "imap"\naddress = "0.0.0.0:4000"\ntls = "off"\n': "[bridge] #1 address: 0.0.0.0:4000 "
    "is taken by [listen] #1 already",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_refused_by_file_key_and_reason(file: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(file, text)
    told = str(caught.value)
    assert told.removeprefix(f"{file}: ").startswith(REFUSED[text])
    assert "hush" not in told
    assert "\n" not in told


WHEN_BUILT = {
    UNIX.replace("dovecot-auth", "carrier-pigeon"): "kind: there is no bridges plug-in named 'carrier-pigeon'",
    UNIX.replace("dovecot-auth", "bridge"): "kind: there is no bridges plug-in named 'bridge'",
    UNIX + 'tempfail = "never"\n': "tempfail: must be one of: auto, close, code",
    UNIX + "sevices = []\n": "sevices: is unknown here; there are: tempfail; did you mean services?",
    UNIX + 'terms = "all"\n': "terms: is unknown here; there are: tempfail",
    UNIX + 'token_file = "nowhere"\n': "token_file: cannot read ",
}


@pytest.mark.parametrize("text", WHEN_BUILT)
def test_what_the_kind_does_not_know_is_refused_before_anything_listens(file: Path, text: str) -> None:
    settings = loaded(file, text)
    with pytest.raises(ConfigError) as caught:
        bridges_of(settings)
    assert str(caught.value).startswith(f"{file}: [bridge] #1 {WHEN_BUILT[text]}")


DOVECOT = '[[bridge]]\nkind = "dovecot-lua"\naddress = "127.0.0.1:4001"\nallow_tcp = true\ntoken_file = "token"\n'
DOVEADM = 'doveadm_url = "http://127.0.0.1:4002"\ndoveadm_key_file = "key"\n'
NGINX = (
    '[[bridge]]\nkind = "nginx"\naddress = "127.0.0.1:4003"\nallow_tcp = true\ntoken_file = "token"\n'
    'backends = ["imap 127.0.0.1:143"]\n'
)
MASTER = 'password_file = "master"\n'


class Unread:
    async def let_in_from(self, login: str, credential_id: int, most: int) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("text", "remembered"),
    [
        (UNIX, False),
        (DOVECOT, False),
        (DOVECOT + DOVEADM, True),
        (UNIX + DOVECOT + DOVEADM + NGINX, True),
        (DOVECOT + DOVEADM + NGINX + MASTER, False),  # what it opens there by the master password comes from it
    ],
)
def test_from_where_somebody_was_let_in_is_remembered_where_it_tells_something(
    file: Path, text: str, remembered: bool
) -> None:
    for name in ("token", "key", "master"):
        (file.parent / name).write_text("a secret that is long enough\n")
        (file.parent / name).chmod(0o600)
    whence = whence_of(bridges_of(loaded(file, text)), Unread())
    assert (whence is not None) is remembered
