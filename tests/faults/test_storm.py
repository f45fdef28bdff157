"""Fifty clients guess as fast as they can, and the owner of a password that is known already does not notice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from mailauth.accounts import apppasswords, mailboxes
from mailauth.attempt import Service
from mailauth.hashing.argon2id import Argon2id
from site_of_tests import ACCEPTED, ACTOR, DEFERRED, REFUSED, Site, said

GUESSERS, GUESSES_EACH = 50, 6
DELAY_S = 0.3
OWNER_WAITS_S = 1.0


def guessed(site: Site, number: int) -> list[tuple[bytes, float]]:
    """What one client heard to each of its guesses, and after how long."""
    service = tuple(Service)[number % 3]
    heard = []
    with site.client(service) as client:
        for guess in range(GUESSES_EACH):
            began = time.monotonic()
            reply = said(client, "victim@example.test", f"guess {number} {guess}")
            heard.append((reply, time.monotonic() - began))
            assert reply == REFUSED[service] or reply.startswith(DEFERRED[service]), reply
    return heard


def test_a_known_password_gets_in_at_once_while_fifty_clients_guess(tmp_path):
    limits = "[throttle]\nenabled = false\n[limits]\nmax_failures = 100\n"
    site = Site(tmp_path, sections=f"[replies]\nrefusal_delay_s = {DELAY_S}\n{limits}")
    real = Argon2id()  # each guess costs a hash as strong as it should be
    mailboxes.add_account(site.store, "victim@example.test", real.hash(b"correct horse battery"), actor=ACTOR)
    owner = site.add("owner@example.test")
    password = apppasswords.mint(site.store, site.ring, real, owner, label="x", actor=ACTOR).password
    with site.serving(), ThreadPoolExecutor(GUESSERS) as threads:
        assert site.ask(Service.IMAP, owner, password).startswith(ACCEPTED[Service.IMAP])
        storm = [threads.submit(guessed, site, number) for number in range(GUESSERS)]
        waited = []
        while not all(guesser.done() for guesser in storm) or not waited:
            began = time.monotonic()
            for service in Service:
                assert site.ask(service, owner, password).startswith(ACCEPTED[service])
                waited.append(time.monotonic() - began)
                began = time.monotonic()
        guesses = [guess for guesser in storm for guess in guesser.result()]
    assert max(waited) < OWNER_WAITS_S, waited
    assert len(guesses) == GUESSERS * GUESSES_EACH
    assert all(took_s > DELAY_S * 0.95 for reply, took_s in guesses if reply in REFUSED.values())
