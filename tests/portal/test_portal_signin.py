"""Signing in with the web password: what gets in, what is said to what does not, and what a browser keeps."""

from __future__ import annotations

import base64
import json

import pytest
from portal_site import ALICE, BOB, PASSWORD, PEER, Browser, Reply, Site

from mailauth.accounts import apppasswords
from mailauth.interfaces import BadRecord, HashUnavailable, PoolBusy, SourceUnavailable, StoreUnavailable, UnknownKey
from mailauth.portal.visit import local

WRONG = "The address or the password is not right."
LOCAL_ONLY = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "https://evil.example",
    "http:evil.example",
    "javascript:alert(1)",
    "evil.example",
    "/%09/evil.example\t",
    "/\t/evil.example",
    "/\n/evil.example",
    " /passwords",
    "/passwords\x00",
    "/é",
    "",
    "/" + "a" * 600,
]


def session_of(browser: Browser) -> str:
    return browser.client.cookies.get("mailauth-session", "")


async def test_the_web_password_opens_the_portal(site: Site) -> None:
    site.add()
    browser = site.browser()
    page = await browser.sign_in()
    assert (page.status, page.path) == (200, "/")
    assert "Overview" in page.text
    assert ALICE in page.text


async def test_one_sentence_for_whatever_is_wrong(site: Site) -> None:
    site.add()
    answers = []
    for login, password in ((ALICE, "wrong"), (BOB, PASSWORD), ("nobody@elsewhere.test", "x"), ("\u202e<b>", "x")):
        browser = site.browser()
        await browser.get("/signin")
        answer = await browser.post("/signin", address=login, password=password)
        assert answer.status == 401
        assert WRONG in answer.text
        assert not session_of(browser)
        answers.append(answer.html.replace(login.replace("\u202e", "").replace("<b>", "&lt;b&gt;"), "X"))
    assert len({answer[: answer.index("csrf")] for answer in answers}) == 1


async def test_what_was_typed_is_there_again_but_for_the_password(site: Site) -> None:
    browser = site.browser()
    await browser.get("/signin")
    answer = await browser.post("/signin", address='"><script>alert(1)</script>', password="hush-hush-hush")
    assert 'value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"' in answer.html
    assert "hush" not in answer.html


async def test_nothing_is_asked_for_an_empty_form(site: Site) -> None:
    browser = site.browser()
    await browser.get("/signin")
    for fields in ({"address": ALICE, "password": ""}, {"address": " ", "password": "x"}):
        answer = await browser.post("/signin", **fields)
        assert (answer.status, "Fill in both" in answer.text) == (422, True)
    assert site.passwords.asked == []


@pytest.mark.parametrize(
    "fault",
    [StoreUnavailable("x"), SourceUnavailable("x"), PoolBusy(), HashUnavailable(), BadRecord("x"), UnknownKey("x")],
)
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_a_fault_is_never_called_a_wrong_password(site: Site, fault: Exception, language: str) -> None:
    site.add()
    site.passwords.outcome = fault
    browser = site.browser(language=language)
    await browser.get("/signin")
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD)
    assert answer.status == 503
    assert answer.response.headers["retry-after"]
    told = {"en": "It is not your password", "zh": "这不是您的密码有问题"}
    assert told[language] in answer.text
    assert WRONG not in answer.text
    assert ALICE in answer.html


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "1 s"), (90.0, "90 s"), (121.0, "3 min"), (7201.0, "3 h")])
async def test_w17_who_has_to_wait_is_told_how_long_and_that_nothing_was_judged(site: Site, seconds, told) -> None:
    site.passwords.outcome = seconds
    browser = site.browser()
    await browser.get("/signin")
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD)
    assert answer.status == 429
    assert f"Wait {told}" in answer.text
    assert "was not looked at" in answer.text
    assert int(answer.response.headers["retry-after"]) >= seconds


async def test_w11_the_session_is_new_at_each_sign_in_and_the_old_one_is_dead(site: Site) -> None:
    site.add()
    chosen = "mailauth-session=chosen-by-somebody-else"
    browser = site.browser(Cookie=chosen)
    form = await browser.get("/signin")
    token = form.response.headers["set-cookie"].partition("mailauth-form=")[2].partition(";")[0]
    browser.client.headers["Cookie"] = f"{chosen}; mailauth-form={token}"
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD)
    fresh = answer.response.headers["set-cookie"].partition("mailauth-session=")[2].partition(";")[0]
    assert len(fresh) == 43
    assert (await site.browser(Cookie=f"mailauth-session={fresh}").get("/passwords")).status == 200
    assert (await site.browser(Cookie=chosen).get("/passwords")).to.startswith("/signin")


async def test_w12_signing_out_ends_the_session_at_the_server(site: Site, alice: Browser) -> None:
    kept = session_of(alice)
    await alice.get("/")
    answer = await alice.post("/signout")
    assert (answer.status, answer.to) == (303, "/signin")
    again = site.browser()
    again.client.cookies.set("mailauth-session", kept)
    page = await again.follow(await again.get("/"))
    assert page.path == "/signin"
    assert "You are signed out" in page.text


async def test_w12_a_session_ends_when_nobody_uses_it_and_in_any_case_after_its_time(
    site: Site, alice: Browser
) -> None:
    site.clock.now += site.rules.idle_s - 1
    assert (await alice.get("/")).status == 200
    site.clock.now += site.rules.idle_s + 1
    assert (await alice.get("/")).to == "/signin"
    await alice.sign_in()
    for _ in range(int(site.rules.session_s / site.rules.idle_s) + 2):
        site.clock.now += site.rules.idle_s - 100
        answer = await alice.get("/")
    assert answer.to == "/signin"


async def test_w12_cookies_on_this_machine_and_over_tls(sqlite_database, ring) -> None:
    for origin, prefix, secure in (
        ("http://localhost:8080", "mailauth-", False),
        ("https://mail.test", "__Host-", True),
    ):
        site = Site(sqlite_database.store, ring, origin=origin)
        login = f"{len(origin)}@example.test"
        site.add(login)
        browser = site.browser()
        await browser.get("/signin")
        answer = await browser.post("/signin", address=login, password=PASSWORD)
        cookies = answer.response.headers.get_list("set-cookie")
        assert any(f"{prefix}" in cookie and "session=" in cookie for cookie in cookies)
        assert any("device=" in cookie and "Max-Age" in cookie for cookie in cookies)
        for cookie in cookies:
            assert cookie.startswith("__Host-mailauth-" if secure else "mailauth-")
            assert ("Secure" in cookie) is secure
            assert "HttpOnly" in cookie
            assert "samesite=lax" in cookie.lower()
            assert "Path=/" in cookie
            assert "domain" not in cookie.lower()


async def test_a_browser_that_was_known_says_so_at_the_next_sign_in(site: Site) -> None:
    site.add()
    browser = site.browser()
    await browser.sign_in()
    await browser.post("/signout")
    await browser.sign_in()
    (_, _, first), (_, _, second) = site.passwords.asked
    assert first == ""
    assert second == browser.client.cookies["mailauth-device"]


@pytest.mark.parametrize("path", LOCAL_ONLY)
async def test_w15_signing_in_leads_to_a_page_of_this_portal_and_nowhere_else(site: Site, path: str) -> None:
    assert local(path) == "/"
    site.add()
    browser = site.browser()
    page = Reply(await browser.client.get("/signin", params={"next": path}))
    assert page.hidden("next") == "/"
    await browser.get("/signin")
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD, next=path)
    assert answer.to == "/"


async def test_signing_in_leads_on_to_where_one_wanted_to_go(site: Site) -> None:
    site.add()
    browser = site.browser()
    answer = await browser.get("/passwords/new?x=1&y=%C3%A9")
    assert answer.to == "/signin?next=/passwords/new%3Fx%3D1%26y%3D%25C3%25A9"
    page = await browser.follow(answer)
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD, next=page.hidden("next"))
    assert answer.to == "/passwords/new?x=1&y=%C3%A9"


async def test_a_form_that_is_out_of_date_is_shown_again_with_what_was_typed(site: Site) -> None:
    site.add()
    browser = site.browser()
    await browser.get("/signin")
    browser.client.cookies.clear()
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD)
    assert answer.status == 403
    assert "open for too long" in answer.text
    assert f'value="{ALICE}"' in answer.html
    assert PASSWORD not in answer.html
    assert site.passwords.asked == []
    assert (await browser.post("/signin", address=ALICE, password=PASSWORD)).to == "/"


async def test_the_password_is_judged_exactly_as_typed_and_the_address_without_its_surroundings(site: Site) -> None:
    site.add(password="  spaces\tinside ")
    browser = site.browser()
    await browser.get("/signin")
    answer = await browser.post("/signin", address=f" {ALICE}\n", password="  spaces\tinside ")
    assert answer.to == "/"


async def test_who_is_signed_in_is_not_asked_again(alice: Browser) -> None:
    assert (await alice.get("/signin")).to == "/"


async def test_a_password_that_was_changed_while_it_was_looked_at_does_not_count(site: Site) -> None:
    site.add()
    browser = site.browser()
    await browser.get("/signin")
    site.passwords.outcome = await site.passwords.check(ALICE, PASSWORD, PEER)
    with site.store.transaction() as tx:
        tx._connection.execute("UPDATE accounts SET web_changed_at = ?", (site.clock() + 1,))
    answer = await browser.post("/signin", address=ALICE, password=PASSWORD)
    assert answer.status == 401


async def test_an_app_password_never_opens_the_portal_even_if_it_is_the_web_password_too(
    site: Site, alice: Browser
) -> None:
    for deleted in (False, True):
        made = apppasswords.mint(site.store, site.ring, site.hashing, ALICE, label="x", actor="test", now=site.clock())
        if deleted:
            apppasswords.revoke(site.store, ALICE, ids=[made.id], actor="test", now=site.clock())
        site.passwords.known[ALICE] = (site.account_id(), made.password)
        browser = site.browser()
        await browser.get("/signin")
        answer = await browser.post("/signin", address=ALICE, password=made.password)
        assert (answer.status, WRONG in answer.text) == (401, True)
        await alice.get("/passwords/new")
        proof = await alice.follow(await alice.post("/passwords/new", services="imap"))
        answer = await alice.post(proof.path, way="web-password", password=made.password)
        assert (answer.status, "The web password is not right" in answer.text) == (422, True)
        site.passwords.known[ALICE] = (site.account_id(), PASSWORD)
        await alice.get("/password")
        grouped = " ".join([made.password[start : start + 4] for start in range(0, 16, 4)])
        answer = await alice.post("/password", current=PASSWORD, new=grouped, again=grouped)
        assert (answer.status, "is one of your client passwords" in answer.text) == (422, True)
    assert (await site.browser().sign_in()).path == "/"


# ---- the language of the pages


async def test_the_language_is_the_browsers_until_one_is_chosen_and_then_the_accounts(site: Site) -> None:
    site.add()
    browser = site.browser(language="zh-CN,zh;q=0.9,en;q=0.8")
    assert 'lang="zh-CN"' in (await browser.get("/signin")).html
    answer = await browser.post("/language", language="en", next="/signin")
    assert answer.to == "/signin"
    assert 'lang="en"' in (await browser.get("/signin")).html
    await browser.sign_in()
    assert 'lang="en"' in (await browser.get("/passwords")).html
    await browser.post("/language", language="zh", next="/passwords")
    assert 'lang="zh-CN"' in (await browser.get("/passwords")).html
    elsewhere = site.browser(language="en")
    await elsewhere.sign_in()
    assert 'lang="zh-CN"' in (await elsewhere.get("/")).html


async def test_a_language_that_there_is_not_changes_nothing(site: Site, alice: Browser) -> None:
    for code in ("", "xx", "../en", "e" * 10_000):
        assert (await alice.post("/language", language=code, next="//evil.example")).to == "/"
    assert 'lang="en"' in (await alice.get("/")).html


async def test_a_store_that_cannot_be_written_is_no_wrong_password_and_the_address_stays(site: Site) -> None:
    site.add()
    browser = site.browser()
    await browser.get("/signin")

    def away(*args: object, **more: object) -> None:
        raise StoreUnavailable("locked by another process")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailauth.accounts.signin.begin", away)
        answer = await browser.post("/signin", address=ALICE, password=PASSWORD)
    assert answer.status == 503
    assert "It is not your password" in answer.text
    assert f'value="{ALICE}"' in answer.html
    assert PASSWORD not in answer.html


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mailauth-said", ["signin.wrong", {"key": "x"}]),
        ("mailauth-said", ["signin.wait", {"self": "x", "wait": "y"}]),
        ("mailauth-typed", None),
    ],
)
async def test_a_cookie_that_somebody_made_up_is_as_good_as_none(site: Site, name: str, value: object) -> None:
    text = "[" * 900 if value is None else json.dumps(value)
    made_up = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    assert (await site.browser(Cookie=f"{name}={made_up}").get("/signin")).status == 200


async def test_what_a_stranger_typed_is_not_shown_to_who_signs_in_next(site: Site) -> None:
    site.add()
    browser = site.browser()
    await browser.get("/signin")
    await browser.send("/security/recovery-address", {"address": "thief@evil.test"})
    await browser.sign_in()
    assert "thief@evil.test" not in (await browser.get("/security/recovery-address")).html


async def test_an_app_password_that_is_the_web_password_too_is_refused_as_late_as_any(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("mailauth.portal.pages.signin.asyncio.sleep", sleep)
    monkeypatch.setattr("mailauth.accounts.clientpasswords.is_one", lambda *args: True)
    browser = site.browser()
    await browser.get("/signin")
    assert (await browser.post("/signin", address=ALICE, password=PASSWORD)).status == 401
    assert slept and 0.5 < slept[0] <= 1.0
