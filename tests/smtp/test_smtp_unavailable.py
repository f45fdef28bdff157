"""While the store is known to be away, submission asks nobody for a password."""

from __future__ import annotations

import time

from fakes_smtp import plain, site, talking

from doubles import MemoryPassdb
from mailauth.serving.sessions import LiveSessions

LEASE_S = 3.0


class Read(LiveSessions):
    """Away as the test says."""

    away = False

    def unavailable(self) -> bool:
        return self.away


def sessions(*, away: bool) -> Read:
    live = Read(MemoryPassdb(), LEASE_S)
    live.has_read(time.monotonic())
    live.away = away
    return live


async def test_submission_says_so_in_place_of_a_greeting() -> None:
    live = sessions(away=True)
    async with site(sessions=live) as here:
        async with talking(here.port) as client:
            assert await client.reply() == "421 4.3.2 Nobody can log in now, try again later"
            assert await client.rest() == b""
        live.away = False
        async with talking(here.port) as client:
            await client.login()


async def test_submission_asks_for_no_password() -> None:
    live = sessions(away=False)
    async with site(sessions=live) as here, talking(here.port) as client:
        await client.greeting()
        live.away = True
        for mechanism in ("PLAIN", "LOGIN"):
            said = await client.say(f"AUTH {mechanism}")
            assert said == "454 4.7.0 Temporary authentication failure, try again later"
        assert (await client.say("AUTH X-OWN")).startswith("504 ")
        live.away = False
        assert (await client.say(f"AUTH PLAIN {plain()}")).startswith("235 ")
