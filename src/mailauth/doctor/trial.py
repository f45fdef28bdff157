"""A test login by every door, with an app password that is made for it: right, wrong, and once it is revoked.

Rule: the password lives as long as the trial, however that ends. What is found is told when it is over: nobody who
reads along can leave it alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mailauth import apppassword
from mailauth.accounts import trials
from mailauth.accounts.apppasswords import Minted
from mailauth.accounts.history import AuditRow, audit
from mailauth.doctor.case import Case
from mailauth.doctor.talk import Entry
from mailauth.doctor.trying import Place, Tried, ended_by_term, places_of, tried, undisturbed
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import StoreUnavailable
from mailauth.store.keycheck import keys_of
from mailauth.store.networks import coarse

WRITTEN_S = 8.0  # logins are written down behind their back
REFUSALS_S = 4.0  # what a host has refused by itself never comes
PAUSE_S = 0.1
BEHIND_S = 1.5  # what was tried last is written down by then; nobody waits for it but who interrupted us
SLACK_S = 2.0  # between two clocks


class NotCleaned(Exception):
    """The password of the trial may still be alive, or what it left still be there. The text says why."""


@dataclass
class Trial:
    """What was seen. rows: of the audit log since the trial began, of this account."""

    minted: Minted
    began: float
    places: Sequence[Place]
    wrong: list[Tried] = field(default_factory=list)
    right: list[Tried] = field(default_factory=list)
    revoked: list[Tried] = field(default_factory=list)
    rows: list[AuditRow] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    is_revoked: bool = False

    def from_source(self, one: Tried) -> list[AuditRow]:
        """The logins on record that came from where this one came from."""
        return [row for row in self.rows if row.kind == "login" and row.peer == one.source]

    def refused_here(self, one: Tried) -> bool:
        """Whether it is on record that this one was refused for the revoked password."""
        return any(row.outcome == "reject" and row.credential_id == self.minted.id for row in self.from_source(one))

    @property
    def accepted(self) -> list[AuditRow]:
        """The logins on record with the password of the trial."""
        return [row for row in self.rows if row.credential_id == self.minted.id and row.outcome == "accept"]

    @property
    def networks(self) -> set[str]:
        """Where we came from, as observations have it, and where we seemed to come from."""
        seen = {one.source for one in [*self.wrong, *self.right, *self.revoked]} | {row.peer for row in self.accepted}
        return {coarse(source) for source in seen | {place.source for place in self.places} if source}


def run(case: Case) -> Trial:
    """The whole of it, cleaned up. Raises NoSuch, Refused, StoreUnavailable, NotCleaned, KeyFileError, WrongKey."""
    with ended_by_term(), _trial(case) as trial:
        case.tell("logins with a wrong password")
        wrong = apppassword.mint(case.settings.policy.app_password_alphabet)
        trial.wrong = tried(trial.places, trial.minted.login, wrong)
        case.tell("logins with a right password")
        trial.right = tried(trial.places, trial.minted.login, trial.minted.password)
        entered = [one.place for one in trial.right if one.entry is Entry.IN]
        case.tell("the audit log")
        _read_until(case, trial, WRITTEN_S, lambda: all(trial.from_source(one) for one in _of(trial.right, entered)))
        case.tell("logins with a revoked password")
        with undisturbed():
            trial.silent = trials.end(case.store, trial.minted, actor=case.actor).without_answer
            trial.is_revoked = True
        trial.revoked = tried(entered, trial.minted.login, trial.minted.password)
        _read_until(case, trial, REFUSALS_S, lambda: all(map(trial.refused_here, trial.revoked)))
    return trial


@contextmanager
def _trial(case: Case) -> Iterator[Trial]:
    """It begins with a password, and leaves nothing of it but what is on record."""
    hashing = case.settings.hashing
    hasher = Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism)
    ring = keys_of(case.store, case.settings.key.file)
    alphabet = case.settings.policy.app_password_alphabet
    places = places_of([door for door in case.doors if door.lets_in and not door.proxied])
    began, trial = time.time(), None
    try:
        with undisturbed():
            minted = trials.begin(case.store, ring, hasher, case.login, alphabet=alphabet, actor=case.actor)
            trial = Trial(minted, began, places)
        yield trial
    finally:
        if trial is not None:
            with undisturbed():
                _clean(case, trial)


def _clean(case: Case, trial: Trial) -> None:
    """Raises NotCleaned."""
    try:
        if not trial.is_revoked:
            trials.end(case.store, trial.minted, actor=case.actor)
            time.sleep(BEHIND_S)
        trials.clear(case.store, trial.minted, trial.networks, trial.began - SLACK_S, actor=case.actor)
    except StoreUnavailable as fault:
        raise NotCleaned(str(fault)) from None


def _of(tries: Sequence[Tried], places: Sequence[Place]) -> list[Tried]:
    return [one for one in tries if one.place in places]


def _read_until(case: Case, trial: Trial, timeout_s: float, holds: Callable[[], bool]) -> None:
    """Read the audit log until it has everything, or for so long."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        trial.rows = list(audit(case.store, trial.minted.login, trial.began - SLACK_S))
        if holds() or time.monotonic() > give_up_at:
            return
        time.sleep(PAUSE_S)
