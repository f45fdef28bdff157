"""People at the portal, for tests: the means of a site with real factors, and somebody who signs in and shows codes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyotp

from mailauth import plugins
from mailauth.accounts import bearer, enrolment, freshproof, portalsessions, proving, secondfactor, signin
from mailauth.accounts.freshproof import Act
from mailauth.accounts.mailboxes import add_account
from mailauth.accounts.means import Means, Rules
from mailauth.accounts.portalsessions import PortalSession, Stage
from mailauth.accounts.steps import Errand, Question
from mailauth.factors.factor import Hashing
from mailauth.factors.fetch import Answer, Request
from mailauth.factors.message import Message, Sent
from mailauth.interfaces import WebMatch
from mailauth.keys import KeyRing
from mailauth.store.engine import Store

ALICE = "alice@example.test"
NOW = 1.8e9
PEER = "192.0.2.1"
ROOT = {"actor": "cli:root"}
WECHAT = {"app_id": "wx1", "app_secret": "s" * 32, "redirect_uri": "https://mail.example.test/back"}


class Gateway:
    """Takes every message, and keeps the codes."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def request(self, message: Message, now: float) -> Request:
        self.messages.append(message)
        return Request("POST", "https://sms.example.test/send")

    def read(self, answer: Answer | None) -> Sent:
        return Sent()

    @property
    def code(self) -> str:
        return self.messages[-1].code


def plain_hash(secret: bytes) -> str:
    return "plain:" + secret.decode()


HASHING = Hashing(plain_hash, lambda record, secret: record == plain_hash(secret))


def means_of(store: Store, ring: KeyRing, gateway: Gateway | None = None, **rules: Any) -> Means:
    factors = {
        "totp": plugins.load("factors", "totp", {}),
        "sms": plugins.load("factors", "sms", {"gateway": gateway or Gateway()}),
        "wechat": plugins.load("factors", "wechat", WECHAT),
        "recovery-codes": plugins.load("factors", "recovery-codes", {}),
    }
    return Means(store, lambda: ring, factors, HASHING, Rules(**rules))


@dataclass
class Person:
    """Somebody with an account, at a browser. Time is his: it goes on by itself a little, so that codes differ."""

    means: Means
    account_id: int
    login: str = ALICE
    now: float = NOW
    token: str = ""
    device: str = ""
    secret: str = ""
    peer: str = PEER

    @property
    def session(self) -> PortalSession:
        found = portalsessions.find(self.means, self.token, peer=self.peer, now=self.now)
        assert found is not None, "signed out"
        return found

    @property
    def stage(self) -> Stage | None:
        found = portalsessions.find(self.means, self.token, peer=self.peer, now=self.now)
        return None if found is None else found.stage

    @property
    def match(self) -> WebMatch:
        with self.means.store.reading() as tx:
            row = tx.row(self.means.store.sql.ACCOUNT, login=self.login)
        return WebMatch(self.account_id, self.login, None if row is None else row["web_changed_at"])

    def begin(self, **more: Any) -> PortalSession:
        more = {"peer": self.peer, "agent": "Firefox", "device": self.device, "now": self.now} | more
        signed = signin.begin(self.means, self.match, **more)
        self.token, self.device = signed.token, signed.device or self.device
        return self.session

    def code(self) -> str:
        """The app's code, of a period that has not been used."""
        self.now += 30
        return pyotp.TOTP(self.secret).at(int(self.now))

    def second(self) -> PortalSession:
        """Finish the sign-in with the app."""
        outcome = secondfactor.check(
            self.means, self.session, "totp", {"code": self.code()}, device=self.device, now=self.now
        )
        assert isinstance(outcome, signin.SignedIn), outcome
        self.token, self.device = outcome.token, outcome.device
        return self.session

    def sign_in(self) -> PortalSession:
        session = self.begin()
        return self.second() if session.stage is Stage.PASSWORD else session

    def prove(self, token: str, *, by_password: bool | None = None) -> None:
        """Give whatever proof an act takes."""
        action = freshproof.action(self.means, self.session, token, now=self.now)
        if action.needs_password or freshproof.WEB_PASSWORD in action.ways:
            proving.prove_by_password(self.means, self.session, token, self.match, now=self.now)
        if freshproof.WEB_PASSWORD not in action.ways:
            given = {"code": self.code()}
            outcome = proving.check(self.means, self.session, token, "totp", given, now=self.now)
            assert isinstance(outcome, proving.Proven), outcome

    def proven(self, kind: Act, params: dict[str, Any]) -> str:
        token = freshproof.begin(self.means, self.session, kind, params, now=self.now)
        self.prove(token)
        return token

    def enrol_totp(self, **more: Any) -> enrolment.Bound:
        """From wherever he is: forced, or with proof."""
        token = None
        if self.session.stage is Stage.IN:
            token = enrolment.ask(self.means, self.session, "totp", now=self.now)
            self.prove(token)
        begun = enrolment.begin(self.means, self.session, "totp", {}, token=token, now=self.now)
        assert isinstance(begun, Question), begun
        shown = enrolment.question(self.means, self.session, "totp", begun.id, now=self.now)
        self.secret = str(shown["secret"]).replace(" ", "")
        given = {"code": self.code(), "name": "Phone"}
        bound = enrolment.confirm(self.means, self.session, "totp", given, question_id=begun.id, now=self.now, **more)
        assert isinstance(bound, enrolment.Bound), bound
        if bound.signed_in is not None:
            self.token, self.device = bound.signed_in.token, bound.signed_in.device
        return bound


def person(means: Means, login: str = ALICE, **more: Any) -> Person:
    """A new account and whoever has it."""
    add_account(means.store, login, "plain:web", **ROOT, now=NOW - 86400)
    with means.store.reading() as tx:
        row = tx.row(means.store.sql.ACCOUNT, login=login)
    assert row is not None
    return Person(means, row["id"], login, **more)


def run(outcome: Any, *answers: dict[str, Any] | None) -> Any:
    """Carry out the errands with these answers, None for none."""
    left = list(answers)
    while isinstance(outcome, Errand):
        body = left.pop(0)
        outcome = outcome.then(None if body is None else Answer(200, json.dumps(body).encode()))
    return outcome


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each of them gives, or raises, begun together in threads."""
    start, results = threading.Barrier(len(calls)), [None] * len(calls)

    def one(place: int) -> None:
        start.wait()
        try:
            results[place] = calls[place]()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results[place] = error

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def knows_device(store, device, account_id):
    """Whether somebody has signed in to this account from the browser with this cookie."""
    with store.reading() as tx:
        return tx.row(store.sql.DEVICE, row_id=bearer.digest(device), account_id=account_id) is not None
