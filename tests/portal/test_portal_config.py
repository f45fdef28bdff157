"""[portal] of mailauth.toml: where it may listen how, and what it is when it is not said."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailauth import config
from mailauth.attempt import Service
from mailauth.config import ConfigError, Settings
from mailauth.config.portal import Told, is_loopback

NEEDED = '[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "keys"\n'
TLS = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n'


def loaded(folder: Path, portal: str, more: str = "") -> Settings:
    file = folder / "mailauth.toml"
    file.write_text(f"{NEEDED}{more}[portal]\n{portal}", encoding="utf-8")
    return config.load(file)


def test_without_the_section_there_is_no_portal(tmp_path: Path) -> None:
    (tmp_path / "mailauth.toml").write_text(NEEDED)
    assert config.load(tmp_path / "mailauth.toml").portal is None


def test_its_defaults_are_for_this_machine(tmp_path: Path) -> None:
    portal = loaded(tmp_path, "").portal
    assert portal is not None
    assert (str(portal.address), portal.public_url) == ("127.0.0.1:8080", "http://localhost:8080")
    assert (portal.own_tls, portal.host, portal.site_name) == (False, "localhost", "mailauth")
    assert (portal.session_idle_s, portal.session_s) == (1800.0, 43_200.0)
    assert [portal.told(service, ()) for service in Service] == [None, None, None]


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://Mail.Example.COM/", "https://mail.example.com"),
        ("https://mail.example.com:443", "https://mail.example.com"),
        ("https://mail.example.com:8443", "https://mail.example.com:8443"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_public_url_is_kept_as_browsers_write_an_origin(tmp_path: Path, written: str, origin: str) -> None:
    portal = loaded(tmp_path, f'public_url = "{written}"\n', TLS).portal
    assert portal is not None
    assert portal.public_url == origin
    assert portal.own_tls is origin.startswith("https")


LISTEN = '[[listen]]\nservice = "{}"\naddress = "127.0.0.1:{}"\ntls = "{}"\n'


def test_users_are_told_the_servers_that_there_are(tmp_path: Path) -> None:
    listeners = [
        ("imap", 1143, "starttls"),
        ("imap", 1993, "implicit"),
        ("pop3", 1110, "starttls"),
        ("smtp", 25, "off"),
    ]
    written = "".join([LISTEN.format(*listener) for listener in listeners])
    settings = loaded(tmp_path, f'public_url = "https://mail.example.com"\n{written}', TLS)
    assert settings.portal is not None
    told = {service: settings.portal.told(service, settings.listen) for service in Service}
    assert told[Service.IMAP] == Told("mail.example.com", 1993, implicit=True)
    assert told[Service.POP3] == Told("mail.example.com", 1110, implicit=False)
    assert told[Service.SMTP] is None  # nobody is told to send a password in clear


def test_or_those_that_are_named(tmp_path: Path) -> None:
    named = 'imap_server = "imap.example.com:993"\nsmtp_server = "smtp.example.com:587"\n'
    settings = loaded(tmp_path, named + LISTEN.format("imap", 1143, "starttls"), TLS)
    assert settings.portal is not None
    assert settings.portal.told(Service.IMAP, settings.listen) == Told("imap.example.com", 993, implicit=True)
    assert settings.portal.told(Service.SMTP, settings.listen) == Told("smtp.example.com", 587, implicit=False)


REFUSED = {
    'public_url = "http://mail.example.com"\n': "[portal] public_url: must begin with https://; plain http is for this",
    'address = "0.0.0.0:8080"\n': "[portal] public_url: must begin with https://; plain http is for this machine alone",
    'address = "192.0.2.1:80"\npublic_url = "http://localhost"\n': "[portal] public_url: must begin with https://",
    'trusted_proxies = ["10.0.0.0/8"]\n': "[portal] public_url: must begin with https://, since a proxy stands before",
    'public_url = "https://mail.example.com"\n': "[portal] public_url: is https://, which needs a section [tls], or",
    'public_url = "https://mail.example.com/portal"\n': "[portal] public_url: must be a URL without a path",
    'public_url = "https://u:hush@mail.example.com"\n': "[portal] public_url: holds a user name",
    'public_url = "ftp://mail.example.com"\n': "[portal] public_url: must be a URL without a path",
    'public_url = "https://mail.example.com:99999"\n': "[portal] public_url: must be a URL without a path",
    'public_url = "https://"\n': "[portal] public_url: must be a URL without a path",
    "public_url = 3\n": "[portal] public_url: must be a URL without a path",
    f'site_name = "{"a" * 61}"\n': "[portal] site_name: must be one line of at most 60 characters",
    "session_idle_s = 1\n": "[portal] session_idle_s: must be 60 to 86400 seconds",
    '[[listen]]\nservice = "imap"\naddress = "127.0.0.1:8080"\ntls = "off"\n': "[portal] address: 127.0.0.1:8080 is",
}


@pytest.mark.parametrize("written", REFUSED)
def test_what_cannot_be_is_refused_with_what_to_do(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, written)
    told = str(caught.value)
    assert told.removeprefix(f"{tmp_path}/mailauth.toml: ").startswith(REFUSED[written]), told
    assert "hush" not in told


def test_behind_a_proxy_it_needs_no_certificate(tmp_path: Path) -> None:
    section = 'address = "0.0.0.0:8080"\npublic_url = "https://mail.example.com"\ntrusted_proxies = ["10.0.0.0/8"]\n'
    portal = loaded(tmp_path, section).portal
    assert portal is not None
    assert not portal.own_tls


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("mail.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.example.com", False),
        ("192.0.2.1", False),
    ],
)
def test_what_is_this_machine(host: str, is_here: bool) -> None:
    assert is_loopback(host) is is_here
