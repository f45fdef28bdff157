"""Second factors set up, renamed and removed on the pages; forced enrolment; and what takes which proof."""

from __future__ import annotations

import dataclasses
import html
import re

import pytest
from outside_world import KINDS
from portal_site import ALICE, BOB, PASSWORD, Browser, Reply, Site
from test_portal_second import OPTIONS, Hands, half_in, way_of

from mailauth.accounts import vouchers
from mailauth.accounts.mailboxes import show_account
from mailauth.accounts.unit import changing

MONO = re.compile(r'<p class="mono">([A-Z2-7 ]+)</p>')


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    return Site(sqlite_database.store, ring, kinds=KINDS)


@pytest.fixture
def hands(site: Site) -> Hands:
    site.add()
    return Hands(site)


@pytest.fixture
async def alice(site: Site, hands: Hands) -> Browser:
    browser = site.browser()
    await browser.sign_in()
    return browser


def mode(site: Site) -> str:
    return show_account(site.store, ALICE).mode


@pytest.mark.parametrize("kind", KINDS[:-1])
async def test_each_kind_is_set_up_and_switches_the_mode_on(
    site: Site, hands: Hands, alice: Browser, kind: str
) -> None:
    assert mode(site) == "off"
    page = await hands.set_up(alice, kind)
    assert page.path == "/security"
    assert "From now on mail programs get in with client passwords only" in page.text
    assert "Do you use a mail program as well? It needs a client password now." in page.text
    assert ("Replace: " in page.html) is (kind != "webauthn")
    assert ("Add another" in page.html) is (kind == "webauthn")
    assert mode(site) == "on"
    other = site.browser()
    assert (await other.sign_in()).path == f"/signin/second/{kind}"
    assert (await hands.answer(other, kind)).to == "/"


async def test_the_page_helps_to_choose_as_the_guide_does(site: Site, hands: Hands, alice: Browser) -> None:
    page = await alice.get("/security")
    for told in ("You read mail in the browser only", "You use mail programs", "Several people use the account"):
        assert told in page.text
    assert '<details class="card guide" open>' in page.html
    assert "Set up an authenticator app" in page.text
    await hands.set_up(alice, "totp")
    page = await alice.get("/security")
    assert '<details class="card guide">' in page.html
    assert "Set up an authenticator app" not in page.text


async def test_a_lost_app_is_replaced_with_a_recovery_code_and_the_old_one_is_dead(
    site: Site, hands: Hands, alice: Browser
) -> None:
    await hands.set_up(alice, "totp")
    site.clock.now += 60
    await hands.set_up(alice, "recovery-codes")
    old = hands.app
    browser = await half_in(site)
    await browser.get("/signin/second/recovery-codes")
    assert (await browser.post("/signin/second/recovery-codes", code=hands.paper.pop())).to == "/"
    await browser.get("/security")
    page = await browser.follow(await browser.post("/security/totp/add"))
    page = await browser.follow(await browser.post(page.path, way="web-password", password=PASSWORD))
    await browser.get(f"{page.path}?way=recovery-codes")
    page = await browser.follow(await browser.post(page.path, way="recovery-codes", code=hands.paper.pop()))
    assert page.path == "/security/totp/confirm"
    page = await browser.follow(await hands.confirmed(browser, "totp", page))
    assert "It is set up" in page.text
    site.clock.now += 60
    other = await half_in(site)
    assert (await other.post("/signin/second/totp", code=old.at(site.clock()))).status == 422
    assert (await other.post("/signin/second/totp", code=hands.app.at(site.clock()))).to == "/"


async def test_who_is_outside_and_learns_of_it_is_said_before(site: Site, alice: Browser) -> None:
    for kind, told in (("sms", "the company that sends our messages"), ("wechat", "WeChat"), ("dingtalk", "DingTalk")):
        assert (
            f"By going on you agree that {'your number is given to ' if kind == 'sms' else ''}{told}"
            in (await alice.get(f"/security/{kind}/begin")).text
        )
    for kind in ("totp", "webauthn"):
        assert "By going on you agree" not in (await alice.get(f"/security/{kind}/begin")).text


async def test_numbers_of_other_countries_are_asked_for_where_they_are_served(sqlite_database, ring) -> None:
    site = Site(sqlite_database.store, ring, kinds=("sms",))
    site.add()
    browser = site.browser()
    await browser.sign_in()
    assert "A mainland China number" in (await browser.get("/security/sms/begin")).text
    factor = site.means.factors["sms"]
    site.means.factors["sms"] = dataclasses.replace(factor, numbers=(r"\+44[0-9]{10}",))
    assert "With + and the country code" in (await browser.get("/security/sms/begin")).text


async def test_w21_the_secret_is_shown_while_it_is_set_up_and_never_again(
    site: Site, hands: Hands, alice: Browser
) -> None:
    page = await hands.proven(alice, "/security/totp/add")
    secret = MONO.findall(page.html)[0]
    assert "<svg" in page.html
    assert "Several people use this account?" in page.text
    shown_at = f"{page.path}?question={page.hidden('question')}"
    other = site.browser()
    await other.sign_in()
    assert secret not in (await other.get(shown_at)).html
    await alice.get(shown_at)
    done = await hands.confirmed(alice, "totp", page)
    assert done.to == "/security"
    for path in ("/security", shown_at, "/activity", "/notices", "/security/totp/rename?part="):
        assert secret not in (await alice.get(path)).html
    with site.store.reading() as tx:
        everything = repr(tx.rows("SELECT * FROM factors")) + repr(tx.rows("SELECT * FROM questions"))
    assert secret.replace(" ", "") not in everything


async def test_w07_nothing_is_changed_by_a_session_alone(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "totp")
    before = (await alice.get("/security")).text
    for path in ("/security/sms/begin", "/security/totp/begin", "/security/wechat/begin"):
        await alice.get("/security")
        answer = await alice.post(path, number="138 0013 8000", name="x")
        assert answer.status == 410, path
    assert site.outside.phone.messages == site.outside.phone.messages.__class__(maxlen=20)
    for path, fields in (
        ("/security/totp/remove", {"part": ""}),
        ("/security/totp/rename", {"part": "", "name": "x"}),
        ("/security/totp/add", {}),
    ):
        await alice.get("/security")
        page = await alice.follow(await alice.post(path, **fields))
        assert page.path.startswith("/proof/")
        assert "web-password" in page.html  # both are asked for, the web password first
        answer = await alice.post(page.path, perform="1")
        assert answer.status == 410
        answer = await alice.post(page.path, way="web-password", password=PASSWORD)
        page = await alice.follow(answer)
        assert 'value="totp"' in page.html
        assert (await alice.post(page.path, perform="1")).status == 410
    assert (await alice.get("/security")).text == before


async def test_w07_the_owner_is_told_of_every_change(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "totp")
    page = await alice.get("/")
    assert "There is news about your account" in page.text
    page = await alice.get("/notices")
    assert "Two-step verification: Authenticator app was set up" in page.text
    assert "“Client passwords only” was switched on" in page.text
    page = await alice.follow(
        await alice.post("/notices", all=page.html.partition('name="all" value="')[2].partition('"')[0])
    )
    assert "I have read" not in page.text
    assert "There is news" not in (await alice.get("/")).text


async def test_w12_a_new_factor_signs_everybody_else_out(site: Site, hands: Hands, alice: Browser) -> None:
    other = site.browser()
    await other.sign_in()
    await hands.set_up(alice, "totp")
    assert (await other.get("/")).to == "/signin"
    assert (await alice.get("/")).status == 200


async def test_one_is_renamed_and_removed_with_both_proofs(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "totp")
    page = await alice.get("/security/totp/rename?part=")
    assert 'value="my phone"' in page.html
    page = await self_proven(hands, alice, "/security/totp/rename", part="", name="<b>old</b> phone")
    assert (page.path, "The name is changed" in page.text) == ("/security", True)
    assert "<b>old</b> phone" in page.text
    page = await alice.get("/security/totp/remove?part=")
    assert "It is your only second step" in page.text
    page = await self_proven(hands, alice, "/security/totp/remove", part="")
    assert (page.path, "It is removed" in page.text) == ("/security", True)
    assert "There is none yet" in page.text
    assert mode(site) == "on"  # no removal ever switches it off


async def self_proven(hands: Hands, browser: Browser, path: str, **fields: str) -> Reply:
    """Ask for something with these fields, and prove it."""
    await browser.get("/security")
    page = await browser.follow(await browser.post(path, **fields))
    page = await browser.follow(await browser.post(page.path, way="web-password", password=PASSWORD))
    hands.site.clock.now += 60
    answer = await browser.post(page.path, way="totp", code=hands.app.at(hands.site.clock()))
    return await browser.follow(answer)


async def test_the_last_one_stays_while_one_is_demanded(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "totp")
    site.change(two_factor=True)
    page = await alice.get("/security/totp/remove?part=")
    assert "Set up another one first" in page.text
    assert '<form method="post" action="/security/totp/remove"' not in page.html
    await alice.get("/security")
    page = await alice.follow(await alice.post("/security/totp/remove", part=""))
    assert "Set up another one first" in page.text


async def test_one_of_several_keys_is_removed(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "totp")
    for _ in range(2):
        site.clock.now += 60
        hands.key = hands.key.__class__(site.origin)
        await hands.set_up(alice, "webauthn")
    page = await alice.get("/security")
    parts = re.findall(r'href="(/security/webauthn/remove\?part=[^"]+)"', page.html)
    assert len(parts) == 2
    page = await alice.get(html.unescape(parts[0]))
    part = page.hidden("part")
    page = await self_proven(hands, alice, "/security/webauthn/remove", part=part)
    assert len(re.findall(r"/security/webauthn/remove", page.html)) == 1


@pytest.mark.parametrize(
    ("number", "told"),
    [
        ("", "This is not a telephone number"),
        ("not a number", "This is not a telephone number"),
        ("+49 170 1234567", "We cannot send messages to this country"),
        ("1" * 10_000, "This is not a telephone number"),
        ('"><script>', "This is not a telephone number"),
    ],
)
async def test_a_number_that_is_none_is_refused_and_stays_typed(
    site: Site, hands: Hands, alice: Browser, number, told
) -> None:
    page = await hands.proven(alice, "/security/sms/add")
    answer = await alice.post(page.path, proof=page.hidden("proof"), number=number, name="Work <phone>")
    assert (answer.status, told in answer.text) == (422, True)
    assert 'value="Work &lt;phone&gt;"' in answer.html
    assert html.escape(number, quote=False)[:50] in answer.html.replace("&#34;", '"')
    answer = await alice.post(page.path, proof=answer.hidden("proof"), number="13800138000", name="x")
    assert answer.status == 303  # the proof was still good


async def test_a_code_is_sent_again_without_typing_the_number_again(site: Site, hands: Hands, alice: Browser) -> None:
    page = await hands.proven(alice, "/security/sms/add")
    page = await alice.follow(await alice.post(page.path, proof=page.hidden("proof"), number="13800138000", name="x"))
    assert "138****8000" in page.text
    assert "13800138000" not in page.html
    answer = await alice.post("/security/sms/begin", question=page.hidden("question"))
    assert (answer.status, "You can have another in 60 s" in answer.text) == (429, True)
    site.clock.now += 61
    await alice.get(f"/security/sms/confirm?question={page.hidden('question')}")
    page = await alice.follow(await alice.post("/security/sms/begin", question=alice.page.hidden("question")))
    assert len(site.outside.phone.messages) == 2
    assert (await hands.confirmed(alice, "sms", page)).to == "/security"


async def test_w04_a_code_of_an_enrolment_is_no_code_for_anything_else(
    site: Site, hands: Hands, alice: Browser
) -> None:
    await hands.set_up(alice, "sms")
    site.clock.now += 3700
    await alice.sign_in()
    await alice.get("/signin/second/sms")
    await alice.follow(await alice.post("/signin/second/sms", send="1"))
    code = site.outside.texted()
    assert (await alice.post("/signin/second/sms", code=code)).to == "/"
    await alice.get("/passwords/new")
    proof = await alice.follow(await alice.post("/passwords/new", services="imap"))
    answer = await alice.post(proof.path, way="sms", code=code)
    assert answer.status == 422
    assert "data-plain" not in answer.html


async def test_w08_what_is_bound_to_one_account_serves_no_other(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "wechat")
    site.add(BOB)
    bob, his = site.browser(), Hands(site, BOB)
    his.person = "alice"
    await bob.sign_in(BOB)
    page = await his.set_up(bob, "wechat")
    assert "bound to another account already" in page.text


async def test_w08_saying_no_at_the_provider_changes_nothing(site: Site, hands: Hands, alice: Browser) -> None:
    page = await hands.proven(alice, "/security/wechat/add")
    page = await alice.follow(await alice.post(page.path, proof=page.hidden("proof"), name="x"))
    assert "you agree that WeChat learns when you sign in here" in (await alice.get("/security/wechat/begin")).text
    page = await alice.get(await site.outside.consent(way_of(page), ""))
    assert "You said no there, so nothing was changed" in page.text
    assert "There is none yet" in (await alice.get("/security")).text


async def test_w09_new_recovery_codes_kill_the_old_and_are_shown_to_be_kept(
    site: Site, hands: Hands, alice: Browser
) -> None:
    assert "/security/recovery-codes/add" not in (await alice.get("/security")).html
    await hands.set_up(alice, "totp")
    assert "You have no recovery codes yet" in (await alice.get("/security")).text
    site.clock.now += 60
    await hands.set_up(alice, "recovery-codes")
    old = hands.paper[0]
    assert len(hands.paper) == 10
    page = await alice.get("/security")
    assert "10 left" in page.text
    assert old not in page.html
    site.clock.now += 60
    page = await alice.follow(await alice.post("/security/recovery-codes/add"))
    page = await hands.proven(alice, "/security/recovery-codes/add")
    assert 'download="recovery-codes.txt"' in page.html
    assert "data:text/plain" in page.html
    page = await alice.follow(await hands.confirmed(alice, "recovery-codes", page))
    assert "the old ones are void" in page.text
    site.clock.now += 60
    other = await half_in(site)
    await other.get("/signin/second/recovery-codes")
    assert (await other.post("/signin/second/recovery-codes", code=old)).status == 422
    assert (await other.post("/signin/second/recovery-codes", code=hands.paper[0])).to == "/"


async def test_a_recovery_code_proves_no_act(site: Site, hands: Hands, alice: Browser) -> None:
    await hands.set_up(alice, "totp")
    site.clock.now += 60
    await hands.set_up(alice, "recovery-codes")
    await alice.get("/passwords/new")
    proof = await alice.follow(await alice.post("/passwords/new", services="imap"))
    assert "recovery" not in proof.html.partition("<main")[2]
    answer = await alice.post(proof.path, way="recovery-codes", code=hands.paper[0])
    assert answer.status == 410
    assert "data-plain" not in answer.html


@pytest.mark.parametrize("kind", ["sms", "wechat", "webauthn"])
async def test_acts_are_proven_by_each_kind(site: Site, hands: Hands, alice: Browser, kind: str) -> None:
    await hands.set_up(alice, kind)
    site.clock.now += 61
    await alice.get("/passwords/new")
    proof = await alice.follow(await alice.post("/passwords/new", services="imap"))
    page = await alice.follow(await alice.post(proof.path, way=kind, send="1"))
    if kind == "sms":
        answer = await alice.post(proof.path, way=kind, code=site.outside.texted())
    elif kind == "webauthn":
        import json  # noqa: PLC0415

        options = json.loads(html.unescape(OPTIONS.findall(page.html)[0]))
        given = {"credential": hands.key.get(options), "question": page.hidden("question")}
        answer = await alice.post(proof.path, way=kind, **given)
    else:
        answer = await alice.get(await site.outside.consent(way_of(page)))
    page = await alice.follow(answer)
    assert "Thank you, that was you" in page.text
    page = await alice.post(proof.path, perform="1", label="x")
    assert "data-plain" in page.html


# ---- forced enrolment


@pytest.mark.parametrize("kind", KINDS[:-1])
async def test_w10_who_must_enrol_is_led_there_and_then_in(site: Site, hands: Hands, kind: str) -> None:
    site.change(two_factor=True)
    browser = site.browser()
    page = await browser.sign_in()
    assert page.path == "/enrol"
    assert "You can set it up with your web password alone until" in page.text
    assert "recovery-codes" not in page.html
    half = browser.client.cookies["mailauth-session"]
    page = await browser.get(f"/enrol/{kind}/begin")
    page = await browser.follow(await browser.post(page.path, number="13800138000", name="mine"))
    answer = await hands.confirmed(browser, kind, page)
    page = await browser.follow(answer)
    assert page.path == "/"
    assert "Your second step is set up" in page.text
    assert browser.client.cookies["mailauth-session"] != half
    assert (await site.browser(Cookie=f"mailauth-session={half}").get("/enrol")).to == "/signin"


@pytest.mark.parametrize(
    ("asked", "arrives"),
    [
        ("/activity?before=3&x=a%3Bb,c", "/activity?before=3&x=a%3Bb,c"),
        ("/passwords/7/rename", "/passwords/7/rename"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
    ],
)
@pytest.mark.parametrize("kind", ["totp", "wechat"])
async def test_who_had_to_enrol_comes_to_the_page_he_asked_for_first(
    site: Site, hands: Hands, kind: str, asked: str, arrives: str
) -> None:
    site.change(two_factor=True)
    browser = site.browser()
    await browser.get("/signin")
    page = await browser.follow(await browser.post("/signin", address=ALICE, password=PASSWORD, next=asked))
    assert page.path == "/enrol"
    page = await browser.follow(await browser.post(f"/enrol/{kind}/begin"))
    assert (await hands.confirmed(browser, kind, page)).to == arrives


async def test_a_page_that_was_asked_for_is_not_where_the_next_person_comes_to(site: Site, hands: Hands) -> None:
    site.change(two_factor=True)
    browser = site.browser()
    await browser.get("/signin")
    await browser.follow(await browser.post("/signin", address=ALICE, password=PASSWORD, next="/activity"))
    await browser.sign_in()
    page = await browser.follow(await browser.post("/enrol/totp/begin"))
    assert (await hands.confirmed(browser, "totp", page)).to == "/"


async def test_w10_later_an_administrators_code_is_needed_which_works_once(site: Site, hands: Hands) -> None:
    site.change(two_factor=True)
    with site.store.transaction() as tx:
        tx._connection.execute("UPDATE accounts SET created_at = 1, two_factor_from = 1")
    with changing(site.store, "test", site.clock()) as unit:
        code = vouchers.issue(unit, {"id": 1, "login": ALICE}, vouchers.Kind.ENROLMENT).code
    browser, thief = site.browser(), site.browser()
    assert (await browser.sign_in()).path == "/enrol"
    assert "An enrolment code is needed" in (await browser.get("/enrol")).text
    assert (await browser.post("/enrol/totp/begin")).to in {"/enrol", "/signin"}
    await browser.get("/enrol")
    page = await browser.follow(await browser.post("/enrol", code=f" {code.upper()} "))
    assert "Set up two\u2011step verification" in page.text
    await thief.sign_in()
    answer = await thief.post("/enrol", code=code)
    assert "no enrolment code" in answer.text
    page = await browser.follow(await browser.post("/enrol/totp/begin"))
    assert (await hands.confirmed(browser, "totp", page)).to == "/"


async def test_a_question_that_is_over_leads_back(site: Site, hands: Hands, alice: Browser) -> None:
    page = await hands.proven(alice, "/security/totp/add")
    site.clock.now += 1700
    await alice.get("/")
    site.clock.now += 1700
    await alice.get("/")
    site.clock.now += 400
    answer = await alice.post(page.path, question=page.hidden("question"), code="123456")
    assert answer.status == 410
    assert "This set-up is over" in answer.text
    for question in ("", "x", "0" * 48):
        assert (await alice.get(f"/security/totp/confirm?question={question}")).status == 410


async def test_what_the_site_does_not_offer_is_not_there(alice: Browser) -> None:
    for kind in ("email", "..", "%2e"):
        await alice.get("/security")
        assert (await alice.post(f"/security/{kind}/add")).status in {404, 405, 303}
        assert (await alice.get(f"/security/{kind}/begin")).status in {404, 405}
