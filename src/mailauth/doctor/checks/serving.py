"""`mailauth serve`: whether it runs and answers. It is asked by a change in the store, as `mailauth sessions` asks."""

from __future__ import annotations

from collections.abc import Iterator

from mailauth.accounts.sessions import live_sessions
from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, ok, problem

SUBJECT = "mailauth serve"


def _examine(case: Case) -> Iterator[Finding]:
    asked = live_sessions(case.store, actor=case.actor)
    with case.store.reading() as tx:
        rows = [row for row in tx.rows(case.store.sql.PROCESSES) if row["applied"] >= 0]
    for name in asked.silent:
        yield problem(
            SUBJECT,
            f"{name} does not answer, and lets nobody in",
            "look into its log; start it anew; if it is gone for good, it is forgotten within the hour",
        )
    answering = [f"process {row['pid']} at {row['host'].partition('/')[0]}" for row in rows]
    for name in answering:
        yield ok(SUBJECT, f"{name} answers")
    if not answering and not asked.silent:
        yield problem(SUBJECT, "no process serves this store", "start it: `mailauth serve`, or its systemd unit")


CHECK = Check(40, "whether it serves", _examine)
