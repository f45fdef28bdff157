"""The other pages of an account: its web password, activity, notices, signed-in browsers, recovery address."""

from __future__ import annotations

import re

import pytest
from portal_site import ALICE, BOB, PASSWORD, START, Browser, Site
from test_portal_passwords import generated

from mailauth.accounts import apppasswords, vouchers
from mailauth.accounts.unit import changing
from mailauth.interfaces import NOT_YET, Answer, StoreUnavailable
from mailauth.portal.pages.sessions import browser as browser_name
from mailauth.store.changes import Effect

NEW = "a brand new secret"
DAY = 86400.0


# ---- the web password


async def changed(browser: Browser, **fields: object):
    await browser.get("/password")
    return await browser.post("/password", **{"current": PASSWORD, "new": NEW, "again": NEW, **fields})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"current": "wrong"}, "The present web password is not right"),
        ({"new": "short", "again": "short"}, "too short: at least 10 characters"),
        ({"new": "字" * 400, "again": "字" * 400}, "too long: at most 1024 bytes"),
        ({"again": "something else"}, "The two new ones are not the same"),
        ({"new": PASSWORD, "again": PASSWORD}, "the same as the present one"),
        ({"new": "my ALICE@example.test", "again": "my ALICE@example.test"}, "too easy to guess"),
        ({"new": "aaaaabbbbbcc", "again": "aaaaabbbbbcc"}, "too easy to guess"),
    ],
)
async def test_a_bad_new_one_is_refused_in_words_and_nothing_typed_is_shown(alice: Browser, fields, told) -> None:
    answer = await changed(alice, **fields)
    assert (answer.status, told in answer.text) == (422, True)
    for typed in (PASSWORD, NEW, *fields.values()):
        assert f'value="{typed}"' not in answer.html


async def test_w12_another_web_password_signs_everybody_else_out(site: Site, alice: Browser) -> None:
    other = site.browser()
    await other.sign_in()
    page = await alice.follow(await changed(alice))
    assert "Your web password is changed" in page.text
    assert page.path == "/security"
    assert (await other.get("/")).to == "/signin"
    with site.store.reading() as tx:
        record = tx.row("SELECT web_record FROM accounts")["web_record"]
    assert record == site.hashing.hash(NEW.encode())


async def test_who_takes_something_away_hears_of_mail_servers_that_were_not_reached(
    site: Site, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def applied(store: object, effect: Effect) -> None:
        effect.answers = {"mail1:1": Answer(0, f"{NOT_YET}dovecot: no answer\n")}

    monkeypatch.setattr("mailauth.accounts.unit.wait_until_applied", applied)
    await alice.get("/mode")
    pages = [await alice.follow(await alice.post("/mode", mode="on")), await alice.follow(await changed(alice))]
    browser, code = site.browser(), reset_code(site)
    await browser.get(f"/reset?code={code}")
    pages.append(await browser.follow(await browser.post("/reset", code=code, new=PASSWORD, again=PASSWORD)))
    for page, path in zip(pages, ("/passwords", "/security", "/signin"), strict=True):
        assert (page.path, "Another mail server could not be reached" in page.text) == (path, True)


async def test_client_passwords_to_look_at_are_listed_and_the_young_and_strange_are_ticked(
    site: Site, alice: Browser
) -> None:
    apppasswords.mint(site.store, site.ring, site.hashing, ALICE, label="old", actor="cli:root", now=START - 40 * DAY)
    await generated(alice, "young <b>")
    page = await alice.get("/password")
    boxes = re.findall(r'name="revoke" value="(\d+)"( checked)?', page.html)
    assert boxes == [("1", ""), ("2", " checked")]
    answer = await changed(alice, current="wrong", revoke=["1"])
    assert re.findall(r'name="revoke" value="(\d+)"( checked)?', answer.html) == [("1", " checked"), ("2", "")]
    page = await alice.follow(await changed(alice, revoke=["1", "x", "9" * 30, "-1"]))
    assert "Client passwords deleted: 1" in page.text
    assert [view.label for view in apppasswords.listed(site.store, ALICE)] == ["young <b>"]


async def test_w17_guesses_at_the_present_one_have_the_limits_of_the_sign_in(site: Site, alice: Browser) -> None:
    before = len(site.passwords.asked)
    site.passwords.outcome = 90.0
    answer = await changed(alice)
    assert (answer.status, "Wait 90 s" in answer.text) == (429, True)
    assert site.passwords.asked[before:] == [(ALICE, "192.0.2.7", alice.client.cookies["mailauth-device"])]
    site.passwords.outcome = StoreUnavailable("gone")
    answer = await changed(alice)
    assert (answer.status, "It is not your password" in answer.text) == (503, True)


# ---- a reset link


def reset_code(site: Site, login: str = ALICE) -> str:
    with changing(site.store, "test", site.clock()) as unit:
        account = {"id": site.account_id(login), "login": login}
        return vouchers.issue(unit, account, vouchers.Kind.PASSWORD_RESET).code


async def test_a_reset_link_sets_the_web_password_once_and_signs_nobody_in(site: Site) -> None:
    site.add()
    code = reset_code(site)
    browser = site.browser()
    page = await browser.get(f"/reset?code={code}")
    assert ALICE in page.text
    answer = await browser.post("/reset", code=code, new="short", again="short")
    assert (answer.status, "too short" in answer.text) == (422, True)
    page = await browser.follow(await browser.post("/reset", code=code, new=NEW, again=NEW))
    assert page.path == "/signin"
    assert "Your new web password is set" in page.text
    assert (await browser.get("/")).to.startswith("/signin")
    assert (await browser.get(f"/reset?code={code}")).status == 410


async def test_a_reset_link_sets_no_client_password(site: Site) -> None:
    site.add()
    made = apppasswords.mint(site.store, site.ring, site.hashing, ALICE, label="x", actor="test", now=site.clock())
    browser, code = site.browser(), reset_code(site)
    await browser.get(f"/reset?code={code}")
    answer = await browser.post("/reset", code=code, new=made.password, again=made.password)
    assert (answer.status, "is one of your client passwords" in answer.text) == (422, True)


@pytest.mark.parametrize("code", ["", "x", "0" * 24, "a" * 10_000, '"><script>'])
async def test_w17_a_code_that_is_none_is_said_so_and_counted_as_a_guess(site: Site, code: str) -> None:
    browser = site.browser()
    page = Browser(browser.client)
    answer = await page.client.get("/reset", params={"code": code})
    assert answer.status_code == 410
    assert "<script>" not in answer.text
    assert len(site.passwords.asked) == 1
    site.passwords.outcome = 120.0
    assert (await page.client.get("/reset", params={"code": code})).status_code == 429


async def test_a_reset_code_that_is_too_old_is_none(site: Site) -> None:
    site.add()
    code = reset_code(site)
    site.clock.now += 2 * DAY
    assert (await site.browser().get(f"/reset?code={code}")).status == 410


# ---- activity


def happened(site: Site, **row: object) -> None:
    values = {
        "at": START,
        "actor": "client",
        "kind": "login",
        "login": ALICE,
        "account_id": 1,
        "service": "imap",
        "peer": "203.0.113.9",
        "credential_id": None,
        "label": None,
        "outcome": "reject",
        "detail": "wrong-password",
        "count": 1,
        "client": "Mail",
    }
    with site.store.transaction() as tx:
        tx.write(site.store.sql.ADD_AUDIT, **values | row)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, "Mail program refused: the password was wrong"),
        ({"detail": "client-passwords-only"}, "it showed no client password, and only those open mail"),
        ({"detail": "app-password-revoked", "label": "<old>"}, "the client password was deleted (“<old>”)"),
        ({"detail": "something-new"}, "Mail program refused: it was not allowed"),
        ({"outcome": "accept", "detail": ""}, "Mail program signed in with the web password"),
        ({"outcome": "accept", "credential_id": 7, "label": "phone"}, "Mail program signed in with “phone”"),
        ({"outcome": "accept", "credential_id": 7}, "Mail program signed in with a client password"),
        ({"outcome": "defer", "detail": "throttled"}, "come back later: too many wrong passwords from there"),
        ({"outcome": "defer", "detail": "store-unavailable"}, "it says nothing about the password"),
        ({"count": 12}, "12 times"),
        (
            {"kind": "mode-off", "outcome": "done", "actor": "cli:root", "service": ""},
            "was switched off by an administrator",
        ),
        ({"kind": "mode-off", "outcome": "done", "actor": f"portal:{ALICE}", "service": ""}, "was switched off by you"),
        (
            {"kind": "app-password-revoked", "outcome": "done", "actor": "api:3", "service": "", "label": "x"},
            "by a program",
        ),
        (
            {"kind": "of-the-future", "outcome": "done", "actor": "cli:root", "service": ""},
            "Something about your account",
        ),
        ({"client": "<script>alert(1)</script>"}, "<script>alert(1)</script>"),
    ],
)
async def test_what_happened_is_told_in_plain_words(site: Site, alice: Browser, row, told: str) -> None:
    happened(site, **row)
    page = await alice.get("/activity")
    assert told in page.text
    assert page.html.count("<script") == 1


@pytest.mark.parametrize(
    ("kind", "detail", "told"),
    [
        ("sign-in", "wrong-password", "Web password refused at the portal: the password was wrong"),
        ("sign-in", "disabled", "Web password refused at the portal: the account is switched off"),
        ("second-factor", "totp: wrong", "refused at the portal (Authenticator app): the code was wrong"),
        ("second-factor", "dingtalk: not-a-member (corp x)", "(DingTalk): it was no account of the organisation"),
        ("second-factor", "newer: newest", "refused at the portal (newer): it was not accepted"),
    ],
)
async def test_refusals_at_the_portal_are_told_with_their_reason(
    site: Site, alice: Browser, kind, detail, told
) -> None:
    happened(site, kind=kind, detail=detail, service="portal")
    assert told in (await alice.get("/activity")).text


async def test_a_wrong_web_password_is_on_the_owners_page_once_a_minute_and_nobody_elses_is(
    site: Site, alice: Browser
) -> None:
    stranger = site.browser(peer="198.51.100.9")
    for login in (f" {ALICE.upper()} ", ALICE, "nobody@example.test", "no address", BOB):
        await stranger.get("/signin")
        assert (await stranger.post("/signin", address=login, password="wrong")).status == 401
    page = await alice.get("/activity")
    assert page.text.count("Web password refused at the portal: the password was wrong") == 1
    assert "2 times" in page.text
    assert "198.51.100.9" in page.text
    site.clock.now += 60
    await stranger.get("/signin")
    await stranger.post("/signin", address=ALICE, password="wrong")
    assert (await alice.get("/activity")).text.count("Web password refused") == 2
    with site.store.reading() as tx:
        rows = tx.rows("SELECT * FROM audit WHERE kind = 'sign-in' AND outcome = 'reject'")
    assert {row["login"] for row in rows} == {ALICE}


async def test_a_wrong_web_password_of_who_is_in_is_told_too(site: Site, alice: Browser) -> None:
    await changed(alice, current="wrong")
    page = await alice.get("/activity")
    assert page.text.count("Web password refused at the portal") == 1


async def test_a_refusal_that_cannot_be_written_down_is_one_all_the_same(site: Site, monkeypatch, caplog) -> None:
    site.add()
    browser = site.browser()
    await browser.get("/signin")

    def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr("mailauth.accounts.signin.note_refused", gone)
    assert (await browser.post("/signin", address=ALICE, password="wrong")).status == 401
    assert "the disk is full" in caplog.text


async def test_what_an_administrator_has_changed_is_told_in_words(site: Site, alice: Browser) -> None:
    site.change(imap=False, client_logon=False, max_app_passwords=3)
    for path in ("/activity", "/notices"):
        page = await alice.get(path)
        told = "Settings of the account were changed: "
        assert told in page.text
        for change in ("IMAP was switched off", "mail programs were switched off", "you may have 3 client passwords"):
            assert change in page.text
    happened(site, kind="account-changed", outcome="done", service="", detail="something: of -> the future")
    assert "The account's settings were changed" in (await alice.get("/activity")).text


async def test_activity_is_ones_own_and_of_the_last_days(site: Site, alice: Browser) -> None:
    happened(site, login=BOB, account_id=2, client="of-bob")
    happened(site, at=START - 91 * DAY, client="of-long-ago")
    happened(site, client="of-now")
    page = await alice.get("/activity")
    assert "of-now" in page.text
    assert "of-bob" not in page.text
    assert "of-long-ago" not in page.text


async def test_no_more_is_shown_than_one_can_read(site: Site, alice: Browser) -> None:
    for number in range(205):
        happened(site, client=f"client-{number:03}", at=START + number)
    page = await alice.get("/activity")
    assert "Only the latest 200 are shown" in page.text
    assert "client-204" in page.text
    assert "client-004" not in page.text


async def test_programs_that_would_stop_are_named_before_the_switch_is_turned_on(site: Site, alice: Browser) -> None:
    happened(site, outcome="accept", detail="", client="Thunderbird <b>", at=START - 60)
    happened(site, outcome="accept", detail="", client="Thunderbird <b>", at=START - 3600, peer="203.0.113.200")
    happened(site, outcome="accept", detail="", client="of-long-ago", at=START - 15 * DAY)
    happened(site, outcome="reject", client="of-a-guesser", at=START - 60)
    told = "Thunderbird <b> gets in with your web password (IMAP, 203.0.113.0/24)"
    for path in ("/", "/passwords", "/mode", "/passwords/new"):
        page = await alice.get(path)
        assert page.text.count(told) == 1, path
        assert "of-long-ago" not in page.text
        assert "of-a-guesser" not in page.text
    assert "These used your web password lately and will stop" in page.text
    await alice.get("/mode")
    await alice.post("/mode", mode="on")
    for path in ("/", "/passwords", "/mode", "/passwords/new"):
        assert "gets in with your web password" not in (await alice.get(path)).text


# ---- notices


async def test_notices_stay_until_they_are_acknowledged(site: Site, alice: Browser) -> None:
    await generated(alice, "<b>phone</b>")
    assert "There is news" in (await alice.get("/")).text
    page = await alice.get("/notices")
    assert "Client password “<b>phone</b>” was made" in page.text
    assert "by you" in page.text
    assert "192.0.2.7" in page.text
    assert "There is news" in (await alice.get("/")).text  # shown is not read
    (first, *_) = re.findall(r'name="notice" value="(\d+)"', page.html)
    await alice.get("/notices")
    page = await alice.follow(await alice.post("/notices", notice=first))
    assert f'name="notice" value="{first}"' not in page.html
    for nonsense in ("", "x", "-1", "9" * 40):
        await alice.post("/notices", notice=nonsense)
        await alice.get("/notices")
    page = await alice.follow(await alice.post("/notices", all="9" * 18))
    assert "I have read" not in page.text
    assert "There is news" not in (await alice.get("/")).text


async def test_nobody_acknowledges_somebody_elses(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    site.add(BOB)
    bob = site.browser()
    await bob.sign_in(BOB)
    await bob.get("/passwords/new")
    await bob.post("/notices", all="999")
    assert "There is news" in (await alice.get("/")).text


# ---- signed-in browsers


async def test_browsers_are_listed_and_ended(site: Site, alice: Browser) -> None:
    other = site.browser(peer="198.51.100.7", **{"User-Agent": "Mozilla/5.0 (iPhone; CPU) Safari/605 <b>"})
    await other.sign_in()
    third = site.browser()
    await third.sign_in()
    page = await alice.get("/sessions")
    assert "198.51.100.7" in page.text
    assert "Safari · iPhone" in page.text
    assert page.html.count("this browser") == 1
    ids = re.findall(r'name="session" value="([0-9a-f]{64})"', page.html)
    assert len(ids) == 2
    assert alice.client.cookies["mailauth-session"] not in page.html
    mine = next(each for each in ids if "198.51.100.7" in page.html.partition(each)[0].rpartition("<li")[2])
    page = await alice.follow(await alice.post("/sessions", session=mine))
    assert "That browser is signed out" in page.text
    assert (await other.get("/")).to == "/signin"
    assert (await third.get("/")).status == 200
    page = await alice.follow(await alice.post("/sessions", others="1"))
    assert "Other browsers signed out: 1" in page.text
    assert (await third.get("/")).to == "/signin"
    assert (await alice.get("/")).status == 200


async def test_nobody_ends_somebody_elses(site: Site, alice: Browser) -> None:
    site.add(BOB)
    bob = site.browser()
    await bob.sign_in(BOB)
    (row,) = [row for row in _sessions(site) if row["account_id"] == 1]
    await bob.get("/passwords/new")
    await bob.post("/sessions", session=row["id"])
    await bob.post("/sessions", others="1", csrf=(await bob.get("/passwords/new")).csrf)
    assert (await alice.get("/")).status == 200


def _sessions(site: Site) -> list[dict]:
    with site.store.reading() as tx:
        return tx.rows("SELECT * FROM portal_sessions")


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/156.0 Safari/537.36 Edg/156.0",
            "Edge · Windows",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", "Firefox · Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/18 Safari/605", "Safari · macOS"),
        (
            "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537 Chrome/156 Mobile Safari/537 MicroMessenger/8",
            "WeChat · Android",
        ),
        ("curl/8.5", "curl/8.5"),
        ("", ""),
        ("x" * 500, "x" * 80),
    ],
)
def test_a_browser_is_called_what_people_call_it(agent: str, told: str) -> None:
    assert browser_name(agent) == told


# ---- the recovery address


async def test_the_recovery_address_is_changed_with_proof(site: Site, alice: Browser) -> None:
    assert "There is none. If you lose" in (await alice.get("/security")).text
    for bad in ("nonsense", ALICE, "a@b@c", "x" * 10_000):
        await alice.get("/security/recovery-address")
        answer = await alice.post("/security/recovery-address", address=bad)
        assert (answer.status, "This is no mail address" in answer.text, bad in answer.html) == (422, True, True)
    await alice.get("/security/recovery-address")
    proof = await alice.follow(await alice.post("/security/recovery-address", address=" Alice@Home.Test "))
    assert "Change the recovery address" in proof.text
    assert "There is none. If you lose" in (await alice.get("/security")).text
    await alice.get(proof.path)
    page = await alice.follow(await alice.post(proof.path, way="web-password", password=PASSWORD))
    assert "The recovery address is changed" in page.text
    assert "alice@home.test" in page.text.lower()


# ---- all of them


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_every_page_is_there_in_both_languages(site: Site, language: str) -> None:
    site.add()
    browser = site.browser(language=language)
    await browser.sign_in()
    await generated(browser, "phone")
    await generated(browser, "tablet")
    for path in (
        "/",
        "/passwords",
        "/passwords/new",
        "/passwords/1/rename",
        "/passwords/1/delete",
        "/passwords/delete-all",
        "/mode",
        "/security",
        "/security/recovery-address",
        "/password",
        "/sessions",
        "/activity",
        "/notices",
    ):
        page = await browser.get(path)
        assert page.status == 200, path
        assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in page.html
        assert re.search(r"<title>[^<]+ · Example Mail</title>", page.html), path
        assert page.html.count("<h1") == 1, path
        assert page.html.count('<main id="content"') == 1
