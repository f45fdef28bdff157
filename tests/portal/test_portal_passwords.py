"""Client passwords on the pages: generating, showing once, listing, renaming, deleting, and the switch."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from markupsafe import escape
from portal_site import ALICE, BOB, PASSWORD, START, Browser, Reply, Site

from mailauth import apppassword
from mailauth.accounts import apppasswords, clientpasswords, freshproof, portalsessions
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import show_account
from mailauth.factors.typed import visible
from mailauth.interfaces import ELSEWHERE, NOT_YET, Answer, PolicyLevel
from mailauth.store.changes import Effect

SHOWN = re.compile(r'data-plain="([^"]*)"')
DAY = 86400.0
NASTY = {
    "markup": ('"><script>alert(1)</script>', '"><script>alert(1)</script>'),
    "entities": ("&lt;b&gt; &#x41;", "&lt;b&gt; &#x41;"),
    "braces": ("{login} {{ csrf }} {% raw %} %s %(x)s", "{login} {{ csrf }} {% raw %} %s %(x)s"),
    "hidden": ("My\u200b\u00a0iPh\u2060one\u3164", "My iPhone"),
    "joined": ("👩\u200d💻", "👩\u200d💻"),
    "rtl": ("הטלפון שלי", "הטלפון שלי"),
    "emoji": ("📱 手机", "📱 手机"),
    "formula": ('=cmd|" /C calc"!A0', '=cmd|" /C calc"!A0'),
}


async def proof_for(browser: Browser, **fields: object) -> Reply:
    """The page that asks for proof."""
    await browser.get("/passwords/new")
    chosen = {"services": ["imap", "pop3", "smtp"], **fields}
    return await browser.follow(await browser.post("/passwords/new", **chosen))


async def name_asked(browser: Browser, **fields: object) -> Reply:
    """The page that asks for the name, after the proof."""
    proof = await proof_for(browser, **fields)
    return await browser.follow(await browser.post(proof.path, way="web-password", password=PASSWORD))


async def named(browser: Browser, page: Reply, label: str) -> Reply:
    """The answer to a name that was given on that page."""
    return await browser.post(page.path, perform=page.hidden("perform"), label=label)


async def generated(browser: Browser, label: str = "My iPhone", **fields: object) -> tuple[str, Reply]:
    """A new client password, and the page that shows it."""
    page = await named(browser, await name_asked(browser, **fields), label)
    (password,) = SHOWN.findall(page.html)
    return password, page


def listed(site: Site, login: str = ALICE) -> list:
    return apppasswords.listed(site.store, login, now=site.clock())


async def test_generating_shows_the_password_in_groups_and_all_that_a_program_needs(site: Site, alice: Browser) -> None:
    password, page = await generated(alice, services=["imap", "smtp"])
    assert apppassword.clean(password.encode()) == password
    groups = re.findall(r"<span>(\w{4})</span>", page.html)
    assert "".join(groups) == password
    for told in (ALICE, "mail.example.test", "993", "587", "SSL/TLS", "STARTTLS", "Put the password in twice", "once"):
        assert told in page.text
    assert "995" not in page.text  # POP3 was not ticked
    assert "From now on mail programs get in with client passwords only" in page.text
    (view,) = listed(site)
    assert (view.label, view.services) == ("My iPhone", ("imap", "smtp"))
    assert view.created_by == f"portal:{ALICE}"


async def test_the_page_says_beforehand_that_the_web_password_stops_working(alice: Browser) -> None:
    assert "no longer accept your web password" in (await alice.get("/passwords/new")).text
    await generated(alice)
    assert "no longer accept your web password" not in (await alice.get("/passwords/new")).text


async def test_the_password_is_in_one_answer_and_nowhere_else(site: Site, alice: Browser, caplog) -> None:
    caplog.set_level("DEBUG")
    password, page = await generated(alice)
    assert page.response.headers["cache-control"] == "no-store"
    assert page.response.request.method == "POST"
    proof = page.path
    for path in (proof, "/", "/passwords", "/passwords/new", "/activity", "/notices", "/security", "/sessions"):
        again = await alice.get(path)
        assert password not in again.html.replace(" ", "")
        assert password not in str(again.response.headers)
    assert password not in caplog.text
    assert password not in repr(list(audit(site.store)))
    assert (await alice.get(proof)).status == 410


async def test_a_proof_is_good_once_however_often_the_button_is_pressed(site: Site, alice: Browser) -> None:
    proof = await proof_for(alice)
    answers = [await alice.post(proof.path, way="web-password", password=PASSWORD) for _ in range(3)]
    assert [answer.to for answer in answers] == [proof.path] * 3
    await alice.get(proof.path)
    answers = [await alice.post(proof.path, perform="1", label=f"phone {number}") for number in range(3)]
    assert [SHOWN.search(answer.html) is not None for answer in answers] == [True, False, False]
    assert [answer.status for answer in answers] == [200, 410, 410]
    assert "it is done already" in answers[1].text
    assert len(listed(site)) == 1


async def test_a_wrong_password_proves_nothing_and_an_expired_proof_neither(site: Site, alice: Browser) -> None:
    proof = await proof_for(alice)
    answer = await alice.post(proof.path, way="web-password", password="wrong")
    assert (answer.status, "The web password is not right" in answer.text) == (422, True)
    site.passwords.outcome = 90.0
    answer = await alice.post(proof.path, way="web-password", password=PASSWORD)
    assert (answer.status, "Wait 90 s" in answer.text) == (429, True)
    site.passwords.outcome = None
    site.clock.now += 301
    answer = await alice.post(proof.path, way="web-password", password=PASSWORD)
    assert answer.status == 410
    assert listed(site) == []


async def test_what_came_too_late_is_begun_again_and_nothing_has_to_be_typed_again(site: Site, alice: Browser) -> None:
    proof = await proof_for(alice, services=["smtp"], expires="2027-01-31", networks="192.0.2.0/24")
    site.clock.now += 300
    for answer in (
        await alice.post(proof.path, way="web-password", password=PASSWORD),
        await alice.get(proof.path),
    ):
        assert (answer.status, "You do not have to type anything again" in answer.text) == (410, True)
        assert "Generate a client password. You name it in the next step" in answer.text
    assert (await site.browser().get(proof.path)).to.startswith("/signin")
    other = site.browser()
    await other.sign_in()
    assert "anything again" not in (await other.get(proof.path)).text
    await other.get("/passwords/new")
    assert (await other.follow(await other.post(proof.path, renew="1"))).status == 410
    fresh = await alice.follow(await alice.post(proof.path, renew="1"))
    assert fresh.path != proof.path
    assert (await alice.post(fresh.path, renew="1")).to == fresh.path  # it is not too late for this one
    page = await alice.follow(await alice.post(fresh.path, way="web-password", password=PASSWORD))
    assert SHOWN.search((await named(alice, page, "My <iPhone>")).html)
    (view,) = listed(site)
    assert (view.label, view.services, view.networks) == ("My <iPhone>", ("smtp",), ("192.0.2.0/24",))
    site.clock.now += 300
    assert "anything again" not in (await alice.get(fresh.path)).text  # done


async def test_a_proof_belongs_to_its_session(site: Site, alice: Browser) -> None:
    proof = await proof_for(alice)
    site.add(BOB)
    for login in (ALICE, BOB):
        other = site.browser()
        await other.sign_in(login)
        assert (await other.get(proof.path)).status == 410
        await other.get("/passwords/new")
        assert (await other.post(proof.path, way="web-password", password=PASSWORD)).status == 410
        assert (await other.post(proof.path, perform="1", label="x")).status == 410
    assert listed(site) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"perform": "1"},
        {"perform": "1", "label": "x"},
        {"perform": "1", "label": "x" * 101},
        {"way": "enrolment-code", "code": "x"},
        {"way": "totp", "code": "1"},
    ],
)
async def test_no_other_way_proves_anything(site: Site, alice: Browser, fields) -> None:
    proof = await proof_for(alice)
    assert (await alice.post(proof.path, **fields)).status in {410, 404}
    assert listed(site) == []


@pytest.mark.parametrize(("typed", "kept"), NASTY.values(), ids=NASTY)
async def test_a_name_is_text_wherever_it_is_shown(site: Site, alice: Browser, typed: str, kept: str) -> None:
    _, page = await generated(alice, typed)
    (view,) = listed(site)
    assert view.label == kept
    paths = ("/passwords", f"/passwords/{view.id}/rename", f"/passwords/{view.id}/delete", "/activity", "/notices")
    for shown in [page, *[await alice.get(path) for path in paths]]:
        assert str(escape(kept)) in shown.html
        assert "<script>alert" not in shown.html
        assert shown.html.count("<script") == 1


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("", "Give it a name"),
        (" \u3000 ", "Give it a name"),
        ("\x00\x01\u202e", "Give it a name"),
        ("\u3164\u200b", "Give it a name"),
        ("x" * 101, "at most 100 characters"),
        ("字" * 10_000, "at most 100 characters"),
        ("a\x00b\x1b[2J\r\nc\x7f", "cannot be seen or that turn the writing round"),
        ("abc\u202egpj.exe\u2066", "cannot be seen or that turn the writing round"),
        ("x\u202d" * 100, "cannot be seen or that turn the writing round"),
    ],
)
async def test_a_bad_name_is_refused_in_words_and_nothing_is_lost(site: Site, alice: Browser, label, told) -> None:
    page = await name_asked(alice, services=["smtp"], networks="192.0.2.0/24")
    for _ in range(2):
        answer = await named(alice, page, label)
        assert (answer.status, told in answer.text, SHOWN.findall(answer.html)) == (422, True, [])
        (kept,) = re.findall(r'<input id="label"[^>]* value="([^"]*)"', answer.html)
        assert kept == visible(label)
    assert listed(site) == []
    page = await named(alice, page, kept if 1 <= len(kept) <= 100 else "good")
    assert SHOWN.search(page.html)
    (view,) = listed(site)
    assert (view.services, view.networks) == (("smtp",), ("192.0.2.0/24",))


async def test_the_name_is_asked_after_the_proof_and_looking_changes_nothing(site: Site, alice: Browser) -> None:
    assert 'name="label"' not in (await alice.get("/passwords/new")).html
    proof = await proof_for(alice)
    assert "Generate a client password. You name it in the next step" in proof.text
    assert 'name="label"' not in proof.html
    answer = await alice.post(proof.path, way="web-password", password=PASSWORD)
    assert answer.to == proof.path
    for page in [await alice.follow(answer), *[await alice.get(path) for path in (proof.path, f"{proof.path}?way=x")]]:
        assert page.status == 200
        assert "Thank you, that was you. One step is left" in page.text
        assert re.search(r'<input id="label"[^>]* autofocus', page.html)
        assert 'role="alert"' not in page.html
    assert (await alice.post(proof.path, perform="1")).to == proof.path  # no name at all: it is asked for
    assert listed(site) == []
    assert show_account(site.store, ALICE).mode == "off"
    assert SHOWN.search((await named(alice, page, "phone")).html)
    assert show_account(site.store, ALICE).mode == "on"


async def test_a_tab_that_still_asks_for_proof_goes_on_to_the_name(site: Site, alice: Browser) -> None:
    page = await name_asked(alice)
    before = len(site.passwords.asked)
    answer = await alice.post(page.path, way="web-password", password="not looked at")
    assert answer.to == page.path
    assert len(site.passwords.asked) == before
    assert SHOWN.search((await named(alice, page, "phone")).html)
    answer = await alice.post(page.path, perform="1", label="the other tab")
    assert (answer.status, "it is done already" in answer.text) == (410, True)
    assert [view.label for view in listed(site)] == ["phone"]


async def test_a_name_on_a_page_out_of_date_is_kept_and_the_proof_too(site: Site, alice: Browser) -> None:
    page = await name_asked(alice)
    answer = await alice.send(page.path, {"csrf": "x", "perform": "1", "label": "My <iPhone>"})
    assert (answer.status, "send it once more" in answer.text) == (403, True)
    assert 'value="My &lt;iPhone&gt;"' in answer.html
    assert listed(site) == []
    assert SHOWN.search((await named(alice, answer, "My <iPhone>")).html)


@pytest.mark.parametrize(
    ("label", "kept"), [("My <iPhone>", "My <iPhone>"), ("a\u202eb", "ab"), ("x" * 101, ""), ("", "")]
)
async def test_a_name_that_comes_too_late_is_kept_with_the_terms(
    site: Site, alice: Browser, label: str, kept: str
) -> None:
    page = await name_asked(alice, services=["smtp"], expires="2027-01-31")
    site.clock.now += 300
    answer = await named(alice, page, label)
    assert (answer.status, "You do not have to type anything again" in answer.text) == (410, True)
    act = f"Generate a client password for “{kept}”" if kept else "You name it in the next step"
    assert act in answer.text
    again = {"label": answer.hidden("label")} if kept else {"label": label}
    fresh = await alice.follow(await alice.post(page.path, renew="1", **again))
    assert act in fresh.text
    assert listed(site) == []
    page = await alice.follow(await alice.post(fresh.path, way="web-password", password=PASSWORD))
    if not kept:
        page = await named(alice, page, "phone")
    assert SHOWN.search(page.html)
    (view,) = listed(site)
    assert (view.label, view.services, view.expires_at) == (kept or "phone", ("smtp",), 1_801_440_000.0)


async def test_a_late_name_changes_none_that_was_given_and_no_other_act(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    await alice.get("/mode")
    off = await alice.follow(await alice.post("/mode", mode="off"))
    session = portalsessions.find(site.means, alice.client.cookies["mailauth-session"], now=site.clock())
    token = clientpasswords.ask_to_generate(site.means, session, label="given", now=site.clock())
    site.clock.now += 300
    await alice.get(off.path)
    fresh = await alice.follow(await alice.post(f"/proof/{token}", renew="1", label="another"))
    assert "Generate a client password for “given”" in fresh.text
    page = await alice.post(fresh.path, way="web-password", password=PASSWORD)  # and no name is asked for
    assert SHOWN.search(page.html)
    assert [view.label for view in listed(site)] == ["phone", "given"]
    await alice.get(off.path)
    answer = await alice.post(off.path, renew="1", label="another")
    found = freshproof.action(site.means, session, answer.to.rpartition("/")[2], now=site.clock())
    assert "label" not in found.params


async def test_bad_terms_are_refused_in_words_and_nothing_typed_is_lost(site: Site, alice: Browser) -> None:
    await alice.get("/passwords/new")
    answer = await alice.post(
        "/passwords/new", services=["smtp"], expires="2099-01-02", networks="192.0.2.0/24\nnonsense"
    )
    assert answer.status == 422
    assert "nonsense" in answer.html
    assert 'value="2099-01-02"' in answer.html
    assert re.search(r'value="smtp" checked', answer.html)
    assert not re.search(r'value="imap" checked', answer.html)
    assert "“nonsense” is not a network" in answer.text


@pytest.mark.parametrize(
    "expires", ["2020-01-01", "2027-01-14", "tomorrow", "2027-02-30", "9999-12-31", "0001-01-01", "-1"]
)
async def test_an_end_that_is_none_is_refused(alice: Browser, expires: str) -> None:
    await alice.get("/passwords/new")
    answer = await alice.post("/passwords/new", services=["smtp"], expires=expires)
    assert (answer.status, "no date in the future" in answer.text) == (422, True)


async def test_terms_are_kept(site: Site, alice: Browser) -> None:
    await generated(alice, services=["pop3"], expires="2027-01-31", networks=" 192.0.2.7/24 \n\n2001:db8::/32\n")
    (view,) = listed(site)
    assert view.services == ("pop3",)
    assert view.networks == ("192.0.2.0/24", "2001:db8::/32")
    assert view.expires_at == 1_801_440_000.0  # the end of that day
    page = await alice.get("/passwords")
    assert "POP3" in page.text
    assert "192.0.2.0/24, 2001:db8::/32" in page.text


async def test_at_least_one_service_and_at_most_so_many_networks(alice: Browser) -> None:
    await alice.get("/passwords/new")
    answer = await alice.post("/passwords/new", services=["portal"])
    assert "Tick at least one" in answer.text
    networks = "\n".join([f"192.0.2.{number}" for number in range(33)])
    answer = await alice.post("/passwords/new", services=["imap"], networks=networks)
    assert "At most 32 networks" in answer.text


async def test_at_the_maximum_the_page_says_so(site: Site, alice: Browser) -> None:
    site.change(max_app_passwords=2)
    await generated(alice, "one")
    assert "You can make 1 more; 2 is the most" in (await alice.get("/passwords")).text
    late = await name_asked(alice)
    await generated(alice, "two")
    answer = await named(alice, late, "three")
    assert (answer.status, "Delete one first" in answer.text) == (409, True)
    page = await alice.get("/passwords/new")
    assert "You have 2 client passwords, which is the most" in page.text
    assert 'name="services"' not in page.html
    assert len(listed(site)) == 2


async def test_a_form_of_another_session_is_shown_again_with_what_was_typed(site: Site, alice: Browser) -> None:
    await alice.get("/passwords/new")
    old = alice.page
    await alice.post("/signout")
    await alice.sign_in()
    typed = {"networks": "typed in another tab", "services": "smtp"}
    answer = await alice.send("/passwords/new", {"csrf": old.csrf, **typed})
    assert answer.status == 403
    assert "Nothing was changed. Look through it and send it once more" in answer.text
    assert ">typed in another tab</textarea>" in answer.html
    assert listed(site) == []


async def test_what_was_typed_is_there_again_after_signing_in_again(site: Site, alice: Browser) -> None:
    await alice.get("/passwords/new")
    site.clock.now += site.rules.idle_s + 1
    fields = {"services": ["smtp"], "expires": "<b>", "networks": "192.0.2.0/24\n10.0.0.0/8", "password": "hush"}
    answer = await alice.post("/passwords/new", **fields)
    assert answer.to == "/signin?next=/passwords/new"
    assert "hush" not in base64.urlsafe_b64decode(alice.client.cookies["mailauth-typed"]).decode()
    page = await alice.follow(answer)
    assert "You are signed out" in page.text
    answer = await alice.post("/signin", address=ALICE, password=PASSWORD, next=page.hidden("next"))
    page = await alice.follow(answer)
    assert page.path == "/passwords/new"
    assert "send it once more" in page.text
    assert 'value="&lt;b&gt;"' in page.html
    assert re.search(r'value="smtp" checked', page.html)
    assert not re.search(r'value="imap" checked', page.html)
    assert "192.0.2.0/24\n10.0.0.0/8" in page.html
    assert 'value=""' in (await alice.get("/passwords/new")).html  # once
    assert listed(site) == []


@pytest.mark.parametrize(
    "kept", ["", "x", "bnVsbA==", "W10=", "WyIvcGFzc3dvcmRzL25ldyIsIDFd", "WyIvcGFzc3dvcmRzL25ldyIsIHsiYSI6IDF9XQ=="]
)
async def test_whatever_a_browser_says_was_typed_does_no_harm(site: Site, alice: Browser, kept: str) -> None:
    alice.client.cookies.set("mailauth-typed", kept)
    assert (await alice.get("/passwords/new")).status == 200


async def test_too_much_to_keep_is_not_kept(site: Site) -> None:
    browser = site.browser()
    await browser.get("/signin")
    answer = await browser.post("/passwords/new", networks="字" * 10_000)
    assert answer.to == "/signin?next=/passwords/new"
    assert "mailauth-typed" not in browser.client.cookies


# ---- the list


async def test_the_list_says_what_each_opens_and_when_it_was_used(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    with site.store.transaction() as tx:
        tx._connection.execute(
            "UPDATE app_passwords SET last_used_at = ?, last_used_peer = '203.0.113.9', last_used_service = 'imap', "
            "last_used_client = '<i>Mail</i>'",
            (START + 60,),
        )
    site.connections.open = {1: 3, None: 1}
    page = await alice.get("/passwords")
    assert "15 Jan 2027, 08:01 · IMAP · 203.0.113.9 · <i>Mail</i>" in page.text
    assert "Open now 3" in page.text
    assert "all services" in page.text
    site.connections.open = None
    assert "Open now –" in (await alice.get("/passwords")).text


async def test_a_client_password_is_renamed_and_nothing_else_of_it_changes(site: Site, alice: Browser) -> None:
    await generated(alice, "phone", services=["smtp"])
    page = await alice.get("/passwords/1/rename")
    assert 'value="phone"' in page.html
    answer = await alice.post("/passwords/1/rename", label="x" * 101, services=["imap"])
    assert (answer.status, "x" * 101 in answer.html) == (422, True)
    answer = await alice.post("/passwords/1/rename", label="<tablet>", services=["imap"])
    page = await alice.follow(answer)
    assert "It is called “<tablet>” now" in page.text
    (view,) = listed(site)
    assert (view.label, view.services) == ("<tablet>", ("smtp",))


async def test_deleting_is_confirmed_and_says_how_many_connections_end(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    site.connections.open = {1: 2}
    page = await alice.get("/passwords/1/delete")
    assert "Delete “phone”?" in page.text
    assert "open with it now: 2" in page.text
    assert len(listed(site)) == 1
    page = await alice.follow(await alice.post("/passwords/1/delete"))
    assert "“phone” is deleted. Mail connections closed: 0" in page.text
    assert listed(site) == []


DOVECOT = "Dovecot at http://10.0.0.9:8080/doveadm/v1"
REPORTS = {
    "": (),
    f"{ELSEWHERE}{DOVECOT}: ended what was open of {ALICE}, by whatever password\n": (
        "Connections to another mail server were closed too",
        "另一台邮件服务器上的连接也已断开",
    ),
    f"{NOT_YET}{DOVECOT}: sessions of {ALICE} may still be open, it is tried until they end: no answer\n": (
        "Another mail server could not be reached",
        "另一台邮件服务器暂时无法联系",
    ),
}


@pytest.mark.parametrize("label", ["phone", "<b>&amp;", "電話" * 50, "הטלפון"])
@pytest.mark.parametrize("which", ["one", "all"])
async def test_deleting_says_what_other_mail_servers_have_said(
    site: Site, alice: Browser, monkeypatch: pytest.MonkeyPatch, which: str, label: str
) -> None:
    delete = clientpasswords.delete
    told: list[str] = []

    def applied(*args: Any, effect: Effect, **more: Any) -> Any:
        effect.answers = {f"mail{number}:1": Answer(0, "".join(told)) for number in (1, 2)}
        effect.absent = ["mail3:1"]
        return delete(*args, **more)

    monkeypatch.setattr(clientpasswords, "delete", applied)
    for language, place in (("en", 0), ("zh", 1)):
        await alice.post("/language", language=language)
        for told[:] in ([], list(REPORTS)[1:2], list(REPORTS)[2:], list(REPORTS)):
            made = apppasswords.mint(site.store, site.ring, site.hashing, ALICE, label=label, actor="test").id
            path = "/passwords/delete-all" if which == "all" else f"/passwords/{made}/delete"
            await alice.get(path)
            page = await alice.follow(await alice.post(path))
            said = {text[place]: text[place] in page.text for line, text in REPORTS.items() if text}
            assert said == {text[place]: line in told for line, text in REPORTS.items() if text}, page.text
            assert ("did not answer", "没有回应")[place] in page.text
            assert which == "all" or label in page.text.replace("\u2068", "").replace("\u2069", "")
            assert "Dovecot" not in page.text and "10.0.0.9" not in page.html


async def test_deleting_all_names_all(site: Site, alice: Browser) -> None:
    for label in ("one", "two", "three"):
        await generated(alice, label)
    page = await alice.get("/passwords/delete-all")
    assert all(label in page.text for label in ("one", "two", "three", "Delete all 3"))
    page = await alice.follow(await alice.post("/passwords/delete-all"))
    assert "All client passwords are deleted: 3" in page.text
    assert listed(site) == []


async def test_what_is_gone_already_is_said_so(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    await alice.get("/passwords/1/delete")
    apppasswords.revoke(site.store, ALICE, every=True, actor="test")
    for path in ("/passwords/1/delete", "/passwords/1/rename", "/passwords/1/confirm"):
        page = await alice.follow(await alice.post(path, label="x"))
        assert "not there any more" in page.text
        await alice.get("/passwords/new")


async def test_nobody_touches_somebody_elses(site: Site, alice: Browser) -> None:
    await generated(alice, "gadget of alice")
    site.add(BOB)
    bob = site.browser()
    await bob.sign_in(BOB)
    for path in ("/passwords/1/delete", "/passwords/1/rename", "/passwords/1/confirm"):
        await bob.get("/passwords/new")
        page = await bob.follow(await bob.post(path, label="mine"))
        assert "not there any more" in page.text
        assert "gadget" not in page.text
    (view,) = listed(site)
    assert view.label == "gadget of alice"


async def test_a_suspended_one_is_confirmed(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    with site.store.transaction() as tx:
        tx._connection.execute("UPDATE app_passwords SET suspended = 1")
    page = await alice.get("/passwords")
    assert "Paused since a backup was restored" in page.text
    page = await alice.follow(await alice.post("/passwords/1/confirm"))
    assert "“phone” works again" in page.text
    assert not listed(site)[0].suspended


async def test_programs_that_do_not_log_in_as_they_should_are_named(site: Site, alice: Browser) -> None:
    await generated(alice, "my phone")
    with site.store.transaction() as tx:
        tx._connection.execute(
            "UPDATE app_passwords SET last_used_at = ?, last_used_peer = '203.0.113.9', last_used_service = 'imap', "
            "last_used_client = 'Mail'",
            (START + 60,),
        )
        tx._connection.execute(
            "INSERT INTO observations VALUES (1, 'web-password-refused', '203.0.113.0/24', 'smtp', '[192.168.1.7]', 0, "
            f"{START}, {START + 90}, 3, NULL)"
        )
    site.clock.now += 600
    for path in ("/passwords", "/"):
        page = await alice.get(path)
        assert (
            "Mail receives mail with the client password “my phone”, but still sends with an old password" in page.text
        )
        assert "SMTP, 203.0.113.0/24" in page.text


async def test_switched_off_by_an_administrator_is_said(site: Site, alice: Browser) -> None:
    site.change(client_logon=False)
    assert "has switched off mail programs for your account" in (await alice.get("/passwords")).text


# ---- the switch


async def test_the_switch_is_turned_on_after_a_question(site: Site, alice: Browser) -> None:
    assert "Off: mail programs also get in" in (await alice.get("/passwords")).text
    await alice.get("/mode")
    page = await alice.follow(await alice.post("/mode", mode="on"))
    assert "Mail programs get in with client passwords only now" in page.text
    assert "On: mail programs get in with a client password only" in page.text


@pytest.mark.parametrize("delete", [False, True])
async def test_the_switch_is_turned_off_with_proof_and_a_warning(site: Site, alice: Browser, delete: bool) -> None:
    await generated(alice, "phone")
    page = await alice.get("/mode")
    assert "We advise against it" in page.text
    assert "Delete all my client passwords too (1)" in page.text
    proof = await alice.follow(await alice.post("/mode", mode="off", **({"delete_all": "1"} if delete else {})))
    assert "Let mail programs in with the web password again" in proof.text
    assert "On: mail" in (await alice.get("/passwords")).text
    await alice.get(proof.path)
    page = await alice.follow(await alice.post(proof.path, way="web-password", password=PASSWORD))
    assert "Mail programs get in with your web password again" in page.text
    assert "Off: mail programs" in page.text
    assert len(listed(site)) == (0 if delete else 1)


LOCKS = {
    "account": "The administrator requires it for your account",
    "second": "Your account has to have a second step",
}


@pytest.mark.parametrize("by", LOCKS)
async def test_p3_a_locked_switch_cannot_be_turned_off_in_any_way(sqlite_database, ring, by: str) -> None:
    site = Site(sqlite_database.store, ring, kinds=("totp",))
    site.add()
    alice = site.browser()
    await alice.sign_in()
    await generated(alice, "phone")
    late = await alice.follow(await alice.post("/mode", mode="off", csrf=(await alice.get("/mode")).csrf))
    if by == "second":
        await site.enrol_totp()
        await alice.sign_in()
        site.change(two_factor=True)
        assert (await alice.get("/mode")).to.startswith("/signin")
        return
    site.change(policy=PolicyLevel.ENFORCED)
    page = await alice.get("/passwords")
    assert LOCKS[by] in page.text
    assert "Switch off" not in page.text
    page = await alice.get("/mode")
    assert LOCKS[by] in page.text
    await alice.get("/passwords/new")
    answer = await alice.post("/mode", mode="off")
    assert (answer.status, LOCKS[by] in answer.text) == (409, True)
    await alice.get("/passwords/new")
    page = await alice.follow(await alice.post(late.path, way="web-password", password=PASSWORD))
    assert "required by your administrator" in page.text
    assert "On: mail programs" in (await alice.get("/passwords")).text


async def test_a_date_from_which_it_is_enforced_is_told(site: Site, alice: Browser) -> None:
    site.change(policy=PolicyLevel.ENFORCED, enforce_from=START + 10 * DAY)
    assert (
        "From 25 Jan 2027, 08:00 mail programs get in with a client password only"
        in (await alice.get("/passwords")).text
    )
