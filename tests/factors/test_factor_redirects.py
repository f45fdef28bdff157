"""WeChat and DingTalk: the way to the provider and back, against simulations that behave as documented."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from factor_house import PORTAL, DingTalkDevice, ScanDevice, WeChatDevice, occasion

from mailauth import plugins
from mailauth.factors import record, redirect
from mailauth.factors.factor import Delay, Done, Fetch, Later, Reason, Wrong
from mailauth.factors.fetch import Answer
from mailauth.factors.redirect import Identity
from mailauth.factors.section import BadSection

both = pytest.mark.parametrize("kind", [WeChatDevice, DingTalkDevice])


async def enrolled(kind: type[ScanDevice]) -> Any:
    device = kind()
    done = await device.enrol()
    assert isinstance(done, Done), done
    return device


def test_the_way_to_wechat_is_as_documented() -> None:
    device = WeChatDevice()
    at = device.keeper.occasion()
    pending = device.keeper.factor.challenge(at, None).pending
    url = urlsplit(device.keeper.factor.show(at, None, pending)["url"])
    assert (url.scheme, url.netloc, url.path) == ("https", "open.weixin.qq.com", "/connect/qrconnect")
    assert url.fragment == "wechat_redirect"
    assert parse_qs(url.query) == {
        "appid": ["wx-app"],
        "redirect_uri": [f"{PORTAL}/factors/wechat/back"],
        "response_type": ["code"],
        "scope": ["snsapi_login"],
        "state": [pending.ticket.id],
    }
    assert "redirect_uri=https%3A%2F%2F" in url.query


@pytest.mark.parametrize("organisation", ["", "ding-example"])
def test_the_way_to_dingtalk_is_as_documented(organisation: str) -> None:
    device = DingTalkDevice()
    factor: Any = plugins.load("factors", "dingtalk", device.section() | {"organisation": organisation})
    at = device.keeper.occasion()
    pending = factor.challenge(at, None).pending
    url = urlsplit(factor.show(at, None, pending)["url"])
    assert (url.scheme, url.netloc, url.path) == ("https", "login.dingtalk.com", "/oauth2/auth")
    assert parse_qs(url.query) == {
        "client_id": ["ding-app"],
        "redirect_uri": [f"{PORTAL}/factors/dingtalk/back"],
        "response_type": ["code"],
        "scope": ["openid corpid" if organisation else "openid"],
        "state": [pending.ticket.id],
        "prompt": ["consent"],
    } | ({"corpId": [organisation]} if organisation else {})
    assert "+" not in url.query


def test_the_exchange_with_wechat_is_as_documented() -> None:
    device = WeChatDevice()
    fetch = _exchange(device)
    assert (fetch.request.method, fetch.request.url) == ("GET", "https://api.weixin.qq.com/sns/oauth2/access_token")
    assert dict(fetch.request.query) == {
        "appid": "wx-app",
        "secret": "wx-secret-of-the-app",
        "code": "the-code",
        "grant_type": "authorization_code",
    }
    assert not fetch.request.repeatable  # the code would be spent


def test_the_exchange_with_dingtalk_is_as_documented() -> None:
    device = DingTalkDevice()
    fetch = _exchange(device)
    assert (fetch.request.method, fetch.request.url) == ("POST", "https://api.dingtalk.com/v1.0/oauth2/userAccessToken")
    assert ("Content-Type", "application/json") in fetch.request.headers
    assert json.loads(fetch.request.body) == {
        "clientId": "ding-app",
        "clientSecret": "ding-secret-of-the-app",
        "code": "the-code",
        "grantType": "authorization_code",
    }
    following = fetch.then(Answer(200, b'{"accessToken": "t-1", "corpId": "ding-example"}'))
    assert isinstance(following, Fetch)
    unclear = following.then(Answer(403, b'{"code": "Forbidden.AccessDenied"}'))
    assert isinstance(unclear, Later)
    assert unclear.detail == "status 403, Forbidden.AccessDenied"
    assert isinstance(following.then(None), Later)
    assert isinstance(following.then(Answer(200, b'{"nick": "x"}')), Later)
    following = fetch.then(Answer(200, b'{"accessToken": "t-1", "corpId": "ding-example", "expireIn": 7200}'))
    assert isinstance(following, Fetch)
    assert (following.request.method, following.request.url) == (
        "GET",
        "https://api.dingtalk.com/v1.0/contact/users/me",
    )
    assert following.request.headers == (("x-acs-dingtalk-access-token", "t-1"),)


def _exchange(device: ScanDevice, **given: str) -> Fetch:
    at = device.keeper.occasion()
    factor = device.keeper.factor
    pending = factor.enrol(at, None, {}).pending
    fetch = factor.confirm(at, None, pending, {"code": "the-code", "state": pending.ticket.id} | given)
    assert isinstance(fetch, Fetch)
    assert fetch.pending is None  # spent before anybody is asked
    return fetch


def test_dingtalks_code_may_come_under_its_old_name_and_the_new_one_counts_first() -> None:
    device = DingTalkDevice()
    assert json.loads(_exchange(device).request.body)["code"] == "the-code"
    assert json.loads(_exchange(device, authCode="the-new-one").request.body)["code"] == "the-new-one"


@both
async def test_who_declines_is_told_so_and_can_begin_again(kind: type[ScanDevice]) -> None:
    device = kind()
    asked = await device.keeper.enrol(purpose="enrol")
    ticket = asked.pending.ticket.id
    back = device.back(device.keeper.show(ticket)["url"])
    assert "code" not in back
    step = await device.keeper.confirm(back, ticket, purpose="enrol")
    assert (step.reason, step.pending) == (Reason.DECLINED, None)
    assert isinstance(await device.enrol(), Done)


@both
async def test_somebody_else_at_the_provider_is_not_the_one_who_was_bound(kind: type[ScanDevice]) -> None:
    device = await enrolled(kind)
    if kind is DingTalkDevice:
        device.provider.people["bob"].append("ding-example")
    device.person = "bob"
    answer, ticket = await device.asked()
    step = await device.keeper.check(answer, ticket)
    assert step.reason is Reason.OTHER_IDENTITY


@both
@pytest.mark.parametrize("forged", ["", "another", "0" * 48, "é"])
async def test_a_forged_way_back_counts_for_nothing_and_does_not_close_the_true_one(
    kind: type[ScanDevice], forged: str
) -> None:
    device = await enrolled(kind)
    answer, ticket = await device.asked()
    step = await device.keeper.check(answer | {"state": forged}, ticket)
    assert step.reason is Reason.ELSEWHERE
    assert isinstance(await device.keeper.check(answer, ticket), Done)


@both
async def test_a_code_that_somebody_else_got_cannot_be_slipped_in(kind: type[ScanDevice]) -> None:
    """Login confusion: the attacker's code in the victim's session binds to nobody, for want of the session's state."""
    victim = kind()
    asked = await victim.keeper.enrol(purpose="enrol")
    other = await victim.keeper.enrol(purpose="enrol", session="of the attacker")
    attackers = victim.back(
        victim.keeper.show(other.pending.ticket.id, session="of the attacker")["url"], person="bob", organisation=""
    )
    step = await victim.keeper.confirm(attackers, asked.pending.ticket.id, purpose="enrol")
    assert step.reason is Reason.ELSEWHERE
    step = await victim.keeper.confirm(attackers, other.pending.ticket.id, purpose="enrol")
    assert step.reason is Reason.ELSEWHERE
    assert victim.keeper.enrolled() is None


@both
async def test_a_code_counts_once_at_the_provider_and_late_ones_are_said_to_be_late(kind: type[ScanDevice]) -> None:
    device = await enrolled(kind)
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    _, ticket = await device.asked()
    replayed = {**answer, "state": ticket or ""}
    step = await device.keeper.check(replayed, ticket)
    assert step.reason is Reason.EXPIRED

    answer, ticket = await device.asked()
    device.clock.go(301)  # the provider's code is too old, our question is not
    step = await device.keeper.check(answer, ticket)
    assert step.reason is Reason.EXPIRED


@both
async def test_an_endless_code_is_not_passed_on(kind: type[ScanDevice]) -> None:
    device = await enrolled(kind)
    answer, ticket = await device.asked()
    step = await device.keeper.check(
        {key: "x" * 2000 if "ode" in key else value for key, value in answer.items()}, ticket
    )
    assert step.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("errcode", "reason"),
    [(40029, Reason.EXPIRED), (40163, Reason.EXPIRED), (41008, Reason.EXPIRED), (42003, Reason.EXPIRED)],
)
async def test_wechats_errors_about_the_code_are_understood_though_the_status_is_200(
    errcode: int, reason: Reason
) -> None:
    device = await enrolled(WeChatDevice)
    answer, ticket = await device.asked()
    device.provider.fault = errcode
    step = await device.keeper.check(answer, ticket)
    assert isinstance(step, Wrong)
    assert (step.reason, step.detail) == (reason, f"errcode {errcode}")


@pytest.mark.parametrize("errcode", [-1, 40001, 40013, 40125, 45011, 99999])
async def test_wechats_other_errors_are_not_the_users(errcode: int) -> None:
    device = await enrolled(WeChatDevice)
    answer, ticket = await device.asked()
    device.provider.fault = errcode
    step = await device.keeper.check(answer, ticket)
    assert isinstance(step, Later)
    assert (step.why, step.detail) == (Delay.PROVIDER, f"status 200, errcode {errcode}")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ((400, "invalidParameter.authCode.notFound"), Reason.EXPIRED),
        ((400, "invalidClientIdOrSecret"), Delay.PROVIDER),
        ((403, "Forbidden.AccessDenied.AccessTokenPermissionDenied"), Delay.PROVIDER),
        ((429, "Throttling"), Delay.PROVIDER),
        ((503, "invalidParameter.authCode.notFound"), Delay.PROVIDER),
    ],
)
async def test_dingtalks_errors_are_told_apart(fault: tuple[int, str], expected: Reason | Delay) -> None:
    device = await enrolled(DingTalkDevice)
    answer, ticket = await device.asked()
    device.provider.fault = fault
    step = await device.keeper.check(answer, ticket)
    assert (step.reason if isinstance(step, Wrong) else step.why) is expected
    assert fault[1] in step.detail


NONSENSE = [
    b"",
    b"<html>",
    b"[]",
    b"null",
    b"{",
    b"[" * 100_000,
    b'{"openid": 5, "access_token": "x"}',
    b'{"openid": "", "access_token": "x"}',
    b'{"openid": "x"}',
    b'{"openid": "x\\u0000", "access_token": "x"}',
    b'{"openid": "x", "access_token": "x", "errcode": "0"}',
    b'{"openid": "x", "access_token": "x", "errcode": [40029]}',
    b'{"openid": "x", "access_token": "x", "errcode": 1}',
    b'{"openid": "' + b"x" * 300 + b'", "access_token": "x"}',
    b'{"accessToken": 5}',
    b'{"accessToken": "", "corpId": "ding-example"}',
    b'{"errcode": 40001, "errmsg": "x"}',
    b'{"code": ["authCode"]}',
]


@both
@pytest.mark.parametrize("body", NONSENSE)
@pytest.mark.parametrize("status", [200, 302, 500])
def test_what_makes_no_sense_is_not_judged(kind: type[ScanDevice], body: bytes, status: int) -> None:
    step = _exchange(kind()).then(Answer(status, body))
    assert isinstance(step, Later), step
    assert (step.why, step.pending, step.state) == (Delay.PROVIDER, None, None)


@both
def test_no_answer_is_not_judged(kind: type[ScanDevice]) -> None:
    step = _exchange(kind()).then(None)
    assert isinstance(step, Later)
    assert step.detail.startswith("status none")


@both
def test_a_provider_that_says_how_long_is_believed(kind: type[ScanDevice]) -> None:
    step = _exchange(kind()).then(Answer(429, b"{}", retry_after_s=77.0))
    assert isinstance(step, Later)
    assert step.retry_after_s == 77.0


def test_errors_of_dingtalks_older_form_are_understood_though_the_status_is_200() -> None:
    stale = _exchange(DingTalkDevice()).then(Answer(200, b'{"errcode": 40078, "errmsg": "x"}'))
    assert isinstance(stale, Wrong)
    assert stale.reason is Reason.EXPIRED
    busy = _exchange(DingTalkDevice()).then(Answer(200, b'{"errcode": -1, "errmsg": "x"}'))
    assert isinstance(busy, Later)
    assert busy.detail == "status 200, -1"


async def test_wechats_answer_may_be_labelled_as_text() -> None:
    """The simulation labels it so; everything else here rests on it."""
    device = WeChatDevice()
    assert device.get("https://api.weixin.qq.com/sns/oauth2/access_token").headers["Content-Type"] == "text/plain"


# Who it is: union id and open id


async def test_without_a_union_id_the_open_id_counts() -> None:
    device = WeChatDevice()
    device.provider.union = False
    assert isinstance(await device.enrol(), Done)
    assert device.keeper.enrolled().union_id is None
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    device.provider.union = True  # given since: the open id is still the same
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    assert device.keeper.enrolled().union_id is not None  # and it is kept for the day when the app changes
    _move_to_another_app(device)
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    assert device.keeper.enrolled().app_id == "wx-other"


async def test_with_a_union_id_another_app_of_the_same_owner_knows_the_same_person() -> None:
    device = await enrolled(WeChatDevice)
    _move_to_another_app(device)
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    device.provider.union = False  # from now on the open id of the other app is known, too
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    assert device.keeper.enrolled().union_id is not None


async def test_an_open_id_of_another_app_says_nothing() -> None:
    device = WeChatDevice()
    device.provider.union = False
    await device.enrol()
    _move_to_another_app(device)
    answer, ticket = await device.asked()
    step = await device.keeper.check(answer, ticket)
    assert step.reason is Reason.OTHER_IDENTITY


def test_the_same_open_id_in_two_apps_is_two_people() -> None:
    at = occasion()
    state = redirect.enrolled_as(at, "wechat", Identity("one", "open-id"), "", True).state
    assert isinstance(redirect.recognised(at, "wechat", state, Identity("one", "open-id")), Done)
    for other in (Identity("two", "open-id"), Identity("two", "open-id", "union-id"), Identity("one", "")):
        step = redirect.recognised(at, "wechat", state, other)
        assert isinstance(step, Wrong)
        assert step.reason is Reason.OTHER_IDENTITY


def _move_to_another_app(device: WeChatDevice) -> None:
    section = device.section() | {"app_id": "wx-other"}
    union = device.provider.union
    device.provider.app_id = "wx-other"
    device.keeper.factor = plugins.load("factors", "wechat", section)
    device.provider.union = union
    device.keeper.application = device.provider.application


def claimed(done: Done) -> list[bytes]:
    return [occasion().box.open(each.purpose, each) for each in done.claims]


@both
async def test_an_identity_claims_to_serve_one_account(kind: type[ScanDevice]) -> None:
    device, again = kind(), kind()
    done, same = await device.enrol(), await again.enrol()
    assert isinstance(done, Done)
    assert isinstance(same, Done)
    assert len(done.claims) == 2  # open id and union id
    assert claimed(done) == claimed(same)
    other = kind()
    other.person = "bob"
    if kind is DingTalkDevice:
        other.provider.people["bob"].append("ding-example")
    different = await other.enrol()
    assert isinstance(different, Done)
    assert not set(claimed(done)) & set(claimed(different))


@both
async def test_a_site_may_let_an_identity_serve_several_accounts(kind: type[ScanDevice]) -> None:
    device = kind()
    section = device.section() | {"one_account": False}
    device.keeper.factor = plugins.load("factors", device.name, section)
    device.keeper.application = device.provider.application
    done = await device.enrol()
    assert isinstance(done, Done)
    assert done.claims == ()


# DingTalk: members only


async def test_who_is_no_member_is_not_let_in() -> None:
    device = DingTalkDevice()
    device.provider.people["alice"] = ["ding-elsewhere"]
    asked = await device.keeper.enrol(purpose="enrol")
    url = device.keeper.show(asked.pending.ticket.id)["url"]
    assert "alice" not in device.get(url).text  # DingTalk does not offer it
    tampered = url.replace("&corpId=ding-example", "")
    back = device.back(tampered, person="alice", organisation="ding-elsewhere")
    step = await device.keeper.confirm(back, asked.pending.ticket.id, purpose="enrol")
    assert step.reason is Reason.NOT_A_MEMBER
    assert device.keeper.enrolled() is None


async def test_who_asks_for_no_organisation_is_not_let_in_either() -> None:
    device = DingTalkDevice()
    asked = await device.keeper.enrol(purpose="enrol")
    url = device.keeper.show(asked.pending.ticket.id)["url"]
    tampered = url.replace("&corpId=ding-example", "").replace("openid%20corpid", "openid")
    back = device.back(tampered, person="alice", organisation="")
    step = await device.keeper.confirm(back, asked.pending.ticket.id, purpose="enrol")
    assert step.reason is Reason.NOT_A_MEMBER


async def test_who_has_left_the_organisation_is_refused_from_then_on() -> None:
    device = await enrolled(DingTalkDevice)
    answer, ticket = await device.asked()
    assert isinstance(await device.keeper.check(answer, ticket), Done)
    device.provider.people["alice"] = ["ding-elsewhere"]
    device.clock.go(61)
    asked = await device.keeper.challenge()
    url = device.keeper.show(asked.pending.ticket.id)["url"].replace("&corpId=ding-example", "")
    back = device.back(url, person="alice", organisation="ding-elsewhere")
    step = await device.keeper.check(back, asked.pending.ticket.id)
    assert step.reason is Reason.NOT_A_MEMBER
    assert device.keeper.enrolled() is not None  # and if they come back, it is theirs again


async def test_without_an_organisation_set_anybody_counts() -> None:
    device = DingTalkDevice()
    device.keeper.factor = plugins.load("factors", "dingtalk", device.section() | {"organisation": ""})
    device.keeper.application = device.provider.application
    asked = await device.keeper.enrol(purpose="enrol")
    back = device.back(device.keeper.show(asked.pending.ticket.id)["url"], person="bob", organisation="")
    assert isinstance(await device.keeper.confirm(back, asked.pending.ticket.id, purpose="enrol"), Done)


@both
async def test_no_token_and_no_personal_data_is_kept(kind: type[ScanDevice]) -> None:
    device = await enrolled(kind)
    answer, ticket = await device.asked()
    await device.keeper.check(answer, ticket)
    fields = set(json.loads(device.keeper.state or ""))
    assert fields == {"app_id", "open_id", "union_id", "confirmed_at", "used_at", "name", "detail"}
    issued = device.provider._grants._tokens
    assert issued
    assert not any(each in text for each in issued for text in device.keeper.written)
    assert "13800138000" not in (device.keeper.state or "")


@both
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("app_id", ""),
        ("app_secret", ""),
        ("api_url", "http://api.example.org"),
        ("api_url", "https://api.example.org/"),
        ("api_url", "https://user:word@api.example.org"),
        ("api_url", "https://api.example.org:port"),
        ("login_url", "ftp://example.org"),
        ("login_url", "https://example.org?x=1"),
        ("one_account", "yes"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_without_showing_them(
    kind: type[ScanDevice], key: str, value: object
) -> None:
    device = kind()
    with pytest.raises(BadSection) as refused:
        plugins.load("factors", device.name, device.section() | {key: value})
    assert refused.value.key == key
    assert "secret-of-the-app" not in str(refused.value)


@both
def test_a_stand_in_on_this_machine_may_do_without_tls(kind: type[ScanDevice]) -> None:
    device = kind()
    section = {"login_url": "http://localhost:8080/simulated", "api_url": "http://127.0.0.1:8080/simulated"}
    factor: Any = plugins.load("factors", device.name, device.section() | section)
    at = occasion()
    url = factor.show(at, None, factor.challenge(at, None).pending)["url"]
    assert url.startswith("http://localhost:8080/simulated/")


async def test_a_state_that_is_broken_is_a_fault_and_not_another_person() -> None:
    device = await enrolled(WeChatDevice)
    state = device.keeper.enrolled()
    assert record.from_json(device.keeper.factor.Enrolled, record.to_json(state)) == state
    answer, ticket = await device.asked()
    device.keeper.state = (device.keeper.state or "").replace(
        "wechat-provider-identity:1:", "wechat-provider-identity:1:AAAA"
    )
    with pytest.raises(Exception, match="cannot be opened"):
        await device.keeper.check(answer, ticket)
