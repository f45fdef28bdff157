"""This machine's clock: codes of an authenticator app hold for 30 seconds, and certificates and policies have dates.

Source: RFC 6238 section 5.2; RFC 9110 section 6.6.1. Rule: no other host is asked but the store's own, unless its URL
was given.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem, warning

RIGHT_S, BEARABLE_S = 2.0, 20.0
PATIENCE_S = 10.0
MEND = "have NTP set it: `timedatectl set-ntp true`, or chrony"


def _examine(case: Case) -> Iterator[Finding]:
    driver = case.store.driver
    if driver.clock:
        before = time.time()
        with case.store.reading() as tx:
            row = tx.row(driver.clock)
        if row is not None:
            yield _compared(f"clock, beside that of {driver.name}", _offset(float(row["now"]), before), 0.0)
    if case.clock_from:
        yield _by_http(case.clock_from)
    elif not driver.clock:
        yield not_checked("clock", "no other clock was asked", "--clock-from https://HOST asks one by its Date header")


def _by_http(url: str) -> Finding:
    parts = urlsplit(url)
    subject = f"clock, beside that of {parts.netloc}"
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=PATIENCE_S)
    try:
        before = time.time()
        connection.request("HEAD", parts.path or "/", headers={"Connection": "close"})
        told = connection.getresponse().getheader("Date", "")
        offset_s = _offset(parsedate_to_datetime(told).timestamp() + 0.5, before)  # it tells whole seconds
    except (OSError, http.client.HTTPException, ValueError) as error:
        return not_checked(subject, f"it cannot be asked ({type(error).__name__})", "name another with --clock-from")
    finally:
        connection.close()
    return _compared(subject, offset_s, 0.5)


def _offset(other: float, before: float) -> float:
    """By how much ours is ahead, seconds: its answer was written half-way between asking and hearing."""
    return (before + time.time()) / 2 - other


def _compared(subject: str, offset_s: float, blur_s: float) -> Finding:
    told = f"this machine is {abs(offset_s):.1f} s {'ahead' if offset_s > 0 else 'behind'}"
    if abs(offset_s) <= RIGHT_S + blur_s:
        return ok(subject, told)
    if abs(offset_s) <= BEARABLE_S:
        return warning(subject, told, MEND)
    return problem(subject, f"{told}: codes of authenticator apps are refused", MEND)


CHECK = Check(60, "the clock", _examine)
