"""The demo site: made once, gone on with afterwards, whatever happened in between."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from mailauth import compose, config
from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.refusals import Refused
from mailauth.attempt import Attempt, Credential, Service
from mailauth.demo.memory import Memory
from mailauth.demo.site import ACCOUNT, Demo, prepare
from mailauth.hashing.argon2id import Argon2id
from mailauth.mailbox.maildir import MaildirMailboxes
from mailauth.store.engine import Store
from mailauth.verdict import Accept, Outcome, Reason, Reject


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def demo(folder: Path) -> Demo:
    return prepare(folder, None)


def store_of(demo: Demo) -> Store:
    return compose.opened_store(demo.settings)[0]


def judged(demo: Demo, password: str) -> Outcome:
    async def ask() -> Outcome:
        async with compose.open_core(demo.settings, lets_in=False) as core:
            return await core.verifier.authenticate(
                Attempt(Credential(ACCOUNT, password), Service.IMAP, "127.0.0.1", True)
            )

    return asyncio.run(ask())


def letters(demo: Demo) -> list[bytes]:
    inbox = MaildirMailboxes(demo.settings.mailbox.path).path_of(ACCOUNT)
    return [path.read_bytes() for path in (inbox / "new").iterdir()]


def test_the_first_start_makes_an_account_that_takes_app_passwords_only(demo: Demo, folder: Path) -> None:
    assert demo.memory.account == "alice@example.test"
    assert not demo.changed
    assert isinstance(judged(demo, demo.memory.app_password), Accept)
    assert judged(demo, demo.memory.web_password) == Reject(Reason.CLIENT_PASSWORDS_ONLY)
    view = mailboxes.show_account(store_of(demo), ACCOUNT)
    assert (view.mode, view.has_web_password, view.app_passwords) == ("on", True, 1)


def test_what_it_prints_is_kept_for_its_owner_alone(demo: Demo, folder: Path) -> None:
    assert Memory.read(folder) == demo.memory
    assert stat.S_IMODE((folder / "demo.json").stat().st_mode) == 0o600
    assert demo.memory.ports == {
        "imap": {"implicit": 1993, "starttls": 1143},
        "pop3": {"implicit": 1995, "starttls": 1110},
        "smtp": {"implicit": 1465, "starttls": 1587},
    }
    assert demo.memory.ca == str(folder / "ca.pem")


def test_there_is_a_first_message_to_read_and_no_password_in_it(demo: Demo) -> None:
    (letter,) = letters(demo)
    assert b"Subject: Welcome" in letter
    assert f"--config {demo.settings.source}".encode() in letter
    assert demo.memory.app_password.encode() not in letter
    assert demo.memory.web_password.encode() not in letter


def test_a_later_start_goes_on_with_what_is_there(demo: Demo, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "mailauth.db"}
    again = prepare(folder, None)
    assert again == demo
    assert {path: path.read_bytes() for path in before} == before
    assert len(letters(again)) == 1


def test_a_revoked_app_password_is_replaced(demo: Demo, folder: Path) -> None:
    apppasswords.revoke(store_of(demo), ACCOUNT, every=True, actor="test")
    again = prepare(folder, None)
    assert again.memory.app_password != demo.memory.app_password
    assert again.memory.web_password == demo.memory.web_password
    assert isinstance(judged(again, again.memory.app_password), Accept)
    assert prepare(folder, None) == again


def test_the_users_own_app_passwords_stay(demo: Demo, folder: Path) -> None:
    store, ring = compose.opened_store(demo.settings)
    apppasswords.mint(store, ring, Argon2id(), ACCOUNT, label="Tablet", actor="test")
    assert prepare(folder, None).memory == demo.memory
    assert [view.label for view in apppasswords.listed(store, ACCOUNT)] == ["Demo", "Tablet"]


def test_a_changed_web_password_is_not_claimed_to_hold(demo: Demo, folder: Path) -> None:
    record = Argon2id().hash(b"another secret")
    mailboxes.set_web_password(store_of(demo), ACCOUNT, record, True, actor="test")
    again = prepare(folder, None)
    assert again.changed == {ACCOUNT}
    assert again.memory.app_password == demo.memory.app_password


def test_a_removed_account_is_made_again(demo: Demo, folder: Path) -> None:
    mailboxes.remove_account(store_of(demo), ACCOUNT, actor="test")
    again = prepare(folder, None)
    assert again.memory.web_password == demo.memory.web_password
    assert isinstance(judged(again, again.memory.app_password), Accept)


@pytest.mark.parametrize("contents", [None, "", "{}", "[1]", '{"account": 1}', "no json"])
def test_without_its_memory_it_makes_new_passwords(demo: Demo, folder: Path, contents: str | None) -> None:
    (folder / "demo.json").unlink()
    if contents is not None:
        (folder / "demo.json").write_text(contents)
    again = prepare(folder, None)
    assert again.memory.app_password != demo.memory.app_password
    assert again.memory.web_password != demo.memory.web_password
    assert not again.changed
    assert isinstance(judged(again, again.memory.app_password), Accept)
    assert isinstance(judged(again, demo.memory.app_password), Accept)


def test_at_the_maximum_it_says_so(demo: Demo, folder: Path) -> None:
    store, ring = compose.opened_store(demo.settings)
    apppasswords.revoke(store, ACCOUNT, every=True, actor="test")
    for number in range(10):
        apppasswords.mint(store, ring, Argon2id(), ACCOUNT, label=str(number), actor="test")
    with pytest.raises(Refused, match="revoke one first"):
        prepare(folder, None)


def test_the_ports_can_be_moved_later(demo: Demo, folder: Path) -> None:
    file = folder / "mailauth.toml"
    extra = '[[listen]]\nservice = "imap"\naddress = "127.0.0.1:1999"\ntls = "off"\n'
    file.write_text(file.read_text() + extra)
    moved = prepare(folder, 2)
    assert [listen.address.port for listen in moved.settings.listen] == [1995, 1145, 1997, 1112, 1467, 1589, 1999]
    assert moved.memory.ports["pop3"] == {"implicit": 1997, "starttls": 1112}
    assert moved.memory.app_password == demo.memory.app_password
    assert prepare(folder, None).settings == moved.settings
    assert prepare(folder, 0).settings.listen[:6] == demo.settings.listen
    assert file.read_text().count("# ") > 50


def test_the_configuration_is_the_users_to_edit(demo: Demo, folder: Path) -> None:
    file = folder / "mailauth.toml"
    file.write_text(file.read_text().replace('help_line = ""', 'help_line = "Ask Bob."'))
    assert prepare(folder, None).settings.replies.help_line == "Ask Bob."
    assert config.load(file).replies.help_line == "Ask Bob."
