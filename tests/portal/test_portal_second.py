"""The second step of signing in, with each kind of factor: right, wrong, used, late, and of somebody else."""

from __future__ import annotations

import asyncio
import html
import json
import re

import pytest
from outside_world import KINDS, state_of
from portal_site import ALICE, BOB, PASSWORD, Browser, Reply, Site
from soft_authenticator import SoftAuthenticator

from mailauth.accounts.history import audit

OPTIONS = re.compile(r'data-options="([^"]*)"')
WAY = re.compile(r'<a class="button" href="([^"]*)" data-follow>')
CODES = re.compile(r"<li>([a-z0-9]{5}-[a-z0-9]{5})</li>")


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    return Site(sqlite_database.store, ring, kinds=KINDS)


def way_of(page: Reply) -> str:
    (url,) = WAY.findall(page.html)
    return html.unescape(url)


class Hands:
    """Somebody with everything that a second step can be done with."""

    def __init__(self, site: Site, login: str = ALICE) -> None:
        self.site = site
        self.login = login
        self.key = SoftAuthenticator(site.origin)
        self.paper: list[str] = []
        self.app = None
        self.person = "alice" if login == ALICE else "bob"

    async def proven(self, browser: Browser, path: str) -> Reply:
        """Ask for something at this address, and prove it by the web password (and the app)."""
        await browser.get("/security")
        page = await browser.follow(await browser.post(path))
        for _ in range(3):
            if "web-password" in page.html:
                answer = await browser.post(page.path, way="web-password", password=PASSWORD)
            elif 'value="totp"' in page.html:
                self.site.clock.now += 60
                answer = await browser.post(page.path, way="totp", code=self.app.at(self.site.clock()), question="")
            else:
                return page
            page = await browser.follow(answer)
        return page

    async def set_up(self, browser: Browser, kind: str) -> Reply:
        """A factor of this kind, by somebody who is in."""
        page = await self.proven(browser, f"/security/{kind}/add")
        if kind in {"sms", "wechat", "dingtalk", "webauthn"}:
            typed = {"number": "138 0013 8000"} if kind == "sms" else {"name": "mine"}
            page = await browser.follow(await browser.post(page.path, proof=page.hidden("proof"), **typed))
        return await browser.follow(await self.confirmed(browser, kind, page))

    async def confirmed(self, browser: Browser, kind: str, page: Reply) -> Reply:
        """The answer to an enrolment that is open on this page."""
        if kind in {"wechat", "dingtalk"}:
            return await browser.get(await self.site.outside.consent(way_of(page), self.person))
        question = page.hidden("question")
        match kind:
            case "totp":
                import pyotp  # noqa: PLC0415

                secret = re.search(r'<p class="mono">([A-Z2-7 ]+)</p>', page.html)[1]
                self.app = pyotp.TOTP(secret.replace(" ", ""))
                given = {"code": self.app.at(self.site.clock()), "name": "my phone"}
            case "sms":
                given = {"code": self.site.outside.texted()}
            case "webauthn":
                given = {"credential": self.key.create(json.loads(html.unescape(OPTIONS.findall(page.html)[0])))}
            case _:
                self.paper = CODES.findall(page.html)
                given = {}
        return await browser.post(page.path, question=question, **given)

    async def answer(self, browser: Browser, kind: str) -> Reply:
        """A right answer at the sign-in."""
        self.site.clock.now += 61
        path = f"/signin/second/{kind}"
        page = await browser.get(path)
        if kind not in {"totp", "recovery-codes"}:
            page = await browser.follow(await browser.post(path, send="1"))
        match kind:
            case "totp":
                given = {"code": self.app.at(self.site.clock())}
            case "sms":
                given = {"code": self.site.outside.texted()}
            case "recovery-codes":
                given = {"code": self.paper.pop()}
            case "webauthn":
                options = json.loads(html.unescape(OPTIONS.findall(page.html)[0]))
                given = {"credential": self.key.get(options), "question": page.hidden("question")}
            case _:
                return await browser.get(await self.site.outside.consent(way_of(page), self.person))
        return await browser.post(path, **given)


@pytest.fixture
async def hands(site: Site) -> Hands:
    """Alice, with all of them set up."""
    site.add()
    hands = Hands(site)
    browser = site.browser()
    await browser.sign_in()
    for kind in KINDS:
        page = await hands.set_up(browser, kind)
        assert page.path == "/security", page.text
        site.clock.now += 61
    return hands


async def half_in(site: Site) -> Browser:
    browser = site.browser()
    page = await browser.sign_in()
    assert page.path == "/signin/second/totp"
    return browser


@pytest.mark.parametrize("kind", KINDS)
async def test_w11_each_way_lets_in_with_a_new_session(site: Site, hands: Hands, kind: str) -> None:
    browser = await half_in(site)
    half = browser.client.cookies["mailauth-session"]
    answer = await hands.answer(browser, kind)
    assert (answer.status, answer.to) == (303, "/"), answer.text
    assert (await browser.get("/passwords")).status == 200
    assert browser.client.cookies["mailauth-session"] != half
    old = site.browser(Cookie=f"mailauth-session={half}")
    assert (await old.get("/signin/second")).to == "/signin"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_each_way_has_its_page_in_each_language(site: Site, hands: Hands, kind: str, language: str) -> None:
    browser = site.browser(language=language)
    await browser.sign_in()
    page = await browser.get("/signin/second?all=1")
    assert f'href="/signin/second/{kind}"' in page.html
    page = await browser.get(f"/signin/second/{kind}")
    assert page.status == 200
    assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in page.html
    assert "13800138000" not in page.html


async def test_the_sign_in_leads_on_to_where_one_wanted_to_go(site: Site, hands: Hands) -> None:
    browser = site.browser()
    page = await browser.follow(await browser.get("/passwords/new"))
    page = await browser.follow(
        await browser.post("/signin", address=ALICE, password=PASSWORD, next=page.hidden("next"))
    )
    assert page.path == "/signin/second/totp"
    site.clock.now += 60
    code = hands.app.at(site.clock())
    answer = await browser.post(page.path, code=code, next=page.hidden("next"))
    assert answer.to == "/passwords/new"


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil"])
async def test_w15_and_nowhere_else(site: Site, hands: Hands, wanted: str) -> None:
    browser = await half_in(site)
    site.clock.now += 60
    answer = await browser.post("/signin/second/totp", code=hands.app.at(site.clock()), next=wanted)
    assert answer.to == "/"


async def test_w02_a_code_works_once_also_when_it_comes_many_times_at_once(site: Site, hands: Hands) -> None:
    browsers = [await half_in(site) for _ in range(8)]
    site.clock.now += 60
    code = hands.app.at(site.clock())
    answers = await asyncio.gather(*[browser.post("/signin/second/totp", code=code) for browser in browsers])
    assert sorted(answer.status for answer in answers) == [303] + [422] * 7
    refused = next(answer for answer in answers if answer.status == 422)
    assert "has been used already. Wait about" in refused.text


async def test_w03_a_wrong_code_the_clock_and_too_many_tries_are_told_apart(site: Site, hands: Hands) -> None:
    browser = await half_in(site)
    site.clock.now += 600
    await half_in(site)
    for browser in (await half_in(site), await half_in(site)):
        behind = await browser.post("/signin/second/totp", code=hands.app.at(site.clock() - 300))
        assert "5 minutes behind" in behind.text
    assert "cannot be the code" in (await browser.post("/signin/second/totp", code="12345")).text
    for left in (2, 1):
        answer = await browser.post("/signin/second/totp", code="000000")
        assert f"You can try {left} more times" in answer.text
    answer = await browser.post("/signin/second/totp", code="000000")
    assert "Wait 30 s before you try again" in answer.text
    other = await half_in(site)  # counted for the account, not for a session
    answer = await other.post("/signin/second/totp", code=hands.app.at(site.clock()))
    assert (answer.status, "was not looked at" in answer.text) == (429, True)
    site.clock.now += 31
    assert (await other.post("/signin/second/totp", code=hands.app.at(site.clock()))).to == "/"


async def test_w04_a_code_by_message_is_for_its_session_and_five_tries(site: Site, hands: Hands) -> None:
    one, other = await half_in(site), await half_in(site)
    for browser in (one, other):
        await browser.get("/signin/second/sms")
    site.clock.now += 61
    await one.follow(await one.post("/signin/second/sms", send="1"))
    code = site.outside.texted()
    assert "another page or in another browser" in (await other.post("/signin/second/sms", code=code)).text
    for _ in range(4):
        answer = await one.post("/signin/second/sms", code="000000" if code != "000000" else "111111")
        assert "You can try" in answer.text
    answer = await one.post("/signin/second/sms", code="000000" if code != "000000" else "111111")
    assert "too many wrong codes" in answer.text
    assert (await one.post("/signin/second/sms", code=code)).status == 422
    site.clock.now += 61
    await one.follow(await one.post("/signin/second/sms", send="1"))
    site.clock.now += 601
    assert (await one.post("/signin/second/sms", code=site.outside.texted())).to.startswith("/signin")


async def test_w04_a_new_code_kills_the_old(site: Site, hands: Hands) -> None:
    browser = await half_in(site)
    codes = []
    for _ in range(2):
        site.clock.now += 61
        await browser.get("/signin/second/sms")
        page = await browser.follow(await browser.post("/signin/second/sms", send="1"))
        codes.append(site.outside.texted())
        assert "138****8000" in page.text
    assert codes[0] == codes[1] or (await browser.post("/signin/second/sms", code=codes[0])).status == 422
    assert (await browser.post("/signin/second/sms", code=codes[1])).to == "/"


async def test_w05_sending_again_has_to_wait_and_says_how_long(site: Site, hands: Hands) -> None:
    browser = await half_in(site)
    await browser.get("/signin/second/sms")
    site.clock.now += 61
    page = await browser.follow(await browser.post("/signin/second/sms", send="1"))
    assert re.search(r'data-wait="60"', page.html)
    sent = len(site.outside.phone.messages)
    answer = await browser.post("/signin/second/sms", send="1")
    assert (answer.status, "You can have another in 60 s" in answer.text) == (429, True)
    assert len(site.outside.phone.messages) == sent


async def test_w06_nothing_is_sent_before_the_web_password_was_right(site: Site, hands: Hands) -> None:
    sent = len(site.outside.phone.messages)
    for login, password in ((ALICE, "wrong"), ("nobody@example.test", "x")):
        browser = site.browser()
        await browser.get("/signin")
        await browser.post("/signin", address=login, password=password)
        answer = await browser.send("/signin/second/sms", {"send": "1", "csrf": browser.page.csrf})
        assert (answer.status, answer.to) == (303, "/signin")
    assert len(site.outside.phone.messages) == sent


async def test_a_gateway_that_is_down_is_not_the_users_fault(site: Site, hands: Hands, caplog) -> None:
    browser = await half_in(site)
    site.outside.phone.fault = 503
    await browser.get("/signin/second/sms")
    site.clock.now += 61
    answer = await browser.post("/signin/second/sms", send="1")
    assert answer.status == 429
    assert "does not answer at the moment" in answer.text
    assert "second factor sms: " in caplog.text
    assert "138" not in caplog.text


async def test_who_comes_back_from_a_provider_is_led_to_the_page_he_asked_for_first(site: Site, hands: Hands) -> None:
    browser = site.browser()
    await browser.get("/signin")
    await browser.follow(await browser.post("/signin", address=ALICE, password=PASSWORD, next="/activity"))
    await browser.get("/signin/second/wechat")
    page = await browser.follow(await browser.post("/signin/second/wechat", send="1"))
    assert (await browser.get(await site.outside.consent(way_of(page)))).to == "/activity"


@pytest.mark.parametrize("kind", ["wechat", "dingtalk"])
async def test_w08_the_way_back_counts_once_in_its_session_and_for_the_bound_account(
    site: Site, hands: Hands, kind
) -> None:
    browser, other = await half_in(site), await half_in(site)
    path = f"/signin/second/{kind}"
    await browser.get(path)
    page = await browser.follow(await browser.post(path, send="1"))
    back = await site.outside.consent(way_of(page))
    assert state_of(back) in way_of(page)
    stolen = await other.get(back)  # in another session
    assert stolen.status == 403
    assert (await browser.get(back.replace(state_of(back), "0" * 48))).status == 403
    assert (await site.browser().get(back)).to.startswith("/signin")
    wrong_kind = back.replace(f"/return/{kind}", "/return/" + ("dingtalk" if kind == "wechat" else "wechat"))
    assert (await browser.get(wrong_kind)).status in {403, 422}
    assert (await browser.get("/return/totp" + back.partition(kind)[2])).status in {403, 422}
    assert (await browser.get(back)).to == "/"
    assert (await browser.get(back)).status == 403  # again

    browser = await half_in(site)
    await browser.get(path)
    page = await browser.follow(await browser.post(path, send="1"))
    answer = await browser.get(await site.outside.consent(way_of(page), "bob"))
    told = "another account than the one that is bound" if kind == "wechat" else "You said no there"  # no member
    assert (answer.status, told in answer.text) == (422, True)
    page = await browser.follow(await browser.post(path, send="1"))
    answer = await browser.get(await site.outside.consent(way_of(page), ""))
    assert (answer.status, "You said no there" in answer.text) == (422, True)


async def test_a_passkey_that_is_wrong_leads_to_a_new_question(site: Site, hands: Hands) -> None:
    browser = await half_in(site)
    path = "/signin/second/webauthn"
    await browser.get(path)
    page = await browser.follow(await browser.post(path, send="1"))
    for credential in ("", "{}", "x" * 30_000, '{"id": 1}'):
        answer = await browser.post(path, credential=credential, question=page.hidden("question"))
        assert answer.status == 422
        assert 'name="send"' in answer.html
    assert (await hands.answer(browser, "webauthn")).to == "/"


async def test_w09_a_recovery_code_works_once_and_the_rest_are_counted(site: Site, hands: Hands) -> None:
    browser = await half_in(site)
    page = await browser.get("/signin/second/recovery-codes")
    assert "you have 10 left" in page.text
    spent = hands.paper[-1]
    assert (await browser.post("/signin/second/recovery-codes", code=f" {spent.upper()} ")).to == "/"
    browser = await half_in(site)
    page = await browser.get("/signin/second/recovery-codes")
    assert "you have 9 left" in page.text
    assert (await browser.post("/signin/second/recovery-codes", code=spent)).status == 422


async def test_w20_nothing_is_written_for_the_account_before_the_second_step(site: Site, hands: Hands) -> None:
    before = [(row.kind, row.at) for row in audit(site.store, ALICE)]
    browser = await half_in(site)
    await browser.post("/language", language="zh", next="/")
    with site.store.reading() as tx:
        assert tx.row("SELECT language FROM accounts WHERE login = 'alice@example.test'")["language"] is None
    assert [(row.kind, row.at) for row in audit(site.store, ALICE)] == before


async def test_a_kind_that_there_is_not_leads_to_the_choice(site: Site, hands: Hands) -> None:
    browser = await half_in(site)
    for kind in ("sources", "..", "%2e%2e", "x" * 300):
        assert (await browser.get(f"/signin/second/{kind}")).to in {"/signin/second?all=1", "/signin/second", ""}


async def test_somebody_else_can_sign_in_instead(site: Site, hands: Hands) -> None:
    site.add(BOB)
    browser = await half_in(site)
    assert (await browser.get("/signin")).status == 200
    answer = await browser.post("/signin", address=BOB, password=PASSWORD)
    assert answer.to == "/"
    assert BOB in (await browser.get("/")).text


async def test_when_no_way_is_offered_any_more_it_says_whom_to_ask(site: Site, hands: Hands, ring) -> None:
    poorer = Site(site.store, ring, kinds=(), clock=site.clock, passwords=site.passwords)
    browser = poorer.browser()
    page = await browser.sign_in()
    assert page.path == "/signin/second"
    assert "Ask whoever runs your mail" in page.text
