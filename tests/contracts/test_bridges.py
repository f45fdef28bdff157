"""What every bridge in the folder keeps to, whoever wrote it: each verdict in its words, nothing lost or mixed up."""

from __future__ import annotations

import base64
import importlib
import json
import pkgutil
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mailauth.bridges
from bridge_stage import BridgeStage, built
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from stage import bytewise, whole

TOKEN = b"a token of this bridge's own"
WITHOUT_VERDICT = {"dovecot-policy"}  # nobody is judged there
WITHOUT_PASSWORD = {"postfix-policy"}  # who was judged before is judged again
LOGIN, PASSWORD = "alice@example.test", "s3cret pass"
HELP = "Ask help@example.test."


def dovecot_request(login: str, password: str) -> bytes:
    shown = base64.b64encode(f"\0{login}\0{password}".encode())
    return b"VERSION\t1\t2\nAUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.1\tresp=" + shown + b"\n"


def saslauthd_request(login: str, password: str) -> bytes:
    user, _, realm = login.rpartition("@")
    fields = [text.encode() for text in (user, password, "smtp", realm)]
    return b"".join(struct.pack(">H", len(text)) + text for text in fields)


def nginx_escaped(text: str) -> bytes:
    """As ngx_escape_uri does it with NGX_ESCAPE_MAIL_AUTH: what is not ASCII is sent as it is."""
    return re.sub(rb"[\x00-\x20%\x7f]", lambda found: b"%%%02X" % ord(found[0]), text.encode())


def nginx_request(login: str, password: str) -> bytes:
    return (
        b"GET /nginx HTTP/1.0\r\nHost: 127.0.0.1\r\nAuth-Method: plain\r\nAuth-User: %b\r\nAuth-Pass: %b\r\n"
        b"Auth-Protocol: imap\r\nAuth-Login-Attempt: 1\r\nClient-IP: 192.0.2.1\r\nX-Auth-Key: %b\r\n\r\n"
    ) % (nginx_escaped(login), nginx_escaped(password), TOKEN)


def posted(path: bytes, kind: bytes, body: bytes, fields: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path, kind, fields, len(body)) + body


def json_request(login: str, password: str) -> bytes:
    body = json.dumps({"login": login, "password": password, "service": "imap", "client_address": "192.0.2.1"})
    return posted(b"/v1/authenticate", b"application/json", body.encode(), b"Authorization: Bearer %b\r\n" % TOKEN)


def form(**values: str) -> bytes:
    return urlencode(values, quote_via=quote).encode()


def grant_request(login: str, password: str) -> bytes:
    secret = TOKEN.decode()
    body = form(grant_type="password", username=login, password=password, client_id="dovecot", client_secret=secret)
    told = b"X-Dovecot-Auth-Service: imap\r\nX-Dovecot-Auth-Remote: 192.0.2.1:4001\r\n"
    return posted(b"/grant", b"application/x-www-form-urlencoded", body, told)


def lua_request(login: str, password: str) -> bytes:
    body = form(user=login, password=password, service="imap", rip="192.0.2.1", secured="tls")
    shown = b"Authorization: Bearer %b\r\n" % TOKEN
    return posted(b"/login", b"application/x-www-form-urlencoded", body, shown)


def policy_request(login: str, password: str) -> bytes:
    """As Postfix does it: printable, with a question mark for what is not."""
    shown = "".join(c if c.isprintable() else "?" for c in login)
    lines = ["request=smtpd_access_policy", "protocol_state=END-OF-MESSAGE", "client_address=192.0.2.1"]
    return "\n".join([*lines, f"sasl_username={shown}", "instance=7b.6a1.2.0", "", ""]).encode()


@dataclass(frozen=True)
class Kind:
    """One kind: what a host sends for one login, and how it reads what comes back (and whether that is the end).

    terms, options: that it needs to be built.
    """

    request: Callable[[str, str], bytes]
    accepted: Callable[[bytes, bool], bool]
    refused: Callable[[bytes, bool], bool]
    deferred: Callable[[bytes, bool], bool]
    terms: dict[str, Any] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)


WITH_TOKEN = {"admits": lambda shown: shown == TOKEN}
KINDS = {
    "nginx": Kind(
        nginx_request,
        accepted=lambda said, ended: b"\r\nAuth-Status: OK\r\n" in said and b"\r\nAuth-Server: 192.0.2.9\r\n" in said,
        refused=lambda said, ended: b"\r\nAuth-Status: [AUTHENTICATIONFAILED] " in said,
        deferred=lambda said, ended: b"\r\nAuth-Status: [UNAVAILABLE] " in said,
        terms=WITH_TOKEN,
        options={"backends": ["imap 192.0.2.9:143"]},
    ),
    "http": Kind(
        json_request,
        accepted=lambda said, ended: said.startswith(b"HTTP/1.1 200 ") and b'"verdict": "accept"' in said,
        refused=lambda said, ended: said.startswith(b"HTTP/1.1 403 ") and b'"verdict": "reject"' in said,
        deferred=lambda said, ended: said.startswith(b"HTTP/1.1 503 ") and b'"verdict": "defer"' in said,
        terms=WITH_TOKEN,
    ),
    "dovecot-grant": Kind(
        grant_request,
        accepted=lambda said, ended: said.startswith(b"HTTP/1.1 200 "),
        refused=lambda said, ended: said.startswith(b"HTTP/1.1 400 ") and b'"invalid_grant"' in said,
        deferred=lambda said, ended: said.startswith(b"HTTP/1.1 503 "),
        terms=WITH_TOKEN,
    ),
    "dovecot-lua": Kind(
        lua_request,
        accepted=lambda said, ended: said.startswith(b"HTTP/1.1 200 ") and b"\nresult=ok\n" in said,
        refused=lambda said, ended: re.search(rb"\nresult=(mismatch|disabled|expired)\n", said) is not None,
        deferred=lambda said, ended: b"\nresult=later\n" in said,
        terms=WITH_TOKEN,
    ),
    "dovecot-auth": Kind(
        dovecot_request,
        accepted=lambda said, ended: said.startswith(b"OK\t1\t"),
        refused=lambda said, ended: said.startswith(b"FAIL\t1\t") and b"temp" not in said,
        deferred=lambda said, ended: said.startswith(b"FAIL\t1\t") and b"\tcode=temp_fail\ttemp\n" in said,
    ),
    "saslauthd": Kind(
        saslauthd_request,
        accepted=lambda said, ended: said[2:4] == b"OK",
        refused=lambda said, ended: said[2:4] == b"NO",
        deferred=lambda said, ended: said == b"" and ended,
    ),
    "postfix-policy": Kind(
        policy_request,
        accepted=lambda said, ended: said == b"action=DUNNO\n\n",
        refused=lambda said, ended: said.startswith(b"action=421 4.7.0 ") and said.endswith(b"\n\n"),
        deferred=lambda said, ended: said.startswith(b"action=DEFER_IF_PERMIT 4.3.0 ") and said.endswith(b"\n\n"),
    ),
}
EVERY_DEFER = [Defer(cause, retry) for cause in Cause for retry in (None, 30.0)]
EVERY_REJECT = [Reject(reason, credential) for reason in Reason for credential in (None, 7)]

each = pytest.mark.parametrize("name", KINDS)


def found() -> list[str]:
    """The names of all bridges, as a configuration would name them."""
    modules = (module.name for module in pkgutil.iter_modules(mailauth.bridges.__path__))
    plug_ins = [name for name in modules if hasattr(importlib.import_module(f"mailauth.bridges.{name}"), "build")]
    return [name.replace("_", "-") for name in plug_ins]


def asked(name: str, cut=whole, login: str = LOGIN, password: str = PASSWORD) -> BridgeStage:
    """A connection on which one login waits for its verdict."""
    kind = KINDS[name]
    stage = BridgeStage(built(name, {"help_line": HELP, **kind.terms}, **kind.options).dialogue(), None)
    stage.news()
    assert stage.say(kind.request(login, password), cut) == b""
    return stage


def test_every_bridge_of_the_folder_is_tried_here() -> None:
    assert sorted(found()) == sorted(KINDS.keys() | WITHOUT_VERDICT)


@each
@pytest.mark.parametrize("cut", [whole, bytewise])
def test_what_was_shown_arrives_however_it_is_cut(name: str, cut) -> None:
    (attempt,) = asked(name, cut).attempts
    assert attempt.credential.authcid == LOGIN
    assert attempt.credential.password == ("" if name in WITHOUT_PASSWORD else PASSWORD)


@each
@pytest.mark.parametrize("credential", [None, 7])
def test_who_is_accepted_gets_in(name: str, credential: int | None) -> None:
    stage = asked(name)
    said = stage.answer(Accept(Principal(1, LOGIN, credential)))
    kind = KINDS[name]
    assert kind.accepted(said, stage.is_closed)
    assert not kind.refused(said, stage.is_closed)
    assert not kind.deferred(said, stage.is_closed)


@each
@pytest.mark.parametrize("outcome", EVERY_REJECT, ids=repr)
def test_who_is_refused_stays_out(name: str, outcome: Reject) -> None:
    stage = asked(name)
    said = stage.answer(outcome)
    kind = KINDS[name]
    assert kind.refused(said, stage.is_closed)
    assert not kind.accepted(said, stage.is_closed)
    assert not kind.deferred(said, stage.is_closed)


@each
@pytest.mark.parametrize("outcome", EVERY_DEFER, ids=repr)
def test_a_defer_is_never_spelled_like_a_wrong_password(name: str, outcome: Defer) -> None:
    stage = asked(name)
    said = stage.answer(outcome)
    kind = KINDS[name]
    assert kind.deferred(said, stage.is_closed)
    assert not kind.refused(said, stage.is_closed)
    assert not kind.accepted(said, stage.is_closed)
    for words in (b"Authentication failed", b"AUTHENTICATIONFAILED", b"[AUTH]", b"535", HELP.encode()):
        assert words not in said


@each
def test_no_answer_tells_why_nor_what_was_shown(name: str) -> None:
    """But for the codes that Dovecot's own programs know, of which Postfix and Exim make nothing."""
    said = b"".join(asked(name).answer(outcome) for outcome in (*EVERY_REJECT, *EVERY_DEFER)).lower()
    said = re.sub(rb"\tcode=[a-z_]+|\nresult=[a-z]+", b"", said)
    for why in (*Reason, *Cause):
        assert why.value.encode() not in said
    assert PASSWORD.encode() not in said


@each
@given(login=st.text(min_size=1, max_size=30), password=st.text(min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_login_or_password_breaks_the_protocol(name: str, login: str, password: str) -> None:
    """Names with TAB, line ends, NUL, percent signs: each is one attempt at most, or malformed, and never accepted."""
    kind = KINDS[name]
    stage = BridgeStage(built(name, kind.terms, **kind.options).dialogue(), None)
    stage.news()
    try:
        said = kind.request(login, password)
    except UnicodeEncodeError:  # a lone surrogate, which no host can send
        return
    heard = stage.say(said)
    assert len(stage.attempts) <= 1
    if stage.attempts:
        (attempt,) = stage.attempts
        assert attempt.credential.password == ("" if name in WITHOUT_PASSWORD else password)
        heard = stage.answer(Reject(Reason.UNKNOWN_LOGIN))
        assert kind.refused(heard, stage.is_closed)
    assert not kind.accepted(heard, stage.is_closed)


@each
def test_connections_share_nothing(name: str) -> None:
    kind = KINDS[name]
    bridge = built(name, kind.terms, **kind.options)
    first, second = BridgeStage(bridge.dialogue(), None), BridgeStage(bridge.dialogue(), None)
    request = kind.request(LOGIN, PASSWORD)
    first.say(request[:-3])
    second.say(request)
    assert len(second.attempts) == 1
    assert not first.attempts
    first.say(request[-3:])
    assert len(first.attempts) == 1
