"""Each doveadm that is to end sessions: reached, and its key taken. It is told to end those of a user who is nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, ok, problem
from mailauth.gateways.doveadm import Doveadm, NotReached
from mailauth.keeper.configured import doveadms_of

NOBODY = "mailauth-doctor@nobody.invalid"
TIMEOUT_S = 5.0
MEND = (
    "doveadm_key_file must hold Dovecot's doveadm_api_key, and doveadm_url name the inet_listener of its service "
    "doveadm; then reload Dovecot"
)


def _examine(case: Case) -> Iterator[Finding]:
    for url, key in doveadms_of(case.settings).values():
        subject = f"doveadm at {url}"
        try:
            asyncio.run(Doveadm(url, key.read()).kick(NOBODY, TIMEOUT_S))
        except NotReached as why:
            yield problem(subject, f"it cannot end sessions that were revoked: {why}", MEND)
        else:
            yield ok(subject, "it does what it is told")


CHECK = Check(95, "doveadm", _examine)
