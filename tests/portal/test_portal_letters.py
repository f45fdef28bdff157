"""What is mailed to owners: well-formed whatever it holds, in their language, calm, and without a secret."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.headerregistry import Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.accounts.notices import ToMail
from mailauth.accounts.telling import TOLD
from mailauth.factors.typed import visible
from mailauth.portal.language import TAGS, languages
from mailauth.portal.letters import RESET, Letters
from mailauth.portal.mime import Letter

ALICE = "alice@example.test"
NOW = datetime(2026, 11, 21, 6, 4, tzinfo=UTC)
AT = datetime(2026, 11, 21, 6, 3, tzinfo=UTC).timestamp()
ORIGIN = "https://mail.example.test"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0"
TEXTS = languages()
LETTERS = Letters("Example Mail", ORIGIN, "Asia/Shanghai", "mx.example.test")
FIELDS = [
    *("Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version"),
    *("Content-Type", "Content-Transfer-Encoding", "Content-Language"),
]


def notice(**changed: Any) -> ToMail:
    values = {"id": 7, "at": AT, "kind": "app-password-added", "by": "owner", "peer": "192.0.2.1", "agent": FIREFOX}
    values |= {"label": "Phone", "detail": "", "login": ALICE, "language": "en", "mailed_at": None}
    return ToMail(**values | {"to": (ALICE,), "claimed": 0.0} | changed)


def parsed(content: bytes) -> Any:
    """The message, after looking at what a parser forgives."""
    assert re.fullmatch(rb"(?:[^\r\n]*\r\n)*", content), "a line end that is none"
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert [name for name, _ in message.items()] == FIELDS
    assert message.defects == []
    for name, value in message.items():
        assert getattr(value, "defects", ()) == (), name
    return message


def told(**changed: Any) -> Any:
    return parsed(LETTERS.notice(notice(**changed), ALICE, NOW))


def test_it_says_what_happened_when_from_where_by_whom_and_what_to_do() -> None:
    message = told()
    assert message["Subject"] == "Example Mail: Client password “Phone” was made"
    assert message["From"].addresses == (Address("Example Mail", "postmaster", "example.test"),)
    assert message["To"].addresses == (Address("", "alice", "example.test"),)
    assert message["Date"].datetime == NOW
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "en"
    assert message.get_content_type() == "text/plain"
    text = message.get_content()
    assert "What happened: Client password “Phone” was made." in text
    assert "When: 21 Nov 2026, 14:03 (Asia/Shanghai), 21 Nov 2026, 06:03 UTC" in text
    assert "From where: 192.0.2.1, Firefox · Windows" in text
    assert "By whom: you, as far as we can tell" in text
    assert ORIGIN in text and "change your web password" in " ".join(text.split())
    assert ALICE in text
    assert max(len(line) for line in text.splitlines()) <= 76


def test_it_says_it_in_chinese() -> None:
    message = told(language="zh")
    assert message["Subject"] == "Example Mail：生成了专用密码“Phone”"
    assert message["Content-Language"] == "zh-CN"
    text = message.get_content()
    assert "时间：2026年11月21日 14:03（Asia/Shanghai），即 UTC 时间 2026年11月21日 06:03" in text
    assert "来源：192.0.2.1, Firefox · Windows" in text


@pytest.mark.parametrize("by", ["owner", "administrator", "program"])
@pytest.mark.parametrize("language", TAGS)
@pytest.mark.parametrize("kind", [*sorted(TOLD), "factor-removed-again", "of-a-later-version"])
def test_everything_that_is_told_has_words(kind: str, language: str, by: str) -> None:
    label = "totp" if kind.startswith("factor") else "Phone"
    message = told(kind=kind, language=language, by=by, label=label, peer="", agent="")
    text = message.get_content()
    known = languages()[language].texts
    assert str(known[f"letters.by_{by}"]) in text
    assert ("From where" in text or "来源" in text) is False
    assert "totp" not in text + message["Subject"]
    assert "{" not in text + message["Subject"]
    assert not message["Subject"].endswith("of-a-later-version")


def test_who_chose_no_language_gets_the_site_s() -> None:
    for code in (None, "xx"):
        assert told(language=code)["Content-Language"] == "en"
        letters = Letters("邮箱", ORIGIN, language="zh", sender="security@example.test")
        message = parsed(letters.notice(notice(language=code), ALICE, NOW))
        assert message["Content-Language"] == "zh-CN"
        assert message["From"].addresses == (Address("邮箱", "security", "example.test"),)
        assert "2026年11月21日 06:03（UTC）" in message.get_content()


def test_it_has_the_same_id_each_time_and_another_at_another_address() -> None:
    ids = [
        parsed(LETTERS.notice(notice(id=number), to, NOW))["Message-ID"]
        for number, to in ((7, ALICE), (7, ALICE), (7, "alice@elsewhere.test"), (8, ALICE))
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"<[0-9a-f]{32}@mx\.example\.test>", each) for each in ids)


def written_by(content: bytes) -> str:
    """The name in From, as RFC 2047 has it: no space between two encoded words that stand side by side."""
    raw = email.message_from_bytes(content, policy=email.policy.compat32)["From"]
    return str(make_header(decode_header(raw))).rpartition("<")[0].strip() if "<" in raw else ""


HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        [
            "x\r\nBcc: eve@example.test\r\n\r\nbody",
            "x\nX: y",
            "\u202egnp.exe\u2066",
            "<script>alert(1)</script>&amp;",
            "=?utf-8?q?a=0D=0ABcc:_eve?=",
            "=?utf-8?b?44CC?= =?utf-8?b?44CC?=",
            "a" * 10_000,
            "字" * 10_000,
            "\u0645\u0631\u062d\u0628\u0627",
            "{what} {0.__class__} %s \\",
            "\x00\x1b[31m\x7f\x85\u2028\u2029",
            "\ud800",
            ".\r\n.\r\nQUIT",
        ]
    ),
    st.text(alphabet="\r\n\t :<>=?_@\u202e\u2028é字", max_size=200),
)


@given(label=HOSTILE, agent=HOSTILE, peer=HOSTILE, site=HOSTILE)
def test_whatever_it_holds_it_has_these_fields_and_one_text(label: str, agent: str, peer: str, site: str) -> None:
    letters = Letters(site, ORIGIN, texts=TEXTS)
    content = letters.notice(notice(label=label, agent=agent, peer=peer), ALICE, NOW)
    assert content.isascii()
    message = parsed(content)
    assert message["To"].addresses == (Address("", "alice", "example.test"),)
    assert [each.addr_spec for each in message["From"].addresses] == ["postmaster@example.test"]
    text = message.get_content().replace("\r\n", "\n")
    for shown in (message["Subject"], text, written_by(content)):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x08\x0b-\x1f\x7f]", shown)
    assert "\n" not in message["Subject"]
    assert len(message.get_content()) < 2500
    assert max(len(line) for line in content.split(b"\r\n")) <= 78
    assert message.get_content().count(ORIGIN) == 1


@given(
    label=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FFF, categories=["L", "N"]), max_size=60)
)
def test_a_name_is_told_as_it_is(label: str) -> None:
    subject = told(label=label)["Subject"]
    assert subject == f"Example Mail: Client password “{visible(label) or '–'}” was made"


@given(subject=HOSTILE, name=HOSTILE, text=HOSTILE, host=HOSTILE)
def test_a_message_is_whole_whatever_is_in_it(subject: str, name: str, text: str, host: str) -> None:
    letter = Letter(ALICE, "a@example.test", name, subject, text, "en", "0" * 32, host)
    message = parsed(letter.message(NOW))
    for told, meant in ((str(message["Subject"]), subject), (written_by(letter.message(NOW)), name)):
        assert told == visible(meant) or (len(meant) > 200 and visible(meant[:500]).startswith(told))
    assert message["Message-ID"].endswith(">")


def test_an_address_that_is_long_or_not_ascii_stays_whole() -> None:
    long = "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".test"
    assert f"\r\nTo: {long}\r\n".encode() in LETTERS.notice(notice(), long, NOW)
    content = LETTERS.notice(notice(login="用户@example.test"), "用户@example.test", NOW)
    assert "\r\nTo: 用户@example.test\r\n".encode() in content
    message = email.message_from_bytes(content, policy=email.policy.SMTPUTF8)
    assert "用户@example.test" in message.get_content()


@pytest.mark.parametrize("at", [1e30, -1e30, 0.0])
def test_a_time_that_no_calendar_has_is_no_fault(at: float) -> None:
    assert "When: " in told(at=at).get_content()


def test_a_reset_link_is_mailed_with_what_it_is_for() -> None:
    link = f"{ORIGIN}/reset?code=abcdef-ghjkmn-pqrstu-vwxyz2"
    values = {"login": ALICE, "link": link, "expires_at": repr(AT)}
    message = parsed(LETTERS.one_time("alice@elsewhere.test", "en", RESET, values, NOW))
    assert message["Subject"] == "Example Mail: A new web password for your account"
    assert message["To"] == "alice@elsewhere.test"
    assert message["From"].addresses[0].addr_spec == "postmaster@example.test"
    lines = message.get_content().splitlines()
    assert link in lines
    assert "21 Nov 2026, 14:03 (Asia/Shanghai)" in " ".join(lines)
    again = parsed(LETTERS.one_time("alice@elsewhere.test", "zh", RESET, {"login": ALICE, "link": link}, NOW))
    assert "一天内有效" in again.get_content()
    assert again["Message-ID"] != message["Message-ID"]
    with pytest.raises(KeyError):
        LETTERS.one_time(ALICE, "en", "another", values, NOW)
