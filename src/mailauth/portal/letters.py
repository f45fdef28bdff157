"""What is mailed to owners, in words: what was changed, when, from where and by whom, and what to do if it was not you.

Rule: no secret but the one link that a letter is for, which is never stored. Names that people gave are shown as one
short line with nothing hidden in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from textwrap import wrap
from zoneinfo import ZoneInfo

from mailauth.accounts.notices import ToMail
from mailauth.factors.typed import visible
from mailauth.portal.language import DEFAULT, Language, languages
from mailauth.portal.mime import Letter
from mailauth.portal.pages.sessions import browser

RESET = "password-reset"
MAX_SHOWN = 60
MAX_CLEANED = 1000
ID_BYTES = 16
LINE_CHARACTERS = 72
BY = {
    "owner": "letters.by_owner",
    "administrator": "letters.by_administrator",
    "program": "letters.by_program",
}


@dataclass(frozen=True, slots=True)
class _Letter:
    """login: whose account it is about."""

    login: str
    subject: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Letters:
    """Writes letters. site_name: who writes; origin: where the portal is; zone: an IANA name, for times.

    host: our name in message ids. sender: the address in From; "": postmaster of the account's own domain.
    language: of those who have chosen none.
    """

    site_name: str
    origin: str
    zone: str = "UTC"
    host: str = "localhost"
    sender: str = ""
    language: str = DEFAULT
    texts: Mapping[str, Language] = field(default_factory=languages, repr=False)

    def notice(self, notice: ToMail, to: str, now: datetime) -> bytes:
        """The letter of a notice to one address; its Message-ID is the same each time it is sent there."""
        language = self._language(notice.language)
        what = _what(language, notice)
        facts = [("letters.when", {"when": self._when(language, notice.at)})]
        if place := _place(notice):
            facts.append(("letters.from", {"place": place}))
        facts.append(("letters.by", {"by": _said(language, BY[notice.by])}))
        ours = notice.by == "owner"
        paragraphs = (
            _said(language, "letters.about", login=notice.login),
            _said(language, "letters.what", what=what),
            "\n".join([_said(language, key, **values) for key, values in facts]),
            _said(language, "letters.was_you" if ours else "letters.expected"),
            _said(language, "letters.not_you" if ours else "letters.not_expected", url=self.origin),
        )
        same = blake2b(f"{self.origin} {notice.id} {notice.at} {to}".encode(), digest_size=ID_BYTES)
        letter = _Letter(notice.login, what, paragraphs)
        return self._written(language, to, letter, same.hexdigest(), now)

    def one_time(self, to: str, language: str, kind: str, values: Mapping[str, str], now: datetime) -> bytes:
        """A letter that is sent once and never stored. values: as `kind` takes them, see ONE_TIME. Raises KeyError."""
        found = self._language(language)
        letter = ONE_TIME[kind](self, found, values)
        return self._written(found, to, letter, secrets.token_hex(ID_BYTES), now)

    def _reset(self, language: Language, values: Mapping[str, str]) -> _Letter:
        login = values["login"]
        ends = "letters.reset_day"
        told = {}
        if "expires_at" in values:
            ends, told = "letters.reset_until", {"when": self._when(language, float(values["expires_at"]))}
        paragraphs = (
            _said(language, "letters.reset", login=login),
            values["link"],
            _said(language, ends, **told),
            _said(language, "letters.reset_unasked"),
        )
        return _Letter(login, _said(language, "letters.reset_subject"), paragraphs)

    def _written(self, language: Language, to: str, letter: _Letter, message_id: str, now: datetime) -> bytes:
        every = (_said(language, "letters.greeting"), *letter.paragraphs, _said(language, "letters.end"))
        return Letter(
            to=to,
            sender=self.sender or f"postmaster@{letter.login.rpartition('@')[2]}",
            name=self.site_name,
            subject=_said(language, "letters.subject", site=self.site_name, what=letter.subject),
            text="\n\n".join([_wrapped(language, paragraph) for paragraph in every]),
            language=language.tag,
            id=message_id,
            host=self.host,
        ).message(now)

    def _language(self, code: str | None) -> Language:
        return self.texts.get(code or "", self.texts[self.language])

    def _when(self, language: Language, at: float) -> str:
        """In the zone of the site, and in UTC."""
        try:
            utc = datetime.fromtimestamp(at, UTC)
            if self.zone == "UTC":
                return _said(language, "letters.utc", time=language.date_and_time(utc))
            zone: tzinfo = ZoneInfo(self.zone)
            times = {"time": language.date_and_time(utc.astimezone(zone)), "utc": language.date_and_time(utc)}
        except (ValueError, OverflowError, OSError):  # beyond the years that a calendar has
            return "–"
        return _said(language, "letters.local", **times, zone=self.zone)


ONE_TIME: Mapping[str, Callable[[Letters, Language, Mapping[str, str]], _Letter]] = {
    RESET: Letters._reset,  # login, link; expires_at: epoch seconds, as text
}


def _said(language: Language, key: str, **values: str) -> str:
    """A text as it is, without what HTML needs."""
    return str(language.texts[key]).format(**values)


def _what(language: Language, notice: ToMail) -> str:
    key = f"event.{notice.kind}"
    if not language.has(key):
        return _said(language, "activity.other")
    factor = f"factor.{notice.label}"
    label = _said(language, factor) if language.has(factor) else _shown(notice.label or "")
    return _said(language, key, label=label or "–")


def _place(notice: ToMail) -> str:
    return ", ".join([part for part in (_shown(notice.peer), _shown(browser(notice.agent))) if part])


def _shown(name: str) -> str:
    """What somebody called something: one line, nothing hidden in it, and not long."""
    line = visible(name[:MAX_CLEANED])
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "…"


def _wrapped(language: Language, paragraph: str) -> str:
    """Lines that every mail program shows whole; Chinese is broken by them anywhere, and a link nowhere."""
    if language.code == "zh":
        return paragraph
    lines = [
        wrap(line, LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False, subsequent_indent="")
        for line in paragraph.split("\n")
    ]
    return "\n".join(["\n".join(line) for line in lines])
