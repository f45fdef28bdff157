"""The simulated providers themselves: what they refuse, and what their pages say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from mailauth.demo.providers import grants
from mailauth.demo.providers.dingtalk import DingTalk
from mailauth.demo.providers.grants import Grant, Grants, Stale
from mailauth.demo.providers.phone import Phone, Received
from mailauth.demo.providers.wechat import WeChat
from mailauth.factors.message import Message
from mailauth.gateways.sms_webhook import Webhook

NOW = 1_700_000_010.0
BACK = "https://mail.example.test/back?keep=1"
WECHAT = {"appid": "wx", "redirect_uri": BACK, "response_type": "code", "scope": "snsapi_login", "state": "<s'&\">"}
DINGTALK = {"client_id": "dt", "redirect_uri": BACK, "response_type": "code", "scope": "openid", "state": "<s'&\">"}


class Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {name for name, _ in attrs if name.startswith("on") or name == "style"}
        self.hrefs += [value or "" for name, value in attrs if name == "href"]


async def visit(application: Any, path: str, query: dict[str, str] | None = None, **settings: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(application, **settings)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as browser:
        return await browser.get(path, params=query or {})


def apps() -> list[tuple[Any, str, dict[str, str]]]:
    return [
        (WeChat("wx", "s", "mail.example.test").application, "/connect/qrconnect", WECHAT),
        (DingTalk("dt", "s", BACK).application, "/oauth2/auth", DINGTALK),
    ]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("mounted", ["", "/simulated/provider"])
async def test_a_page_asks_for_consent_and_its_links_work_wherever_it_is_mounted(which: int, mounted: str) -> None:
    application, path, query = apps()[which]
    reply = await visit(application, mounted + path, query, root_path=mounted)
    assert reply.status_code == 200
    assert "模拟页面" in reply.text
    assert "Simulated" in reply.text
    page = Links(reply.text)
    assert not page.tags & {"script", "style", "img", "iframe", "form", "s"}
    assert len(page.hrefs) == 3  # alice, bob, and no
    for href in page.hrefs:
        where = reply.url.join(href)
        decided = await visit(application, where.path, dict(where.params), root_path=mounted)
        assert decided.status_code == 302
        back = urlsplit(decided.headers["Location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == "https://mail.example.test/back"
        fields = parse_qs(back.query)
        assert (fields["keep"], fields["state"]) == (["1"], [query["state"]])
        assert ("code" in fields) is ("person=" in href)


@pytest.mark.parametrize("which", [0, 1])
async def test_pages_carry_a_policy_that_lets_nothing_run(which: int) -> None:
    application, path, query = apps()[which]
    reply = await visit(application, path, query)
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["appid", "client_id", "redirect_uri", "scope", "response_type"])
async def test_a_request_that_the_provider_would_not_take_goes_nowhere(which: int, name: str) -> None:
    application, path, query = apps()[which]
    if name not in query:
        return
    for step in (path, path.rpartition("/")[0] + "/decision"):
        reply = await visit(application, step, query | {name: "https://evil.example/<script>", "person": "alice"})
        assert reply.status_code == 200
        assert "Location" not in reply.headers
        assert "<script>" not in reply.text


@pytest.mark.parametrize("which", [0, 1])
async def test_there_is_nothing_else(which: int) -> None:
    application, _, _ = apps()[which]
    assert (await visit(application, "/another")).status_code == 404


def test_a_code_is_good_once_and_for_a_while() -> None:
    now = [NOW]
    issued = Grants(lambda: now[0])
    code = issued.code(Grant("alice"))
    assert issued.spend("another") is Stale.UNKNOWN
    assert issued.spend(code) == Grant("alice")
    assert issued.spend(code) is Stale.USED
    late = issued.code(Grant("alice"))
    now[0] += grants.CODE_S
    assert issued.spend(late) is Stale.EXPIRED
    assert issued.of(issued.token(Grant("bob"))) == Grant("bob")
    assert issued.of("another") is None


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({"appid": "other"}, 40013),
        ({"secret": "other"}, 40125),
        ({"code": ""}, 41008),
        ({"grant_type": "refresh_token"}, 41008),
        ({}, 40029),
    ],
)
async def test_wechat_says_its_errors_with_status_200(query: dict[str, str], errcode: int) -> None:
    application, _, _ = apps()[0]
    asked = {"appid": "wx", "secret": "s", "code": "x", "grant_type": "authorization_code"} | query
    reply = await visit(application, "/sns/oauth2/access_token", asked)
    assert (reply.status_code, reply.headers["Content-Type"], reply.json()["errcode"]) == (200, "text/plain", errcode)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"clientId": "other"}, "invalidClientIdOrSecret"),
        ({"clientSecret": "other"}, "invalidClientIdOrSecret"),
        ({"grantType": "refresh_token"}, "invalidParameter.grantType"),
        ({}, "invalidParameter.authCode.notFound"),
    ],
)
async def test_dingtalk_says_its_errors_with_a_status(changed: dict[str, str], fault: str) -> None:
    application, _, _ = apps()[1]
    asked = {"clientId": "dt", "clientSecret": "s", "code": "x", "grantType": "authorization_code"} | changed
    transport = httpx2.ASGITransport(application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        reply = await client.post("/v1.0/oauth2/userAccessToken", json=asked)
        assert (reply.status_code, reply.json()["code"]) == (400, fault)
        reply = await client.post("/v1.0/oauth2/userAccessToken", content=b"no JSON")
        assert reply.status_code == 400
        reply = await client.get("/v1.0/contact/users/me", headers={"x-acs-dingtalk-access-token": "x"})
        assert reply.json()["code"] == "InvalidAuthentication"


async def test_dingtalk_offers_the_organisations_that_one_is_a_member_of() -> None:
    provider = DingTalk("dt", "s", BACK)
    provider.people["alice"] = ["ding-example", "ding-other"]
    query = DINGTALK | {"scope": "openid corpid"}
    every = await visit(provider.application, "/oauth2/auth", query)
    assert re.findall(r"Agree: (\w+ [\w-]+)", every.text) == [
        "alice ding-example",
        "alice ding-other",
        "bob ding-elsewhere",
    ]
    only = await visit(provider.application, "/oauth2/auth", query | {"corpId": "ding-other"})
    assert re.findall(r"Agree: (\w+ [\w-]+)", only.text) == ["alice ding-other"]
    forced = await visit(
        provider.application, "/oauth2/decision", query | {"person": "alice", "organisation": "ding-elsewhere"}
    )
    assert "error=access_denied" in forced.headers["Location"]


async def test_the_telephone_shows_the_newest_message_first_and_escapes_it() -> None:
    phone = Phone("shared-by-both-sides", clock=lambda: NOW)
    assert "还没有短信" in (await visit(phone.application, "/")).text
    for text in ("first", "<script>alert(1)</script>"):
        phone.messages.append(Received(NOW, "+8613800138000", text))
    reply = await visit(phone.application, "/")
    assert "<script>" not in reply.text
    assert reply.text.index("&lt;script&gt;") < reply.text.index("first")
    assert "模拟页面" in reply.text
    assert (await visit(phone.application, "/another")).status_code == 404


async def test_a_number_that_is_none_is_refused_by_the_telephone() -> None:
    phone = Phone("shared-by-both-sides", clock=lambda: NOW)
    request = Webhook("http://localhost/messages", "shared-by-both-sides").request(
        Message("13800138000", "t", "1", "zh", "id"), NOW
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(phone.application)) as client:
        reply = await client.post(request.target, content=request.body, headers=list(request.headers))
    assert reply.status_code == 422
    assert not phone.messages
