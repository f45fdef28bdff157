"""The log of logins: a line for each, in their order, with the time of each."""

from __future__ import annotations

from mailauth import logs
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import LoginJudged
from mailauth.verdict import Accept, Principal, Reason, Reject


def judged(login: str, took_ms: float = 0.0) -> LoginJudged:
    attempt = Attempt(Credential(login, "s3cret"), Service.IMAP, "192.0.2.1", tls=True)
    outcome = Accept(Principal(1, login, 7)) if took_ms < 1 else Reject(Reason.WRONG_PASSWORD)
    return LoginJudged(attempt, outcome, login, 1, took_ms)


async def test_what_is_told_again_has_a_line_each_time() -> None:
    written: list[str] = []
    now = iter([1.8e9, 1.8e9 + 0.25, 1.8e9 + 1, 1.8e9 + 1.5])
    log = logs.LoginLog(written.append, clock=lambda: next(now))
    again, other = judged("alice@example.test"), judged("bob@example.test", 2.5)
    for event in (again, other, again, again):
        log(event)
    log.flush()
    log.flush()
    (text,) = written
    alice = "login service=imap login=alice@example.test peer=192.0.2.1 tls=yes verdict=accept credential=7 ms=0.0"
    bob = "login service=imap login=bob@example.test peer=192.0.2.1 tls=yes verdict=reject reason=wrong-password ms=2.5"
    assert text.splitlines() == [
        f"2027-01-15T08:00:00.000Z {alice}",
        f"2027-01-15T08:00:00.250Z {bob}",
        f"2027-01-15T08:00:01.000Z {alice}",
        f"2027-01-15T08:00:01.500Z {alice}",
    ]
    assert text.endswith("\n")
