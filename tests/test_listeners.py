"""Where the letters of the portal go, by what is behind the listeners."""

from __future__ import annotations

from pathlib import Path

import pytest

from doubles import Doorman, MemoryPassdb
from mailauth.attempt import Attempt
from mailauth.carriage import Carried
from mailauth.config import load
from mailauth.ends import NOWHERE, UNKNOWN, End, Ends
from mailauth.listeners import Doors
from mailauth.serving.backing import BackendUnavailable, Opened
from mailauth.serving.census import Census
from mailauth.serving.inherited import Inherited
from mailauth.serving.sessions import LiveSessions
from mailauth.verdict import Principal
from next_server import NextServer

OWN, LETTER = "alice@example.test", b"Subject: x\r\n\r\nbody\r\n"
BASE = '[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "mailauth.key"\n'


class Nobody:
    """A Directory of one domain without accounts, and Backends that are not to be asked for letters."""

    async def recipient(self, address: str) -> str | None:
        return None

    async def may_send_as(self, account_id: int, address: str) -> bool:
        return False

    async def is_local_domain(self, domain: str) -> bool:
        return domain == "example.test"

    async def open(self, attempt: Attempt, principal: Principal, ends: Ends = NOWHERE) -> Opened:
        raise AssertionError("a letter is nobody's login")

    async def smtp_offer(self) -> tuple[str, ...]:
        raise BackendUnavailable("never asked")


def doors(folder: Path, sections: str, *, in_front: bool) -> Doors:
    kind = '[mailbox]\nkind = "backend"\n[backends.here]\nsmtp = "127.0.0.1:25"\ntls = "off"\nlogin = "xclient"\n'
    listen = '[[listen]]\nservice = "smtp"\naddress = "127.0.0.1:0"\ntls = "off"\n'
    (folder / "mailauth.toml").write_text(BASE + (kind if in_front else "") + sections + listen)
    settings, nobody = load(folder / "mailauth.toml"), Nobody()
    sessions = LiveSessions(MemoryPassdb())
    behind = nobody if in_front else None
    return Doors(settings, Doorman(), nobody, Census(9, 9), None, sessions=sessions, backends=behind)


async def test_before_a_back_end_letters_to_our_own_go_to_the_relay(tmp_path: Path) -> None:
    async with NextServer().listening() as there:
        relay = f'[relay]\nhost = "127.0.0.1"\nport = {there.port}\ntls = "off"\n'
        carrier = doors(tmp_path, relay, in_front=True).carrier()
        assert carrier is not None
        assert await carrier.carry(OWN, LETTER) is Carried.TAKEN
        assert f"rcpt TO:<{OWN}>" in there.heard
        assert there.messages == [LETTER + b".\r\n"]


async def test_before_a_back_end_and_without_a_relay_nothing_takes_letters(tmp_path: Path) -> None:
    assert doors(tmp_path, "", in_front=True).carrier() is None


@pytest.mark.parametrize("in_front", [False, True])
async def test_each_kind_has_its_own_submission(tmp_path: Path, in_front: bool) -> None:
    (door,) = doors(tmp_path, "", in_front=in_front).open(Inherited({}))
    door.sock.close()
    protocol = door.protocol(Ends(End("192.0.2.1"), UNKNOWN))
    assert type(protocol).__name__ == ("FrontProtocol" if in_front else "SubmissionProtocol")
