"""[backends.NAME] in a file: what is refused, by file, section and key; and that checking reads no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailauth import config
from mailauth.attempt import Service
from mailauth.config import ConfigError
from mailauth.keeper.configured import backends_of, open_keeper

NEEDED = '[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "mailauth.key"\n'
BEHIND = '[mailbox]\nkind = "backend"\n'
HERE = '[backends.here]\nimap = "127.0.0.1:993"\nuser = "proxy"\npassword_file = "master"\n'
LISTEN = '[[listen]]\nservice = "{}"\naddress = "127.0.0.1:1{}"\ntls = "off"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mailauth.toml"


def loaded(file: Path, text: str) -> config.Settings:
    file.write_text(NEEDED + text)
    return config.load(file)


def test_back_ends_are_read_in_the_order_of_the_file_and_no_secret_with_them(file: Path) -> None:
    """There is no file `master`."""
    settings = loaded(file, LISTEN.format("imap", 43) + BEHIND + HERE)
    (found,) = backends_of(settings).all(Service.IMAP)
    assert (found.name, found.tls, found.login, found.origin, found.tls_verify) == (
        *("here", "implicit", "master", "id", True),
    )


WRONG = {
    HERE: '[mailbox] kind: must be "backend" where there are [backends.NAME]',
    BEHIND + HERE + "password = 'x'\n": "[backends.here] password: a secret does not stand in this file; ",
    BEHIND + HERE.replace('"master"', '"env:MASTER"'): "[backends.here] password_file: must be a file: a variable ",
    BEHIND + HERE + "colour = 1\n": "[backends.here] colour: is unknown here; there are: imap, pop3, smtp, ",
    BEHIND + HERE.replace('user = "proxy"\n', ""): "[backends.here] user: is missing: ",
    BEHIND + HERE + HERE.replace(".here", ".there"): "[backends.there] domains: everybody else is claimed by "
    "[backends.here] for imap already; leave it to one of them",
    BEHIND + HERE + LISTEN.format("pop3", 10): "[listen] #1 service: no [backends.NAME] has pop3; "
    'write pop3 = "HOST:PORT" into one of them',
    BEHIND + LISTEN.format("imap", 43): "[listen] #1 service: no [backends.NAME] has imap; ",
    BEHIND + "[backends]\nimap = 'x'\n": "[backends] imap: must be a table, written [backends.imap]",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_refused_by_section_key_and_reason(file: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backends_of(loaded(file, text))
    assert str(caught.value).removeprefix(f"{file}: ").startswith(WRONG[text])


def test_a_keeper_on_another_machine_is_refused(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r'\[keeper\] address: must be "unix:PATH": an open connection is handed over'
    ):
        loaded(file, '[keeper]\naddress = "127.0.0.1:4000"\n')


AUTHORITIES = {
    'tls_ca = "nowhere.pem"\n': "tls_ca: nowhere.pem: No such file",
    'tls_ca = "master"\n': "tls_ca: master: ",
}


@pytest.mark.parametrize("keys", AUTHORITIES)
def test_authorities_that_cannot_be_read_are_refused(file: Path, keys: str) -> None:
    (file.parent / "master").write_text("secret\n")
    with pytest.raises(ConfigError) as caught:
        open_keeper(loaded(file, BEHIND + HERE + keys))
    assert str(caught.value).startswith(f"{file}: [backends.here] {AUTHORITIES[keys]}")


@pytest.mark.parametrize(("host", "warned"), [("192.0.2.1", True), ("127.0.0.9", False), ("localhost", False)])
def test_a_password_in_clear_to_another_machine_is_warned_of(
    file: Path, host: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (file.parent / "master").write_text("secret\n")
    open_keeper(loaded(file, BEHIND + HERE.replace("127.0.0.1", host) + 'tls = "off"\n'))
    assert (f"in clear to {host}" in caplog.text) is warned
