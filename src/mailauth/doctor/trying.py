"""Logins by every door at once, each from an address of its own, so that each is found again in the audit log."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from mailauth.doctor.hosts.host import Door
from mailauth.doctor.sources import is_here, new_network, source_for
from mailauth.doctor.talk import Answer, Entry, NoTalk, Offer, Talk, opened

AT_ONCE = 16  # they wait for refusals more than they compute
USABLE = frozenset({"PLAIN", "LOGIN"})


@dataclass(frozen=True, slots=True)
class Place:
    """A door, and where we come from to it; source "": the system chooses."""

    door: Door
    source: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one login. answer: None: it could not be tried, and `why` says so. source: where we came from."""

    place: Place
    answer: Answer | None
    source: str = ""
    why: str = ""

    @property
    def entry(self) -> Entry | None:
        """None: it could not be tried."""
        return None if self.answer is None else self.answer.entry


def places_of(doors: Sequence[Door]) -> list[Place]:
    """Each door with an address to come from that no other has."""
    network = new_network()
    return [Place(door, source_for(door, number % 250 + 1, network)) for number, door in enumerate(doors)]


def tried(places: Sequence[Place], login: str, password: str) -> list[Tried]:
    """One login by each, in their order."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mailauth-doctor")
    talks: list[Talk] = []
    try:
        return list(pool.map(lambda place: _one(place, login, password, talks), places))
    finally:  # who interrupts us does not wait for doors that hang
        pool.shutdown(wait=False, cancel_futures=True)
        for talk in talks:
            talk.cut()


def _one(place: Place, login: str, password: str, talks: list[Talk]) -> Tried:
    try:
        with opened(place.door, place.source) as talk:
            talks.append(talk)
            offer = _secured(talk)
            if not (offer.mechanisms & USABLE or offer.clear):
                return Tried(place, None, talk.source, "it offers neither PLAIN nor LOGIN")
            if not talk.is_secure and not is_here(place.door.host):
                return Tried(place, None, talk.source, "it has no TLS, and a password is not sent in clear")
            return Tried(place, talk.login(offer, login, password), talk.source)
    except NoTalk as why:
        return Tried(place, None, why=str(why))


def _secured(talk: Talk) -> Offer:
    """What is offered once TLS is up, if it can be. Raises NoTalk."""
    offer = talk.offer()
    if talk.is_secure or not offer.starttls:
        return offer
    talk.starttls()
    return talk.offer()


@contextmanager
def ended_by_term() -> Iterator[None]:
    """SIGTERM ends what is done within as Ctrl-C does, so that it is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Cleaning up is not interrupted by a second Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  of signal.signal
    raise KeyboardInterrupt
