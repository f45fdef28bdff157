"""What is sent to the API: bad bodies, bad addresses, wrong tokens, faults of ours; a problem each, and never a bug."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx2
import pytest
from api_site import CHIEF, OPERATION, ROOT, Api, everything
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from portal_site import ALICE, BOB, PEER, Site

from doubles import LengthKeys, MemoryPassdb, PlainHashes
from mailauth.accounts import apppasswords, tokens
from mailauth.accounts.administration import Denied
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Denial
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events
from mailauth.interfaces import BadRecord, HashUnavailable, PoolBusy, StoreUnavailable
from mailauth.portal.api import reading
from mailauth.portal.api.keys import key_of
from mailauth.portal.api.operations import OPERATIONS
from mailauth.portal.api.problem import without_hint
from mailauth.serving.sessions import LiveSessions
from mailauth.store.faults import Clash, CommitUnknown
from mailauth.store.highwater import StoreBehind
from mailauth.verdict import Defer
from mailauth.verify.throttle import GuessThrottle
from mailauth.verify.verifier import Verifier
from mailauth.verify.websignin import WebSignIn

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def api(sqlite_database, ring) -> Api:
    api = Api(Site(sqlite_database.store, ring, kinds=("totp", "recovery-codes")))
    api.people()
    return api


async def patch(api: Api, content: bytes, **headers: str) -> httpx2.Response:
    """Send this as the body of a change of Bob's."""
    sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await api.send("PATCH", f"/accounts/{BOB}", api.token(ROOT), content=content, headers=sent)


# ---- bodies

UNREADABLE = [
    b"",
    b" ",
    b"{",
    b"[]",
    b"null",
    b'"imap"',
    b"{'imap': false}",
    b'{"imap": false,}',
    b'{"imap": false} {}',
    b'{"imap": false, "imap": false}',
    b'{"imap": false, "im\\u0061p": true}',
    b'{"x": {"a": 1, "a": 2}, "imap": false}',
    b'{"max_app_passwords": NaN}',
    b'{"max_app_passwords": Infinity}',
    b'{"max_app_passwords": ' + b"9" * 5000 + b"}",
    b'\xff{"imap": false}',
    b'\xef\xbb\xbf{"imap": false}',
    '{"imap": false}'.encode("utf-16"),
    b'{"x": "\x00"}',
    b'{"x": ' + b"[" * 17 + b"]" * 17 + b"}",
    b"[" * 60_000,
    b'{"a":' * 12_000,
]


@pytest.mark.parametrize("content", UNREADABLE, ids=lambda content: repr(content[:30]))
async def test_w19_what_is_no_plain_json_object_is_not_guessed_at(api: Api, content: bytes) -> None:
    before = everything(api.site)
    answer = await patch(api, content)
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == "/api/v1/problems/malformed"
    assert [rows for rows in everything(api.site) if rows[0] == "accounts"] == [
        rows for rows in before if rows[0] == "accounts"
    ]


def test_brackets_within_texts_are_no_depth() -> None:
    assert reading.parsed(b'{"x": "' + b"[" * 100 + b'\\"[{"}') == {"x": "[" * 100 + '"[{'}


async def test_w19_a_body_is_bounded_whatever_length_is_announced(api: Api) -> None:
    content = b'{"x": "' + b"a" * 70_000 + b'"}'
    assert (await patch(api, content)).status_code == 413

    async def endless():
        for _ in range(10_000):
            yield b" " * 1024

    answer = await api.send("PATCH", "/site", api.token(ROOT), content=endless(), headers=JSON)
    assert answer.status_code == 413


async def test_a_body_that_comes_too_slowly_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PATIENCE_S", 0.01)

    async def slow():
        yield b"{"
        await asyncio.Event().wait()

    answer = await api.send("PATCH", "/site", api.token(ROOT), content=slow(), headers=JSON)
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ('application/json;charset="UTF-8"', 200),
        ("application/json; charset=gbk", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/merge-patch+json", 415),
        ("", 415),
    ],
)
async def test_a_body_says_that_it_is_json(api: Api, kind: str, status: int) -> None:
    assert (await patch(api, b'{"imap": false}', Content_Type=kind)).status_code == status


async def test_a_compressed_body_is_refused(api: Api) -> None:
    assert (await patch(api, b'{"imap": false}', Content_Encoding="gzip")).status_code == 415


async def test_an_operation_that_takes_no_body_gets_none(api: Api) -> None:
    answer = await api.send("DELETE", f"/accounts/{BOB}", api.token(ROOT), content=b"{}", headers=JSON)
    assert answer.status_code == 400
    assert (await api.call("show-account", api.token(ROOT), login=BOB)).status_code == 200


async def test_all_that_is_wrong_is_named_at_once(api: Api) -> None:
    body = {"imap": 1, "policy": "none", "enforce_from": "tomorrow", "max_app_passwords": 101, "web_password": "x"}
    answer = await patch(api, json.dumps(body).encode())
    assert answer.status_code == 422
    assert {error["name"] for error in answer.json()["errors"]} == set(body)
    assert {error["in"] for error in answer.json()["errors"]} == {"body"}
    assert (await patch(api, b"{}")).status_code == 422


FIELDS = [
    ({"enforce_from": "2030-01-01"}, "RFC 3339"),
    ({"enforce_from": "2030-01-01T00:00:00"}, "RFC 3339"),
    ({"enforce_from": "2030-13-01T00:00:00Z"}, "RFC 3339"),
    ({"enforce_from": "2030-01-01T00:00:00+99:00"}, "RFC 3339"),
    ({"enforce_from": "0001-01-01T00:00:00+10:00"}, "between the years"),
    ({"enforce_from": "1969-12-31T00:00:00Z"}, "between the years"),
    ({"enforce_from": 1800000000}, "RFC 3339"),
    ({"enforce_from": None}, "RFC 3339"),
    ({"max_app_passwords": True}, "whole number"),
    ({"max_app_passwords": 3.0}, "whole number"),
    ({"max_app_passwords": "3"}, "whole number"),
    ({"max_app_passwords": -1}, "whole number"),
    ({"imap": None}, "true or false"),
    ({"imap": "false"}, "true or false"),
    ({"policy": "ENFORCED"}, "one of"),
    ({"policy": ["enforced"]}, "one of"),
]


@pytest.mark.parametrize(("body", "said"), FIELDS)
async def test_a_value_is_exactly_what_is_expected(api: Api, body: dict[str, Any], said: str) -> None:
    answer = await patch(api, json.dumps(body).encode())
    assert answer.status_code == 422
    assert said in answer.json()["errors"][0]["detail"]


BAD_LOGINS = [
    "",
    "x",
    "a@b@c",
    "a@",
    "@b",
    "a b@c.test",
    "a@c..test",
    "a\x00@c.test",
    "a\ud800@c.test",
    "\u202ea@c.test",
    7,
    None,
]


@pytest.mark.parametrize("login", BAD_LOGINS, ids=repr)
async def test_an_address_that_is_none_is_named(api: Api, login: Any) -> None:
    answer = await api.send(
        "POST", "/accounts", api.token(ROOT), content=json.dumps({"login": login}).encode(), headers=JSON
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["name"] == "login"


# ---- addresses


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "/accounts/",
        "//accounts",
        "/accounts//",
        "/accounts/nobody",
        "/accounts/%00",
        "/accounts/%FF%FE",
        "/accounts/a%0Ab@example.test",
        "/accounts/" + "a" * 3000,
        "/domains/..%2f..%2fetc",
        "/own/app-passwords",
        "/%6fwn/account/x",
        "/problems/UPPER",
        "/problems/nothing",
    ],
)
async def test_an_address_of_nothing_is_not_found(api: Api, path: str) -> None:
    token = api.token(ROOT, "admin:read")
    answer = await api.send("GET", path, token)
    expected = 403 if path == "/own/app-passwords" else 404
    assert answer.status_code == expected, answer.text


async def test_everything_below_api_is_told_as_a_problem(api: Api) -> None:
    client = api.site.browser().client
    for path in ("/api/", "/api/v2/accounts", "/api/v1", "/api//v1/accounts", "/api/%76%31/accounts"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path


async def test_a_slash_in_a_login_is_part_of_it(api: Api) -> None:
    api.site.add("a/b@example.test")
    answer = await api.send("GET", "/accounts/a%2Fb%40example.test", api.token(ROOT))
    assert answer.json()["view"]["login"] == "a/b@example.test"


async def test_a_login_is_found_in_any_spelling(api: Api) -> None:
    answer = await api.send("GET", "/accounts/BOB@Example.TEST", api.token(ROOT))
    assert answer.json()["view"]["login"] == BOB


async def test_an_alias_is_no_account(api: Api) -> None:
    api.alias("robert@example.test")
    answer = await api.call("show-account", api.token(ROOT), login="robert@example.test")
    assert (answer.status_code, BOB in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("method", ["PUT", "POST", "OPTIONS", "TRACE", "PROPFIND"])
async def test_what_cannot_be_done_to_it_says_what_can(api: Api, method: str) -> None:
    answer = await api.send(method, f"/accounts/{BOB}", api.token(ROOT))
    assert answer.status_code == 405
    assert sorted(answer.headers["allow"].split(", ")) == ["DELETE", "GET", "HEAD", "PATCH"]


async def test_head_is_answered_as_get_is(api: Api) -> None:
    answer = await api.send("HEAD", "/site", api.token(ROOT))
    assert answer.status_code == 200
    assert (await api.send("HEAD", "/site")).status_code == 401


QUERIES = [
    ("limit=0", "limit"),
    ("limit=201", "limit"),
    ("limit=ten", "limit"),
    ("limit=-1", "limit"),
    ("limit=1e1", "limit"),
    ("limit=1&limit=2", "limit"),
    ("next=x", "next"),
    ("next=%F0", None),
    ("next=" + key_of(1.0), "next"),
    ("next=" + key_of("x", "y"), "next"),
    ("next=" + key_of({}), "next"),
    ("next=" + key_of("\ud800"), "next"),
    ("next=bnVsbA==", "next"),
    ("next=" + "W" * 4000, "next"),
    ("domain=", "domain"),
    ("domain=a..b", "domain"),
    ("begins=%00", "begins"),
    ("begins=" + "x" * 255, "begins"),
    ("offset=3", "offset"),
    ("access_token=x", "access_token"),
    ("&" * 50, None),
    ("a" * 10_000, None),
    ("limit", None),
]


@pytest.mark.parametrize(("query", "name"), QUERIES, ids=lambda value: str(value)[:30])
async def test_a_query_that_is_not_expected_is_refused(api: Api, query: str, name: str | None) -> None:
    answer = await api.send("GET", f"/accounts?{query}", api.token(ROOT))
    if name is None:
        assert answer.status_code == 400, answer.text
    else:
        assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, name)
        assert answer.json()["errors"][0]["in"] == "query"


@pytest.mark.parametrize("query", ["next=" + key_of(1e400, 1), "next=" + key_of("1", 1), "next=" + key_of(True, 1)])
async def test_a_key_that_nobody_gave_is_refused(api: Api, query: str) -> None:
    assert (await api.send("GET", f"/audit?{query}", api.token(ROOT))).status_code == 422


# ---- tokens


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Basic cm9vdDpyb290",
        "Digest x",
        "{token}",
        "Bearer {token} {token}",
        "Bearer {token},",
        'Bearer token="{token}"',
        "Bearer {token}\x01",
        "Bearer " + "x" * 5000,
        "Bearer mailauth_\xe9",
    ],
)
async def test_v05_a_header_that_is_no_bearer_s_is_nobody_s(api: Api, value: str) -> None:
    headers = {"Authorization": value.replace("{token}", api.token(ROOT)).encode("latin-1")}
    assert (await api.send("GET", "/accounts", headers=headers)).status_code == 401


async def test_two_headers_are_no_choice(api: Api) -> None:
    token = api.token(ROOT)
    client = api.site.browser().client
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await client.get("/api/v1/accounts", headers=headers)).status_code == 401


async def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"Authorization": f"{scheme} {api.token(ROOT)}"}
        assert (await api.send("GET", "/accounts", headers=headers)).status_code == 200


async def test_a_token_elsewhere_than_in_the_header_is_none(api: Api) -> None:
    token = api.token(ROOT)
    assert (await api.send("GET", f"/site?access_token={token}")).status_code == 401
    assert (await api.send("PATCH", "/site", json={"access_token": token})).status_code == 401
    assert (await api.send("GET", "/site", headers={"Cookie": f"Authorization=Bearer {token}"})).status_code == 401


async def test_a04_passwords_open_nothing(api: Api) -> None:
    minted = apppasswords.mint(api.site.store, api.site.ring, api.site.hashing, ROOT, label="x", actor="test")
    for secret in (minted.password, "correct-horse-battery"):
        assert (await api.send("GET", "/site", secret)).status_code == 401


async def test_w17_a_wrong_token_is_a_wrong_guess_of_its_sender(api: Api) -> None:
    await api.send("GET", "/site", "mailauth_wrong")
    assert api.site.passwords.asked == [("/api", PEER, "")]
    await api.send("GET", "/site")
    await api.send("GET", "/site", api.token(ROOT))
    assert len(api.site.passwords.asked) == 1


async def test_w17_wrong_tokens_are_slowed_down_per_source_with_everything_else_that_is_guessed(api: Api) -> None:
    """And good ones are not, from there or elsewhere."""
    clock = [1000.0]
    passdb, throttle = MemoryPassdb(), GuessThrottle(clock=lambda: clock[0])
    verifier = Verifier(passdb, LengthKeys(), PlainHashes(), Events(), throttle)
    sign_in = WebSignIn(passdb, verifier.matching, throttle, LiveSessions(passdb), delay_s=0.0)
    object.__setattr__(api.site.house, "web_passwords", sign_in)
    good, answers = api.token(ROOT), []
    for number in range(60):
        answer = await api.send("GET", "/site", f"mailauth_{number}")
        answers.append(answer)
    assert {answer.status_code for answer in answers[:30]} == {401}
    assert {answer.status_code for answer in answers[45:]} == {429}
    assert int(answers[-1].headers["retry-after"]) > 0
    mail = Attempt(Credential("x@example.test", "y"), Service.IMAP, PEER, True)
    assert isinstance(await verifier.authenticate(mail), Defer)
    assert (await api.send("GET", "/site", good)).status_code == 200
    assert (await api.send("GET", "/site", "mailauth_0", peer="198.51.100.1")).status_code == 401
    repeated = [await api.send("GET", "/site", "mailauth_old", peer="198.51.100.2") for _ in range(60)]
    assert {answer.status_code for answer in repeated} == {401}  # a program that was forgotten is no attack
    clock[0] += 3600.0
    assert (await api.send("GET", "/site", "mailauth_60")).status_code == 401


# ---- other sites, other names


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_w13_a_script_of_another_site_is_told_no_and_given_no_leave(api: Api, headers: dict[str, str]) -> None:
    before = everything(api.site)
    client = api.site.browser().client
    sent = {**headers, "Authorization": f"Bearer {api.token(ROOT)}"}
    answer = await client.request("PATCH", "/api/v1/site", json={"policy": "enforced"}, headers=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    asked = {**headers, "Access-Control-Request-Method": "PATCH"}
    answer = await client.request("OPTIONS", "/api/v1/site", headers=asked)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert [rows for rows in everything(api.site) if rows[0] == "site"] == [
        rows for rows in before if rows[0] == "site"
    ]


async def test_a_token_is_not_sent_on_to_where_the_portal_is(sqlite_database, ring) -> None:
    """A redirect would have a program send its token in the clear for ever."""
    site = Site(sqlite_database.store, ring, origin="https://mail.example.test")
    browser = site.browser()
    for method in ("GET", "DELETE"):
        answer = await browser.client.request(method, "/api/v1/accounts", headers={"Host": "other.example.test"})
        assert answer.status_code == 421
        assert answer.headers["content-type"] == "application/problem+json"
        assert "location" not in answer.headers


# ---- faults


FAULTS = [
    (StoreUnavailable("the store at /var/lib is gone"), 503, "unavailable"),
    (CommitUnknown("who knows"), 503, "unknown"),
    (BadRecord("row 7"), 503, "unavailable"),
    (HashUnavailable("no memory"), 503, "unavailable"),
    (PoolBusy("full"), 503, "unavailable"),
    (StoreBehind("restore it"), 503, "unavailable"),
    (Clash("somebody"), 409, "clash"),
    (Refused("a is b: see `mailauth x`", "is-b"), 409, "conflict"),
    (NoSuch("there is no a"), 404, "not-found"),
    (Denied(Denial.READ_ONLY), 403, "denied"),
]


@pytest.mark.parametrize(("fault", "status", "name"), FAULTS, ids=lambda value: type(value).__name__)
async def test_v15_a_fault_is_told_as_what_it_is(api: Api, monkeypatch, caplog, fault, status, name) -> None:
    def fails(*_: object, **__: object) -> None:
        raise fault

    token = api.token(ROOT)
    monkeypatch.setattr("mailauth.accounts.administration.perform_for", fails)
    with caplog.at_level(logging.ERROR):
        answer = await api.send("DELETE", "/throttle", token)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/api/v1/problems/{name}")
    assert ("retry-after" in answer.headers) == (status == 503)
    assert bool(caplog.records) == (status == 503)
    if status == 503:
        assert str(fault) not in answer.text
    assert "`mailauth" not in answer.text


async def test_v15_a_store_that_is_gone_is_no_wrong_token(api: Api, monkeypatch) -> None:
    token = api.token(ROOT)

    def fails(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(type(api.site.store), "reading", fails)
    answer = await api.send("GET", "/openapi.json")
    assert answer.status_code == 200
    answer = await api.send("GET", "/site", token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert api.site.passwords.asked == []


async def test_a_bug_is_told_as_one_and_nothing_of_it(api: Api, monkeypatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("/secret/path")

    token = api.token(ROOT)
    monkeypatch.setattr("mailauth.accounts.levels.site", fails)
    client = api.site.browser(bugs=True).client
    answer = await client.get("/api/v1/site", headers={"Authorization": f"Bearer {token}"})
    await api.conforms("GET", answer)
    assert (answer.status_code, answer.json()["type"]) == (500, "/api/v1/problems/bug")
    assert "secret" not in answer.text


TEXTS = {
    "there is no account a@b.c; `mailauth account list` shows those there are": "there is no account a@b.c",
    "b.c has 3 accounts: remove them first (--with-accounts)": "b.c has 3 accounts: remove them first",
    "b.c is not one of our domains: `mailauth domain add b.c` makes it one": "b.c is not one of our domains",
    "2 is the most (they count): revoke one, or allow more with --most": "2 is the most (they count): revoke one",
    "plain": "plain",
}


@pytest.mark.parametrize(("text", "told"), TEXTS.items())
def test_what_a_text_says_of_the_command_line_is_left_out(text: str, told: str) -> None:
    assert without_hint(text) == told


# ---- anything at all

WORDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=40),
    st.sampled_from([ALICE, BOB, "example.test", "imap", "totp", "own:read", "2030-01-01T00:00:00Z", "enforced", "x"]),
)
VALUES = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=6
)
NAMES = sorted({each.name for operation in OPERATIONS for each in (*(operation.body or ()), *operation.query)})
TAKING = [operation for operation in OPERATIONS if operation.body is not None]
SEGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            sorted({part for operation in OPERATIONS for part in operation.path.split("/")} | {ALICE, "1"})
        ),
        st.text(max_size=20),
        st.binary(max_size=8).map(lambda raw: "".join([f"%{byte:02X}" for byte in raw])),
    ),
    max_size=4,
)
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def fuzzed(api: Api) -> dict[str, str]:
    """Tokens of everybody."""
    return {"root": api.token(ROOT), "chief": api.token(CHIEF), "alice": api.token(ALICE), "many": api.token(None)}


@FUZZ
@given(
    operation=st.sampled_from(TAKING),
    body=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES, max_size=5),
    who=st.sampled_from(["root", "chief", "alice", "many"]),
    target=st.sampled_from([ALICE, BOB, "x@other.test", "example.test", "1", "\x00", "é"]),
)
def test_no_body_makes_a_bug(
    api: Api, fuzzed: dict[str, str], operation: Any, body: Any, who: str, target: str
) -> None:
    given = {each.name: target.replace("/", "%2F").replace("\x00", "%00") for each in operation.params}
    path = operation.path.format(**given)
    content = json.dumps(body).encode()
    answer = asyncio.run(api.send(operation.method, path, fuzzed[who], content=content, headers=JSON))
    assert answer.status_code < 500


@FUZZ
@given(
    operation=st.sampled_from(TAKING),
    who=st.sampled_from(["root", "chief", "alice", "many"]),
    data=st.data(),
)
def test_no_body_of_the_right_fields_makes_a_bug(api: Api, fuzzed: dict[str, str], operation, who: str, data) -> None:
    """Each field with what is an example of it, or with something else."""
    body = {each.name: data.draw(st.just(each.example) | WORDS) for each in operation.body if data.draw(st.booleans())}
    path = operation.path.format(
        **{each.name: ALICE if "login" in each.name else "x.test" for each in operation.params}
    )
    content = json.dumps(body).encode()
    answer = asyncio.run(api.send(operation.method, path, fuzzed[who], content=content, headers=JSON))
    assert answer.status_code < 500


@FUZZ
@given(content=st.binary(max_size=200))
def test_no_bytes_make_a_bug(api: Api, fuzzed: dict[str, str], content: bytes) -> None:
    answer = asyncio.run(api.send("PATCH", "/site", fuzzed["root"], content=content, headers=JSON))
    assert answer.status_code in {200, 400, 409, 422}


@FUZZ
@given(
    method=st.sampled_from(["GET", "HEAD", "DELETE", "OPTIONS"]),
    segments=SEGMENTS,
    query=st.dictionaries(
        st.sampled_from(NAMES) | st.text(max_size=6), st.text(max_size=20) | st.just(key_of(1, 2)), max_size=3
    ),
    who=st.sampled_from(["root", "chief", "alice", "many"]),
)
def test_no_address_makes_a_bug(api: Api, fuzzed: dict[str, str], method: str, segments, query, who: str) -> None:
    path = "/".join(["", *segments]).replace("?", "%3F").replace("#", "%23").replace("\\", "%5C")
    url = httpx2.URL("http://localhost:8080/").copy_with(params=query)
    raw = "/api/v1" + path.encode("ascii", "ignore").decode()
    answer = asyncio.run(_raw(api, method, raw, url.query.decode(), fuzzed[who]))
    assert answer < 500


async def _raw(api: Api, method: str, path: str, query: str, token: str) -> int:
    """A request with exactly this path, which no client puts right first."""
    told: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    raw = path.encode()
    scope = {
        "type": "http",
        "method": method,
        "path": httpx2.URL(path="/").path + path.lstrip("/"),
        "raw_path": raw,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost:8080"), (b"authorization", f"Bearer {token}".encode())],
        "client": (PEER, 1),
        "scheme": "http",
        "server": ("localhost", 8080),
        "http_version": "1.1",
    }
    await api.site.app(scope, receive, send)
    return int(told[0]["status"])


def test_the_operations_that_the_fuzz_reaches_are_all_that_take_a_body() -> None:
    assert len(TAKING) == sum(each.method in {"POST", "PUT", "PATCH"} and each.body is not None for each in OPERATIONS)
    assert OPERATION["set-site"] in TAKING


def test_tokens_begin_as_those_who_look_for_lost_secrets_know() -> None:
    assert tokens.PREFIX == "mailauth_"
