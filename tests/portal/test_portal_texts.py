"""The texts: the same in both languages, each used, none missing; and that templates escape everything."""

from __future__ import annotations

import ast
import re
from datetime import UTC
from importlib import resources
from pathlib import Path
from string import Formatter

import pytest
from jinja2 import Environment, PackageLoader, nodes

import mailauth.portal
from mailauth.accounts.advice import Need
from mailauth.accounts.roles import Denial, Role
from mailauth.accounts.steps import NOT_GUESSED
from mailauth.accounts.telling import TOLD
from mailauth.attempt import Service
from mailauth.factors.factor import Delay, Reason
from mailauth.interfaces import PolicyLevel
from mailauth.portal.failures import BY_EXCEPTION, BY_STATUS
from mailauth.portal.language import TAGS, languages, wanted
from mailauth.portal.pages.admin_deeds import ALL
from mailauth.portal.pages.admin_entry import TABS
from mailauth.portal.pages.admin_settings import SWITCHES
from mailauth.store.observations import Kind as Seen
from mailauth.verdict import Reason as Refusal

ROOT = Path(mailauth.portal.__file__).parent
ACCOUNTS = ROOT.parent / "accounts"
TEMPLATES = sorted(resources.files("mailauth.portal").joinpath("templates").iterdir(), key=lambda path: path.name)
TEXTS = languages()
KINDS = ("totp", "sms", "wechat", "dingtalk", "webauthn", "recovery-codes")
KEY = re.compile(r"[a-z_]+\.[A-Za-z0-9_-]+")
COLUMNS = ("enabled", "client_logon", "imap", "pop3", "smtp", "mode_on", "two_factor")  # of accounts
NO_GUESS = {*NOT_GUESSED, Reason.MALFORMED, Reason.KNOWN_ALREADY, Reason.TOO_MANY}  # nothing that is told in a row
OF_NUMBERS = {Reason.NOT_A_NUMBER, Reason.NOT_SERVED, Reason.UNREACHABLE}
SECOND_REFUSED = {*Reason, "other"} - NO_GUESS - OF_NUMBERS
# Keys that are made of a value: by what makes them.
MADE = {
    *[f"factor.{kind}{more}" for kind in KINDS for more in ("", "_about")],
    *[f"reason.{reason}" for reason in Reason if reason not in {"clock"}],
    *[f"delay.{delay}" for delay in (*Delay,)],
    *[f"refused.{reason}" for reason in Refusal],
    *[f"second_refused.{reason}" for reason in SECOND_REFUSED],
    *[f"changed.{name}_{way}" for name in COLUMNS for way in ("on", "off")],
    *[f"changed.policy_{level}" for level in PolicyLevel],
    "changed.max_app_passwords",
    *[f"consent.{kind}" for kind in ("sms", "wechat", "dingtalk")],
    *[f"advice.{need}" for need in Need],
    *[f"service.{service}{more}" for service in Service for more in ("", "_told")],
    *[f"event.{kind}" for kind in TOLD],
    *[f"wait.{unit}" for unit in ("seconds", "minutes", "hours")],
    *[
        f"errors.{failure.key}{more}"
        for failure in (*BY_STATUS.values(), *BY_EXCEPTION.values())
        for more in ("", "_text")
    ],
    *[f"nav.{key}" for key in ("home", "passwords", "security", "activity", "admin")],
    *[f"activity.by_{who}" for who in ("owner", "administrator", "program")],
    *[f"ask.{kind}" for kind in KINDS if kind != "sms"],
    *[f"ask.{kind}_label" for kind in ("totp", "sms", "recovery-codes")],
    *[f"ask.{kind}_start" for kind in ("sms", "wechat", "dingtalk", "webauthn")],
    *[f"admin.tab_{key}" for key, _ in TABS],
    *[f"admin_denied.{why}" for why in Denial],
    *[f"admin_role.{role}{more}" for role in Role for more in ("", "_text")],
    *[f"admin_policy.{policy}{more}" for policy in PolicyLevel for more in ("", "_text")],
    *[f"admin_deed.{plain.name}{more}" for plain in ALL for more in ("", "_text")],
    *[f"admin_settings.{name}" for names in SWITCHES.values() for name in names],
    *[f"admin_seen.{kind}" for kind in Seen],
    "admin_settings.enabled_hint",
    "reason.claimed",
    "reason.clock_ahead",
    "reason.clock_behind",
    "errors.bug",
    "errors.bug_text",
    "errors.stale",
    "errors.stale_text",
    "refused.other",
    "deferred.other",
    "deferred.throttled",
}


def in_python() -> set[str]:
    """Everything in the portal's code that looks like a key."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.fullmatch(node.value):
                found.add(node.value)
    return found


def in_templates() -> set[str]:
    """Every key that a template names in full."""
    found: set[str] = set()
    for path in TEMPLATES:
        for node in Environment().parse(path.read_text()).find_all(nodes.Const):
            if isinstance(node.value, str) and KEY.fullmatch(node.value):
                found.add(node.value)
    return found


def acts() -> set[str]:
    import mailauth.portal.pages  # noqa: PLC0415, F401  which fills it in
    from mailauth.portal.pages.proof import PERFORM  # noqa: PLC0415

    return {f"act.{act}" for act in PERFORM}


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    english, chinese = TEXTS["en"].texts, TEXTS["zh"].texts
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert names(text) == names(chinese[key]), key


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", TAGS)
def test_no_text_is_empty_untidy_or_forgotten(code: str) -> None:
    for key, text in TEXTS[code].texts.items():
        assert text.strip() == text, key
        assert text, key
        assert "  " not in text, key
        assert "TODO" not in text, key
        assert not any(mark in text for mark in ("<", ">", '"', "&")), key
        if code == "zh":
            assert not re.search(r"[\u4e00-\u9fff][,;:?!](?!\d)", text), f"{key}: half-width punctuation"


def test_every_key_is_used_and_every_used_key_is_there() -> None:
    used = (in_python() | in_templates()) & set(TEXTS["en"].texts)
    used |= MADE | acts()
    assert used - set(TEXTS["en"].texts) == set()
    assert set(TEXTS["en"].texts) - used - {key for key in TEXTS["en"].texts if key.startswith("event.")} == set()
    named = {key for key in in_templates() if key.partition(".")[0] in groups() and not key.endswith(".html")}
    missing = named - set(TEXTS["en"].texts)
    assert missing - PREFIXES == set()


PREFIXES = {"consent.", "admin.tab_", "factor.", "ask.", "errors.", "nav.", "service."}


def groups() -> set[str]:
    return {key.partition(".")[0] for key in TEXTS["en"].texts}


def test_everything_that_is_written_down_of_an_account_has_words() -> None:
    """But for what is not shown to its owner: sites, domains and what is only a login."""
    kinds: set[str] = set()
    for path in ACCOUNTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
                kinds |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    elsewhere = {kind for kind in kinds if kind.partition("-")[0] in {"site", "domain", "key", "throttle", "account"}}
    missing = {kind for kind in kinds - elsewhere if f"event.{kind}" not in TEXTS["en"].texts}
    assert missing == set()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_escape_everything_and_quote_every_attribute(path) -> None:
    source = path.read_text()
    parsed = Environment().parse(source)
    safe = [node for node in parsed.find_all(nodes.Filter) if node.name in {"safe", "forceescape"}]
    allowed = {"factor_confirm.html": 1, "password_new.html": 1}  # our own QR code; an attribute without a value
    assert len(safe) == allowed.get(path.name, 0)
    assert "autoescape" not in source
    assert not re.search(r"\s[a-z-]+=\{\{", source), "an attribute without quotes"
    assert not re.search(r"<(script|style)[^>]*>[^<]", source)
    for node in parsed.find_all(nodes.Call):
        assert not (isinstance(node.node, nodes.Name) and node.node.name == "Markup")


def test_values_are_escaped_in_their_places() -> None:
    text = TEXTS["en"].text("passwords.renamed", label="<b>{0.__class__}&'\"")
    assert text == "It is called “&lt;b&gt;{0.__class__}&amp;&#39;&#34;” now."


def test_what_is_written_from_right_to_left_stands_by_itself() -> None:
    text = TEXTS["en"].text("passwords.renamed", label="הטלפון <שלי>")
    assert text == "It is called “\u2068הטלפון &lt;שלי&gt;\u2069” now."
    assert "\u2068" not in TEXTS["zh"].text("passwords.renamed", label="手机 phone")


def test_templates_are_all_in_the_package_and_compile() -> None:
    environment = Environment(loader=PackageLoader("mailauth.portal"))
    environment.filters["grouped"] = str
    for path in TEMPLATES:
        assert environment.get_template(path.name).name == path.name


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("zh-Hant;q=0.1, de, fr", "zh"),
        ("de, fr", "en"),
        ("zh;q=0, en;q=0", "en"),
        ("zh;q=0", "en"),
        ("ZH", "zh"),
        ("zh;q=nan, en;q=0.1", "en"),
        ("zh;q=inf", "en"),
        ("zh;q=1;x", "en"),
        (";;;,,,", "en"),
        ("*", "en"),
        ("de," * 30 + "zh", "en"),
        ("\x00\xff", "en"),
    ],
)
def test_the_language_is_the_best_of_those_there_are(header: str, code: str) -> None:
    assert wanted(header) == code


def test_moments_are_written_as_people_write_them() -> None:
    english, chinese = TEXTS["en"], TEXTS["zh"]
    assert str(english.moment(1.8e9, UTC)) == '<time datetime="2027-01-15T08:00:00Z">15 Jan 2027, 08:00</time>'
    assert ">2027年1月15日 08:00<" in str(chinese.moment(1.8e9, UTC))
    assert str(english.moment(1e30, UTC)) == "—"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, "1 s"), (1.2, "2 s"), (120.0, "120 s"), (121.0, "3 min"), (7200.0, "120 min"), (7201.0, "3 h")],
)
def test_waits_are_rounded_up(seconds: float, told: str) -> None:
    assert TEXTS["en"].wait(seconds) == told
