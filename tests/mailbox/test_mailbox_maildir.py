# ruff: noqa: ASYNC240

import asyncio
import gc
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.mailbox.delivery import DeliveryFailed
from mailauth.mailbox.maildir import IMAP_CAPABILITIES, MaildirMailboxes

ROOT = Path("/mail")


@pytest.mark.parametrize(
    ("login", "path"),
    [
        ("alice@example.test", "example.test/alice"),
        ("a.b+c_d-e=f@x", "x/a.b+c_d-e=f"),
        ("Alice@example.test", "example.test/%41lice"),
        ("..@example.test", "example.test/%2e."),
        (".@..", "%2e./%2e"),
        ("../../etc/passwd@example.test", "example.test/%2e.%2f..%2fetc%2fpasswd"),
        ("a/b@x", "x/a%2fb"),
        ("a%2fb@x", "x/a%252fb"),
        ("a@b@x", "x/a%40b"),
        ("a\0b@x", "x/a%00b"),
        ("é@例.test", "%e4%be%8b.test/%c3%a9"),
        ("~root@x", "x/%7eroot"),
    ],
)
def test_a_login_has_its_place(login, path):
    assert MaildirMailboxes(ROOT).path_of(login) == ROOT / path


@pytest.mark.parametrize("login", ["", "alice", "@", "@x", "alice@"])
def test_what_is_no_address_has_no_place(login):
    with pytest.raises(ValueError):
        MaildirMailboxes(ROOT).path_of(login)


@given(st.text(), st.text())
def test_no_login_leads_outside_and_each_can_be_read_from_its_path(local, domain):
    login = f"{local}@{domain}"
    try:
        path = MaildirMailboxes(ROOT).path_of(login)
    except ValueError:
        assert not local or not domain.rpartition("@")[2] or not (local + "@" + domain).rpartition("@")[0]
        return
    parts = path.relative_to(ROOT).parts
    assert len(parts) == 2
    assert not any(part.startswith(".") for part in parts)
    assert all(part == part.lower() for part in parts)
    read = [urllib.parse.unquote(part, errors="surrogatepass") for part in reversed(parts)]
    assert "@".join(read) == login


def test_pymap_is_not_imported_before_an_imap_session_enters():
    code = (
        "import sys, mailauth.mailbox.maildir, mailauth.mailbox.pop3, mailauth.mailbox.delivery\n"
        "assert not any(name.split('.')[0] in ('pymap', 'pysasl', 'proxyprotocol') for name in sys.modules)\n"
        "import mailauth.mailbox.imap_session\n"
        "assert 'pymap' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_limit_on_messages_is_announced():
    capabilities = MaildirMailboxes(ROOT, max_message_bytes=1000).imap_capabilities
    assert capabilities == (*IMAP_CAPABILITIES, b"APPENDLIMIT=1000")


async def test_an_account_is_shared_while_anybody_is_in_and_forgotten_after(house):
    one, other = await house.imap(), await house.pop3()
    await one.ok(b"SELECT INBOX")
    await other.do(b"STAT")
    assert len(house.mailboxes._accounts) == 1
    account = house.mailboxes._accounts["alice@example.test"]
    assert account.open_folder("inbox") is account.open_folder("INBOX") is not None
    await one.do(b"LOGOUT")
    await other.do(b"QUIT")
    await one.session
    await other.session
    del account
    await asyncio.sleep(0)
    gc.collect()
    assert len(house.mailboxes._accounts) == 0


async def test_a_mailbox_is_made_when_it_is_first_needed(house):
    client = await house.imap()
    await client.ok(b"CAPABILITY")
    assert not Path(house.path).exists()
    await client.ok(b"SELECT INBOX")
    assert Path(house.path, "cur").is_dir()


async def test_accounts_do_not_see_each_other(house):
    await house.mailboxes.deliver("alice@example.test", b"Subject: x\r\n\r\n", "")
    bob = await house.imap("bob@example.test")
    assert b"* 0 EXISTS\r\n" in await bob.ok(b"SELECT INBOX")


async def test_a_delivery_to_no_address_fails(house):
    with pytest.raises(DeliveryFailed, match="a login is a full mail address"):
        await house.mailboxes.deliver("alice", b"", "")


async def test_to_tell_of_changes_nobody_waits_for_is_harmless(house):
    house.mailboxes.changed("alice@example.test")
    house.mailboxes.changed("nobody")
