"""Where factors live in tests: a store that keeps texts and compares before it writes, and a device for each factor.

Rule: the keeper does what whoever carries out steps has to do, no more: so what is proven with it holds for any other.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pyotp
from soft_authenticator import SoftAuthenticator

from mailauth import plugins
from mailauth.apppassword import ALPHABET
from mailauth.demo.providers.dingtalk import DingTalk
from mailauth.demo.providers.grants import identifier
from mailauth.demo.providers.phone import Phone
from mailauth.demo.providers.wechat import WeChat
from mailauth.factors import ledger, record
from mailauth.factors.factor import Fetch, Hashing, Later, Occasion, Step
from mailauth.factors.sealed import Box
from mailauth.gateways.http import Http
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import Key, KeyRing

NOW = 1_700_000_010.0
OLD_KEY = Key(1, "2026-01-01T00:00:00+00:00", b"1" * 32)
NEW_KEY = Key(2, "2026-02-01T00:00:00+00:00", b"2" * 32)
RING = KeyRing([OLD_KEY])
QUICK = Argon2id(time_cost=1, memory_kib=8)
HASHING = Hashing(QUICK.hash, QUICK.verify)
PORTAL = "https://mail.example.test"


class Clock:
    """A clock that stands until it is told to go."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


def occasion(now: float = NOW, **changed: Any) -> Occasion:
    """One request of alice's."""
    fields: dict[str, Any] = {
        "now": now,
        "random": os.urandom(32),
        "box": Box(RING, "17"),
        "hashing": HASHING,
        "login": "alice@example.test",
        "session": "session-1",
        "purpose": "sign-in",
        "source": "192.0.2.1",
    }
    return Occasion(**fields | changed)


class Keeper:
    """One account's factor. Everything is kept as text; what has changed meanwhile is not overwritten."""

    def __init__(self, factor: Any, clock: Clock, application: Any = None, ring: KeyRing = RING) -> None:
        self.factor = factor
        self.clock = clock
        self.application = application
        self.ring = ring
        self.state: str | None = None
        self.pendings: dict[str, str] = {}
        self.tallies: dict[str, ledger.Tally] = {}
        self.lock = threading.Lock()
        self.written: list[str] = []
        self.losses = 0

    def occasion(self, **changed: Any) -> Occasion:
        return occasion(self.clock.now, **{"box": Box(self.ring, "17")} | changed)

    async def enrol(self, given: Mapping[str, str] = {}, **changed: Any) -> Step:
        return await self._carry_out(lambda at, state, _: self.factor.enrol(at, state, given), None, changed)

    async def confirm(self, given: Mapping[str, str], ticket: str | None, **changed: Any) -> Step:
        def ask(at: Occasion, state: Any, pending: Any) -> Step:
            return self.factor.confirm(at, state, pending, given)

        return await self._carry_out(ask, ticket, changed)

    async def challenge(self, **changed: Any) -> Step:
        return await self._carry_out(lambda at, state, _: self.factor.challenge(at, state), None, changed)

    async def check(self, given: Mapping[str, str], ticket: str | None, **changed: Any) -> Step:
        def ask(at: Occasion, state: Any, pending: Any) -> Step:
            return self.factor.check(at, state, pending, given)

        return await self._carry_out(ask, ticket, changed)

    def enrolled(self) -> Any:
        """What is kept of the factor; None: nothing."""
        return None if self.state is None else record.from_json(self.factor.Enrolled, self.state)

    def pending(self, ticket: str | None) -> Any:
        text = self.pendings.get(ticket or "")
        return None if text is None else record.from_json(self.factor.Pending, text)

    def show(self, ticket: str | None, **changed: Any) -> Mapping[str, Any]:
        return self.factor.show(self.occasion(**changed), self.enrolled(), self.pending(ticket))

    async def _carry_out(self, ask: Any, ticket: str | None, changed: dict[str, Any]) -> Step:
        while True:
            with self.lock:
                state_text, pending_text = self.state, self.pendings.get(ticket or "")
            state = None if state_text is None else record.from_json(self.factor.Enrolled, state_text)
            pending = None if pending_text is None else record.from_json(self.factor.Pending, pending_text)
            step = ask(self.occasion(**changed), state, pending)
            if (held := self._write(step, state_text, ticket, pending_text)) is True:
                break
            if isinstance(held, Later):
                return held
            self.losses += 1
        while isinstance(step, Fetch):
            state_text = None if step.state is None else record.to_json(step.state)
            ticket = None if step.pending is None else step.pending.ticket.id
            pending_text = self.pendings.get(ticket or "")
            transport = httpx2.ASGITransport(self.application)
            async with Http(transport=transport) as http:
                step = step.then(await http.send(step.request))
            held = self._write(step, state_text, ticket, pending_text)
            assert held is True, "the state was changed by somebody else while the provider was asked"
        return step

    def _write(self, step: Step, state: str | None, ticket: str | None, pending: str | None) -> bool | Later:
        """Whether it was as it was read, and is now as the step says."""
        with self.lock:
            if self.state != state or self.pendings.get(ticket or "") != pending:
                return False
            if isinstance(step, Fetch):
                charged = ledger.charge(step.costs, self.tallies, self.clock.now)
                if isinstance(charged, ledger.Overdrawn):
                    return Later(charged.why, charged.retry_after_s, None, None, charged.subject)
                self.tallies |= charged
            if ticket is not None:
                self.pendings.pop(ticket, None)
            if step.pending is not None:
                self.pendings[step.pending.ticket.id] = record.to_json(step.pending)
                self.written.append(self.pendings[step.pending.ticket.id])
            if step.state is not None:
                self.state = record.to_json(step.state)
                self.written.append(self.state)
            return True


class Device:
    """What a person has in the hand. name: of the plug-in; question: whether a check begins with a pending."""

    name: str
    enrolment: Mapping[str, str] = {}
    question = False
    spends_question = False  # an answer, right or wrong, closes the question

    def __init__(self) -> None:
        self.clock = Clock()
        self.secrets: list[str] = []
        self.keeper = Keeper(plugins.load("factors", self.name, self.section()), self.clock, self.application())

    def section(self) -> dict[str, object]:
        return {}

    def application(self) -> Any:
        return None

    def confirming(self, shown: Mapping[str, Any]) -> dict[str, str]:
        """The right answer to an enrolment."""
        raise NotImplementedError

    def answering(self, shown: Mapping[str, Any]) -> dict[str, str]:
        """The right answer to a check."""
        raise NotImplementedError

    def wrong(self, right: dict[str, str]) -> dict[str, str]:
        """An answer of the right form that is not right."""
        return right | {"code": "".join([_other(letter) for letter in right["code"]])}

    async def enrol(self) -> Step:
        """The whole enrolment."""
        asked = await self.keeper.enrol(self.enrolment, purpose="enrol")
        ticket = asked.pending.ticket.id
        return await self.keeper.confirm(self.confirming(self.keeper.show(ticket)), ticket, purpose="enrol")

    async def asked(self, **changed: Any) -> tuple[dict[str, str], str | None]:
        """A check begun: the right answer, and the ticket of the question."""
        self.clock.go(61)
        step = await self.keeper.challenge(**changed)
        ticket = None if step.pending is None else step.pending.ticket.id
        return self.answering(self.keeper.show(ticket, **changed)), ticket


class TotpDevice(Device):
    name = "totp"

    def confirming(self, shown: Mapping[str, Any]) -> dict[str, str]:
        self.app = pyotp.parse_uri(shown["uri"])
        self.secrets = [shown["secret"].replace(" ", ""), shown["secret"][:9]]
        return self.answering(shown)

    def answering(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return {"code": self.app.at(self.clock.now)}


class RecoveryDevice(Device):
    name = "recovery-codes"

    def confirming(self, shown: Mapping[str, Any]) -> dict[str, str]:
        self.paper = list(shown["codes"])
        self.secrets = [code.replace("-", "") for code in self.paper] + self.paper
        return {}

    def answering(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return {"code": self.paper.pop()}

    def wrong(self, right: dict[str, str]) -> dict[str, str]:
        following = dict(zip(ALPHABET, ALPHABET[1:] + ALPHABET[:1], strict=True)) | {"-": "-"}
        return {"code": "".join([following[letter] for letter in right["code"]])}


class SmsDevice(Device):
    name = "sms"
    enrolment: Mapping[str, str] = {"number": "138 0013 8000"}

    def section(self) -> dict[str, object]:
        secret = "shared-by-both-sides"
        self.phone = Phone(secret, clock=self.clock)
        gateway = plugins.load("gateways", "sms_webhook", {"url": "http://localhost/messages", "secret": secret})
        self.secrets = ["13800138000", secret]
        return {"gateway": gateway}

    def application(self) -> Any:
        return self.phone.application

    def confirming(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return self.answering(shown)

    def answering(self, shown: Mapping[str, Any]) -> dict[str, str]:
        text = self.phone.messages[-1].text
        assert self.phone.messages[-1].to == "+8613800138000"
        code = "".join([letter for letter in text if letter.isdigit()])[:6]
        self.secrets.append(code)
        return {"code": code}


class ScanDevice(Device):
    """A browser, and a telephone that scans what it shows."""

    question = True
    spends_question = True
    person = "alice"

    def application(self) -> Any:
        return self.provider.application

    def confirming(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return self.answering(shown)

    def answering(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return self.back(shown["url"], person=self.person, organisation="ding-example")

    def wrong(self, right: dict[str, str]) -> dict[str, str]:
        return right | {each: "0" * 32 for each in ("code", "authCode") if each in right}

    def back(self, url: str, **decision: str) -> dict[str, str]:
        """Decide, and come back: the query that the browser brings."""
        parts = urlsplit(url)
        path = parts.path.rpartition("/")[0] + "/decision"
        reply = self.get(parts._replace(path=path, fragment="").geturl(), **decision)
        assert reply.status_code == 302, reply.text
        assert reply.headers["Location"].startswith(PORTAL + "/factors/" + self.name)
        return dict(parse_qsl(urlsplit(reply.headers["Location"]).query, keep_blank_values=True))

    def get(self, url: str, **query: str) -> httpx2.Response:
        """What the provider's page says."""

        async def visit() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(self.application())) as browser:
                return await browser.get(httpx2.URL(url).copy_merge_params(query))

        return _run(visit())


class WeChatDevice(ScanDevice):
    name = "wechat"

    def section(self) -> dict[str, object]:
        self.provider = WeChat("wx-app", "wx-secret-of-the-app", "mail.example.test", clock=self.clock)
        self.secrets = ["wx-secret-of-the-app", identifier("unionid", "alice"), identifier("openid", "wx-app", "alice")]
        return {
            "app_id": "wx-app",
            "app_secret": "wx-secret-of-the-app",
            "redirect_uri": f"{PORTAL}/factors/wechat/back",
        }


class DingTalkDevice(ScanDevice):
    name = "dingtalk"

    def section(self) -> dict[str, object]:
        redirect_uri = f"{PORTAL}/factors/dingtalk/back"
        self.provider = DingTalk("ding-app", "ding-secret-of-the-app", redirect_uri, clock=self.clock)
        ids = [identifier("unionId", "alice"), identifier("openId", "ding-app", "alice")]
        self.secrets = ["ding-secret-of-the-app", *ids]
        return {
            "app_id": "ding-app",
            "app_secret": "ding-secret-of-the-app",
            "redirect_uri": redirect_uri,
            "organisation": "ding-example",
        }


class WebAuthnDevice(Device):
    name = "webauthn"
    enrolment: Mapping[str, str] = {"name": "YubiKey"}
    question = True
    spends_question = True

    def section(self) -> dict[str, object]:
        self.key = SoftAuthenticator(PORTAL)
        return {"rp_id": "mail.example.test", "origins": [PORTAL]}

    def confirming(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return {"credential": self.key.create(shown["options"])}

    def answering(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return {"credential": self.key.get(shown["options"])}

    def wrong(self, right: dict[str, str]) -> dict[str, str]:
        return {"credential": right["credential"].replace('signature": "', 'signature": "AA')}


DEVICES: dict[str, type[Device]] = {
    kind.name: kind for kind in (TotpDevice, RecoveryDevice, SmsDevice, WeChatDevice, DingTalkDevice, WebAuthnDevice)
}


def _other(letter: str) -> str:
    """Another digit."""
    return str((int(letter) + 1) % 10)


def _run(waiting: Any) -> Any:
    """Wait for it in a thread of its own, whatever loop is running here."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(waiting)))
    thread.start()
    thread.join()
    return found[0]
