"""The wall clock is stepped by an hour and a day, both ways, under a process that serves: nobody is locked out, nothing
that has ended comes back for good. (What each part does with an injected clock is in the tests of its room.)"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_site import ALICE, answers, assert_judged, secrets_of, serving, wait_until

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.store.changes import Effect
from site_of_tests import ACCEPTED, ACTOR, REFUSED, Site

HOUR_S, DAY_S = 3600, 86400
STEPS_S = (HOUR_S, -HOUR_S, DAY_S, -DAY_S)
STEPPED = """
import time

real, real_ns = time.time, time.time_ns

def step():
    with open({file!r}) as file:
        return int(file.read())

time.time = lambda: real() + step()
time.time_ns = lambda: real_ns() + step() * 10**9
"""


class Clock:
    """The wall clock of one process of Python: so many seconds from everybody else's. Nobody steps the monotonic one.

    (libfaketime does not do: it spoils clock_nanosleep, and with it time.sleep.)
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "step"
        (folder / "sitecustomize.py").write_text(STEPPED.format(file=str(self._file)))
        self.environment = {"PYTHONPATH": str(folder)}
        self.step(0)

    def step(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path_factory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock"))


def everywhere(site: Site, password: str, replies: dict[Service, bytes]) -> Callable[[], bool]:
    return lambda: all(site.ask(service, ALICE, password).startswith(replies[service]) for service in Service)


@pytest.mark.parametrize("step_s", STEPS_S, ids=lambda step_s: f"{step_s:+d} s")
def test_a_step_of_the_clock_locks_nobody_out_and_lets_nobody_stay(tmp_path, clock, step_s):
    site = Site(tmp_path)
    secrets = secrets_of(site)
    soon = site.mint(ALICE, label="soon", expires_at=time.time() + HOUR_S / 2)
    lost = site.mint(ALICE, label="lost", expires_at=time.time() + 30 * DAY_S)
    with (
        serving(site, secrets, **clock.environment),
        site.client(Service.IMAP) as stays,
        site.client(Service.IMAP) as ends,
        site.client(Service.IMAP) as is_lost,
    ):
        for client, password in ((stays, secrets["app"]), (ends, soon.password), (is_lost, lost.password)):
            client.login(ALICE, password)
        clock.step(step_s)
        assert_judged(answers(site, secrets))
        if step_s > 0:  # it has expired, and so have its sessions
            assert ends.readline().startswith(b"* BYE ")
            assert everywhere(site, soon.password, REFUSED)()
        else:
            assert ends.noop()[0] == "OK"
            assert everywhere(site, soon.password, ACCEPTED)()
        assert stays.noop()[0] == "OK"

        effect = Effect()
        apppasswords.revoke(site.store, ALICE, ids=[lost.id], actor=ACTOR, effect=effect)
        assert (effect.ended, effect.silent) == (1, [])  # nobody is waited for in vain
        assert everywhere(site, lost.password, REFUSED)()
        assert is_lost.readline().startswith(b"* BYE ")

        clock.step(0)  # put right: the first one is as good as it should be
        assert_judged(answers(site, secrets))
        assert everywhere(site, soon.password, ACCEPTED)()
        assert everywhere(site, lost.password, REFUSED)()
        clock.step(HOUR_S)  # its time has come
        assert everywhere(site, soon.password, REFUSED)()
        if step_s < 0:
            assert ends.readline().startswith(b"* BYE ")
        assert_judged(answers(site, secrets))
        assert stays.noop()[0] == "OK"
    assert "verdict=defer" not in site.log


def test_what_is_written_behind_goes_on_whatever_the_clock_says(tmp_path, clock):
    site = Site(tmp_path)
    secrets = secrets_of(site)

    def rows() -> int:
        with site.store.reading() as tx:
            row = tx.row("SELECT count(*) AS count FROM audit WHERE kind = 'login'")
        return row["count"] if row else 0

    with serving(site, secrets, **clock.environment):
        for step_s in (*STEPS_S, 0):
            before = rows()
            clock.step(step_s)
            assert_judged(answers(site, secrets))
            wait_until(lambda before=before: rows() > before)
    assert apppasswords.listed(site.store, ALICE)[0].last_used_at
