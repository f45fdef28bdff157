"""What administrators do to accounts, domains and the site: each act from its form to what is said afterwards."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest
from portal_administrators import (
    ALICE,
    EVE,
    Admin,
    Letters,
    administrator,
    observed,
    populated,
    secret_of,
    slow_down,
    with_post,
)
from portal_site import PASSWORD, Plain, Reply, Site

from mailauth.accounts import administration, aliases, apppasswords, roleholders, tokens
from mailauth.accounts.changes import AccountChange, PolicyChange
from mailauth.accounts.domains import list_domains, show_domain
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import add_account, remove_account, set_account, show_account
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.roles import Role
from mailauth.accounts.site import set_site, show_site
from mailauth.accounts.throttled import throttled
from mailauth.interfaces import PolicyLevel
from mailauth.store.changes import Effect
from mailauth.store.faults import Clash

ACTOR = {"actor": "test"}
PAGE = f"/admin/accounts/{ALICE}"
NASTY = "<script>alert(1)</script>\"'&amp;{name} \u05d0\u05d1"
MARKUP = NASTY.partition(" ")[0]


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    site = Site(sqlite_database.store, ring, kinds=("totp", "recovery-codes"))
    populated(site)
    return site


@pytest.fixture
async def root(site: Site) -> Admin:
    return await administrator(site, Role.SITE_ADMIN)


@pytest.fixture
async def chief(site: Site) -> Admin:
    return await administrator(site, Role.DOMAIN_ADMIN)


def mint(site: Site, label: str, login: str = ALICE) -> int:
    return apppasswords.mint(site.store, site.ring, Plain(), login, label=label, **ACTOR).id


def unmarked(text: str) -> str:
    """Without the marks that keep what is written from right to left to itself (UAX 9: FSI, PDI)."""
    return text.translate(dict.fromkeys((0x2068, 0x2069)))


def following(page: Reply) -> str:
    """The address of the next page of a list; "": there is none."""
    begin, found, _ = page.html.partition('rel="next"')
    return html.unescape(begin.rpartition('href="')[2].partition('"')[0]) if found else ""


# ---- settings


ALL_ON = {"enabled": "1", "client_logon": "1", "imap": "1", "pop3": "1", "smtp": "1"}
WERE = {"were": "enabled client_logon imap pop3 smtp", "most": "", "most_was": ""}


async def test_settings_are_changed_and_the_proof_names_them(site: Site, root: Admin) -> None:
    fields = {**ALL_ON, **WERE, "most": "4"}
    fields.pop("pop3")
    proof = await root.proof(f"{PAGE}/settings", **fields)
    assert f"Change {ALICE}: POP3 off, at most 4 client passwords" in proof.text
    page = await root.prove(proof)
    assert page.path == PAGE
    assert f"{ALICE} is changed. Mail connections closed: 0." in page.text
    view = show_account(site.store, ALICE)
    assert (view.imap, view.pop3, view.enabled, view.max_app_passwords) == (True, False, True, 4)
    assert list(audit(site.store, ALICE))[-1].actor == f"portal:{root.login}"


async def test_two_who_change_different_things_do_not_undo_each_others(site: Site, root: Admin) -> None:
    page = await root.get(f"{PAGE}/settings")
    set_account(site.store, ALICE, AccountChange(imap=False), **ACTOR)
    fields = {**ALL_ON, "were": page.hidden("were"), "most_was": page.hidden("most_was"), "most": ""}
    fields.pop("smtp")
    await root.prove(await root.browser.follow(await root.browser.post(f"{PAGE}/settings", **fields)))
    view = show_account(site.store, ALICE)
    assert (view.imap, view.smtp, view.pop3) == (False, False, True)


async def test_nothing_changed_is_said_and_takes_no_proof(site: Site, root: Admin) -> None:
    page = await root.proof(f"{PAGE}/settings", **ALL_ON, **WERE)
    assert (page.path, "it is like that already" in page.text) == (PAGE, True)


@pytest.mark.parametrize("most", ["", "x", "-1", "101", "1e3", "\u0663", "9" * 400])
async def test_a_number_that_is_none_is_asked_for_again(site: Site, root: Admin, most: str) -> None:
    site.change(ALICE, max_app_passwords=7)
    page = await root.proof(f"{PAGE}/settings", **{**ALL_ON, **WERE, "most": most, "most_was": "7"})
    assert (page.status, "a number from 0 to 100" in page.text) == (422, True)
    assert f'value="{most}"' in page.html


async def test_an_account_that_is_switched_off_is_signed_out(site: Site, root: Admin) -> None:
    alice = site.browser()
    await alice.sign_in()
    fields = {**ALL_ON, **WERE}
    fields.pop("enabled")
    page = await root.do(f"{PAGE}/settings", **fields)
    assert "switched off" in page.text
    assert (await alice.get("/")).to.startswith("/signin")


# ---- acts that have a page of their own


async def test_signing_out_says_how_many_browsers(site: Site, root: Admin) -> None:
    browsers = [site.browser(), site.browser()]
    for browser in browsers:
        await browser.sign_in()
    page = await root.do(f"{PAGE}/sign-out")
    assert f"Browsers of {ALICE} signed out: 2." in page.text
    for browser in browsers:
        assert (await browser.get("/")).to.startswith("/signin")


async def test_closing_mail_connections_says_how_many(site: Site, root: Admin, monkeypatch) -> None:
    perform = administration.perform

    def applied(means, session, token, *, now, effect: Effect):
        perform(means, session, token, now=now)
        effect.ended, effect.silent = 3, ["away"]

    monkeypatch.setattr(administration, "perform", applied)
    site.connections.open = {None: 2, 5: 1}
    assert "Mail connections 3" in (await root.get(PAGE)).text
    page = await root.do(f"{PAGE}/close-sessions")
    assert f"Mail connections of {ALICE} closed: 3. A part of the mail service did not answer" in page.text


async def test_app_passwords_are_deleted_one_several_or_all(site: Site, root: Admin) -> None:
    ids = [mint(site, label) for label in ("Phone", NASTY[:90], "Tablet", "Printer")]
    page = await root.get(PAGE)
    assert str(html.escape(NASTY[:90], quote=False)) in page.html.replace("&#34;", '"').replace("&#39;", "'")
    assert "<script>alert" not in page.html
    proof = await root.browser.follow(await root.browser.post(f"{PAGE}/app-passwords", id=[str(ids[0]), str(ids[1])]))
    assert f"Delete client passwords of {ALICE} (2): “Phone”, “<script>" in unmarked(proof.text)
    page = await root.prove(proof)
    assert f"Client passwords of {ALICE} deleted: 2." in page.text
    assert [view.id for view in apppasswords.listed(site.store, ALICE)] == ids[2:]
    page = await root.do(f"{PAGE}/delete-app-passwords")
    assert "deleted: 2." in page.text
    assert apppasswords.listed(site.store, ALICE) == []


@pytest.mark.parametrize("sent", [(), ("x",), ("999",), ("9" * 30,)])
async def test_app_passwords_that_are_not_there_are_not_asked_for(site: Site, root: Admin, sent) -> None:
    mint(site, "Phone")
    other = mint(site, "Eve's", EVE)
    await root.get(PAGE)
    for ids in (list(sent), [*sent, str(other)]):
        page = await root.browser.follow(await root.browser.post(f"{PAGE}/app-passwords", id=ids))
        assert page.path == PAGE
        assert "tick at least one" in page.text or "not there any more" in page.text
    assert len(apppasswords.listed(site.store, ALICE)) == len(apppasswords.listed(site.store, EVE)) == 1


async def test_an_api_token_of_somebody_else_is_revoked_by_the_site_only(site: Site, root: Admin, chief: Admin) -> None:
    kept, doomed = [
        tokens.add(site.store, ALICE, label=label, scopes=["own:read"], now=site.clock(), **ACTOR)
        for label in ("Calendar", MARKUP)
    ]
    foreign = tokens.add(site.store, EVE, label="Eve's", scopes=["own:read"], now=site.clock(), **ACTOR)
    page = await chief.get(PAGE)
    assert "Calendar" in page.text and "revoke-token" not in page.html
    page = await root.get(PAGE)
    assert (page.html.count("/revoke-token"), MARKUP in page.text) == (2, True)
    for wrong in ("", "x", str(foreign.id), "9" * 30):
        page = await root.browser.follow(await root.browser.post(f"{PAGE}/revoke-token", token=wrong))
        assert (page.path, "not there any more" in page.text) == (PAGE, True), wrong
    proof = await root.browser.follow(await root.browser.post(f"{PAGE}/revoke-token", token=doomed.id))
    assert f"Revoke the API token “{MARKUP}” of {ALICE}" in proof.text
    assert tokens.caller(site.store, doomed.token, peer="", now=site.clock()) is not None
    page = await root.prove(proof)
    assert f"The API token “{MARKUP}” of {ALICE} is revoked." in page.text
    assert tokens.caller(site.store, doomed.token, peer="", now=site.clock()) is None
    for one in (kept, foreign):
        assert tokens.caller(site.store, one.token, peer="", now=site.clock()) is not None
    (row,) = [row for row in audit(site.store, ALICE) if row.kind == "api-token-revoked"]
    assert (row.actor, row.label) == ("portal:root@example.test", MARKUP)


async def test_an_api_token_that_is_gone_meanwhile_is_said_so_after_the_proof(site: Site, root: Admin) -> None:
    made = tokens.add(site.store, ALICE, label="Calendar", scopes=["own:read"], now=site.clock(), **ACTOR)
    await root.get(PAGE)
    proof = await root.browser.follow(await root.browser.post(f"{PAGE}/revoke-token", token=made.id))
    tokens.revoke(site.store, made.id, **ACTOR)
    assert "not there any more" in (await root.prove(proof)).text


async def test_app_passwords_deleted_meanwhile_are_said_so_after_the_proof(site: Site, root: Admin) -> None:
    row_id = mint(site, "Phone")
    await root.get(PAGE)
    proof = await root.browser.follow(await root.browser.post(f"{PAGE}/app-passwords", id=str(row_id)))
    apppasswords.revoke(site.store, ALICE, ids=[row_id], **ACTOR)
    page = await root.prove(proof)
    assert (page.status, "This was not done" in page.text) == (409, True)
    assert "Somebody removed it" in page.text
    assert f'href="{PAGE}"' in page.html


async def test_an_enrolment_code_is_shown_once_and_serves_its_owner(site: Site, root: Admin, caplog) -> None:
    caplog.set_level("DEBUG")
    proof = await root.proof(f"{PAGE}/enrolment-code")
    page = await root.prove(proof)
    code = secret_of(page)
    assert page.response.headers["cache-control"] == "no-store"
    assert page.response.request.method == "POST"
    assert code not in caplog.text + repr(list(audit(site.store)))
    for path in (proof.path, PAGE, "/admin/audit", "/activity"):
        again = await root.get(path)
        assert code not in again.html
    site.change(ALICE, two_factor=True)
    with site.store.transaction() as tx:
        tx._connection.execute("UPDATE accounts SET created_at = 1, two_factor_from = 1")
    alice = site.browser()
    assert "An enrolment code is needed" in (await alice.sign_in()).text
    page = await alice.follow(await alice.post("/enrol", code=code))
    assert "Choose what suits you" in page.text


async def test_a_reset_link_is_mailed_and_nobody_is_shown_it(site: Site, root: Admin, chief: Admin) -> None:
    letters = with_post(site, Letters())
    await root.do(f"{PAGE}/recovery-address", address="Alice@Elsewhere.test")
    for admin in (chief, root):
        assert "It is mailed to a***@elsewhere.test" in (await admin.get(f"{PAGE}/reset-password")).text
        page = await admin.do(f"{PAGE}/reset-password")
        assert "is on its way to a***@elsewhere.test" in page.text
        ((to, language, kind, values),) = letters.sent
        assert (to, language, kind, values["login"]) == ("alice@elsewhere.test", "en", "password-reset", ALICE)
        assert values["link"] not in page.html
        assert values["link"].startswith(f"{site.origin}/reset?code=")
        letters.sent.clear()
    alice = site.browser()
    page = await alice.get(values["link"].removeprefix(site.origin))
    new = {"new": "a brand new secret", "again": "a brand new secret"}
    assert (await alice.post("/reset", code=page.hidden("code"), **new)).to == "/signin"


@pytest.mark.parametrize("letters", [None, Letters(is_well=False)])
async def test_a_link_that_cannot_be_mailed_is_said_so_and_shown_to_nobody(site: Site, root: Admin, letters) -> None:
    if letters is not None:
        with_post(site, letters)
    await root.do(f"{PAGE}/recovery-address", address="alice@elsewhere.test")
    page = await root.do(f"{PAGE}/reset-password")
    assert "could not be mailed to a***@elsewhere.test" in page.text
    assert "/reset?code=" not in page.html


async def test_without_a_recovery_address_a_site_administrator_is_shown_the_link(
    site: Site, root: Admin, chief: Admin
) -> None:
    page = await chief.proof(f"{PAGE}/reset-password")
    assert (page.status, "no recovery address that the link" in page.text) == (409, True)
    page = await root.do(f"{PAGE}/reset-password")
    link = secret_of(page)
    assert page.response.headers["cache-control"] == "no-store"
    assert (await site.browser().get(link.removeprefix(site.origin))).status == 200
    assert "Set a new web password" in (await site.browser().get(link.removeprefix(site.origin))).text


async def test_second_steps_are_seen_by_kind_and_reset(site: Site, root: Admin) -> None:
    app = await site.enrol_totp(ALICE)
    set_account(site.store, ALICE, AccountChange(mode=True), **ACTOR)
    page = await root.get(PAGE)
    assert "Authenticator app" in page.text
    assert app.secret not in page.html
    page = await root.do(f"{PAGE}/reset-second-step")
    assert "The second step of alice@example.test is reset" in page.text
    view = show_account(site.store, ALICE)
    assert (view.has_second_factor, view.mode) == (False, "on")
    page = await root.do(f"{PAGE}/reset-second-step")
    assert "had no second step" in page.text


async def test_data_are_exported_once_as_a_file(site: Site, root: Admin) -> None:
    mint(site, NASTY[:90])
    ready = await root.do(f"{PAGE}/export")
    assert "The file is ready" in ready.text
    file = await root.browser.post(ready.path, perform="1", download="1")
    assert file.response.headers["content-disposition"] == f"attachment; filename*=UTF-8''{ALICE}.json"
    assert file.response.headers["cache-control"] == "no-store"
    told = json.loads(file.html)
    assert told["account"]["login"] == ALICE
    assert told["app_passwords"][0]["label"] == NASTY[:90]
    assert PASSWORD.encode().hex() not in file.html
    await root.get(PAGE)
    assert (await root.browser.post(ready.path, perform="1", download="1")).status == 410


@pytest.mark.parametrize("act", ["remove", "erase"])
async def test_what_cannot_be_taken_back_takes_the_login_typed(site: Site, root: Admin, act: str) -> None:
    for typed in ("", "yes", EVE):
        page = await root.proof(f"{PAGE}/{act}", typed=typed)
        assert (page.status, f"Type {ALICE}" in page.text) == (422, True)
    page = await root.do(f"{PAGE}/{act}", typed=f" {ALICE.upper()} ")
    assert page.path == "/admin/accounts"
    assert f"{ALICE} is {'removed' if act == 'remove' else 'erased'}" in page.text
    with pytest.raises(NoSuch):
        show_account(site.store, ALICE)
    assert (await root.get(PAGE)).status == 404
    if act == "erase":
        assert all(row.login != ALICE for row in audit(site.store))


async def test_an_account_that_was_removed_meanwhile_is_said_so_after_the_proof(site: Site, root: Admin) -> None:
    for name in ("sign-out", "reset-password"):
        site.add("gone@example.test")
        proof = await root.proof(f"/admin/accounts/gone@example.test/{name}")
        remove_account(site.store, "gone@example.test", **ACTOR)
        page = await root.prove(proof)
        assert (page.status, "This was not done" in page.text) == (409, True)


# ---- role, recovery address, aliases, new accounts


async def test_a_role_is_given_with_its_domains_and_taken_again(site: Site, root: Admin) -> None:
    proof = await root.proof(f"{PAGE}/role", role="domain-admin", domains="other.test\r\nexample.test\r\n")
    assert "Domain administrator of other.test, example.test" in proof.text
    page = await root.prove(proof)
    assert f"{ALICE} has another role now: Domain administrator." in page.text
    assert "Domain administrator: example.test, other.test" in page.text
    assert f"/admin/accounts/{ALICE}" in (await root.get("/admin/site")).html
    page = await root.do(f"{PAGE}/role", role="user", domains="example.test")
    assert show_account(site.store, ALICE).role == "user"
    for fields in ({"role": "king"}, {}, {"role": "domain-admin", "domains": "nowhere.test"}):
        page = await root.proof(f"{PAGE}/role", **fields)
        assert page.status == 422
        assert fields.get("domains", "") in page.html


async def test_a_recovery_address_is_set_masked_and_taken_away(site: Site, root: Admin) -> None:
    for typed in ("", "nonsense", ALICE, f"{NASTY}@x"):
        page = await root.proof(f"{PAGE}/recovery-address", address=typed)
        assert page.status == 422, typed
        assert "<script>alert" not in page.html
    page = await root.do(f"{PAGE}/recovery-address", address="alice@elsewhere.test")
    assert "a***@elsewhere.test" in page.text
    assert "alice@elsewhere.test" not in page.text
    proof = await root.proof(f"{PAGE}/recovery-address", none="1", address="")
    assert f"Remove the recovery address of {ALICE}" in proof.text
    page = await root.prove(proof)
    assert "Recovery address none Change" in page.text


async def test_aliases_are_added_and_removed(site: Site, root: Admin, chief: Admin) -> None:
    page = await chief.do(f"{PAGE}/new-alias", alias="Sales@Example.TEST")
    assert f"{ALICE} has the alias sales@example.test now." in page.text
    for admin, alias, told in (
        (chief, "sales@other.test", "not in one of your domains"),
        (chief, "abuse@example.test", "speaks for the whole domain"),
        (root, "x@nowhere.test", "not in one of your domains"),
        (root, EVE, "an account of its own"),
        (root, "sales@example.test", "another account already"),
        (root, "no address", "no mail address"),
        (root, NASTY, "no mail address"),
        (root, "x" * 10_000, "no mail address"),
    ):
        path = PAGE if told != "another account already" else f"/admin/accounts/{EVE}"
        page = await admin.proof(f"{path}/new-alias", alias=alias)
        assert (page.status, told in page.text) == (409 if page.status == 409 else 422, True), (alias, page.text)
        assert html.escape(alias, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page.html
    await root.get(PAGE)
    page = await root.browser.follow(await root.browser.post(f"{PAGE}/remove-alias", alias="other@example.test"))
    assert "not there any more" in page.text
    proof = await root.browser.follow(await root.browser.post(f"{PAGE}/remove-alias", alias="sales@example.test"))
    assert "Remove the alias sales@example.test" in proof.text
    page = await root.prove(proof)
    assert f"{ALICE} no longer has the alias sales@example.test." in page.text
    aliases.add_alias(site.store, ALICE, "far@other.test", **ACTOR)
    await chief.get(PAGE)
    page = await chief.browser.follow(await chief.browser.post(f"{PAGE}/remove-alias", alias="far@other.test"))
    assert page.path == PAGE
    assert "not in one of your domains" in page.text


async def test_an_account_is_added_without_a_password(site: Site, chief: Admin, root: Admin) -> None:
    proof = await chief.proof("/admin/new-account", login="New@Example.TEST", recovery="new@elsewhere.test")
    assert "with the recovery address new@elsewhere.test" in proof.text
    page = await chief.prove(proof)
    assert page.path == "/admin/accounts/new@example.test"
    assert "send its owner a link" in page.text
    assert not show_account(site.store, "new@example.test").has_web_password
    remove_account(site.store, "new@example.test", **ACTOR)
    aliases.add_alias(site.store, ALICE, "alias@example.test", **ACTOR)
    for admin, login, told in (
        (chief, "new@example.test", "Somebody had this address before"),
        (chief, "x@other.test", "not in one of your domains"),
        (root, "x@nowhere.test", "not one of the domains"),
        (root, ALICE, "an account with this address already"),
        (root, "alias@example.test", "alias of another account"),
        (root, "", "no mail address"),
        (root, NASTY, "no mail address"),
    ):
        page = await admin.proof("/admin/new-account", login=login, recovery="kept@elsewhere.test")
        assert (page.status, told in page.text) == (422, True), (login, page.text)
        assert 'value="kept@elsewhere.test"' in page.html
    page = await root.proof("/admin/new-account", login="y@example.test", recovery="nonsense")
    assert page.status == 422


async def test_two_who_add_the_same_account_do_not_both(site: Site, root: Admin) -> None:
    proof = await root.proof("/admin/new-account", login="new@example.test", recovery="")
    add_account(site.store, "new@example.test", None, **ACTOR)
    page = await root.prove(proof)
    assert (page.status, "an account with this address already" in page.text) == (409, True)


async def test_a_clash_in_the_store_is_said_in_words(site: Site, root: Admin, monkeypatch) -> None:
    proof = await root.proof("/admin/new-domain", name="new.test")

    def clash(*_: object, **__: object) -> None:
        raise Clash

    monkeypatch.setattr(administration, "perform", clash)
    page = await root.prove(proof)
    assert (page.status, "changed at this moment in another place" in page.text) == (409, True)
    monkeypatch.setattr(administration, "ask", clash)
    page = await root.proof("/admin/new-domain", name="new.test")
    assert (page.status, 'value="new.test"' in page.html) == (422, True)


# ---- domains and the site


async def test_a_domain_is_added_changed_and_removed_with_its_accounts(site: Site, root: Admin) -> None:
    page = await root.do("/admin/new-domain", name="Third.Test")
    assert page.path == "/admin/domains/third.test"
    for name, told in (("third.test", "here already"), ("no domain", "not one of"), (NASTY, "not one of"), ("", "")):
        page = await root.proof("/admin/new-domain", name=name)
        assert (page.status, told in page.text) == (422, True), name
    fields = {"imap": "1", "smtp": "1", "were": "enabled imap pop3 smtp", "most": "5", "most_was": ""}
    proof = await root.proof("/admin/domains/third.test/settings", **fields)
    assert "Change the domain third.test: switched off, POP3 off, at most 5 client passwords" in proof.text
    await root.prove(proof)
    view = show_domain(site.store, "third.test")
    assert (view.enabled, view.pop3, view.max_app_passwords) == (False, False, 5)
    page = await root.proof("/admin/domains/other.test/remove", typed="third.test")
    assert (page.status, "Type other.test" in page.text, "accounts go with it: 1" in page.text) == (422, True, True)
    proof = await root.proof("/admin/domains/other.test/remove", typed="other.test")
    assert "with all its accounts (1)" in proof.text
    page = await root.prove(proof)
    assert "other.test is removed, with its accounts: 1." in page.text
    assert {view.name for view in list_domains(site.store)} == {"example.test", "third.test"}
    page = await root.do("/admin/domains/third.test/remove", typed="third.test")
    assert "with its accounts: 0" in page.text


async def test_a_domain_with_equals_in_it_is_neither_removed_nor_switched_off(site: Site, root: Admin) -> None:
    page = await root.proof("/admin/domains/example.test/remove", typed="example.test")
    assert (page.status, "own role or a higher one" in page.text) == (409, True)
    fields = {"imap": "1", "pop3": "1", "smtp": "1", "were": "enabled imap pop3 smtp", "most": "", "most_was": ""}
    page = await root.proof("/admin/domains/example.test/settings", **fields)
    assert (page.status, "own role or a higher one" in page.text) == (409, True)
    assert 'name="enabled" value="1">' in page.html  # as it was left


async def test_the_most_of_the_site_holds_for_a_domain_administrator(site: Site, root: Admin, chief: Admin) -> None:
    await root.do("/admin/site/settings", most="3", most_was="")
    assert show_site(site.store).max_app_passwords == 3
    fields = {**ALL_ON, **WERE, "most": "4"}
    page = await chief.proof(f"{PAGE}/settings", **fields)
    assert (page.status, "you cannot allow more" in page.text, 'value="4"' in page.html) == (409, True, True)


# ---- who is slowed down


async def test_who_is_slowed_down_is_listed_and_let_go_on(site: Site, root: Admin, chief: Admin) -> None:
    subjects = [("source", "203.0.113.9"), ("network", "198.51.100.0/24")]
    slow_down(site, *subjects, *[("account", str(site.account_id(login))) for login in (ALICE, EVE)])
    page = await root.get("/admin/throttle")
    for told in ("203.0.113.9", "198.51.100.0/24", ALICE, EVE):
        assert told in page.text
    page = await chief.get("/admin/throttle")
    assert ALICE in page.text
    assert "203.0.113.9" not in page.text
    assert EVE not in page.text
    page = await chief.do("/admin/throttle", subject=ALICE)
    assert f"{ALICE} can go on. Counts forgotten: 1." in page.text
    page = await root.do("/admin/throttle", subject="203.0.113.9")
    assert "203.0.113.9 can go on." in page.text
    assert {view.subject for view in throttled(site.store, now=site.clock())} == {"198.51.100.0/24", EVE}
    for subject in ("nonsense", NASTY, "", "example.test"):
        page = await root.proof("/admin/throttle", subject=subject)
        assert (page.status, "an IP address or a network" in page.text) == (422, True), subject
        assert "<script>alert" not in page.html
    proof = await root.proof("/admin/throttle", everything="1")
    assert "Let everybody who is slowed down go on at once" in proof.text
    page = await root.prove(proof)
    assert "Everybody can go on." in page.text
    assert throttled(site.store, now=site.clock()) == []


# ---- finding, and the audit log


async def test_accounts_are_found_page_by_page(site: Site, root: Admin) -> None:
    for number in range(120):
        add_account(site.store, f"p{number:03}@{'example' if number % 2 else 'other'}.test", None, **ACTOR)
    aliases.add_alias(site.store, EVE, "bravo@example.test", **ACTOR)
    found, path = [], "/admin/accounts?text=P"
    while path:
        page = await root.get(path)
        found += [login for login in (f"p{number:03}@" for number in range(120)) if f">{login}" in page.html]
        path = following(page)
    assert found == sorted(found)
    assert len(found) == 120
    page = await root.get("/admin/accounts?text=p&domain=other.test")
    assert "p001@" not in page.text
    assert "p000@other.test" in page.text
    assert EVE in (await root.get("/admin/accounts?text=bravo@example.test")).text
    for query in (
        f"text={quote(NASTY)}",
        "domain=nowhere.test",
        f"domain={quote(NASTY)}",
        "text=" + "x" * 5000,
        "after=%00",
    ):
        page = await root.get(f"/admin/accounts?{query}")
        assert page.status == 200
        assert "<script>alert" not in page.html


async def test_logins_of_any_letters_have_a_page(site: Site, root: Admin) -> None:
    for login in (
        "a/b@example.test",
        "a%2fb?#x@example.test",
        "王芳@example.test",
        "a/role@example.test",
        "a'b@example.test",
    ):
        add_account(site.store, login, None, **ACTOR)
        listed = await root.get(f"/admin/accounts?text={quote(login)}")
        at = f"/admin/accounts/{quote(login, safe='@')}"
        assert f'href="{at}"' in listed.html, login
        page = await root.get(at)
        assert (page.status, login in page.text) == (200, True)
        assert f'value="{at.replace("%2F", "/")}"' in page.html or "next" in page.html
        page = await root.do(f"{at}/sign-out")
        assert f"Browsers of {login} signed out: 0." in page.text
    assert (await root.get(f"/admin/accounts/{ALICE.upper()}")).to == PAGE


@pytest.mark.parametrize("path", ["nobody@example.test", "x", "%00@x", "x" * 400, quote(NASTY, safe="")])
async def test_an_account_that_is_not_there_is_said_so(site: Site, root: Admin, path: str) -> None:
    for more in ("", "/settings", "/erase"):
        page = await root.get(f"/admin/accounts/{path}{more}")
        assert (page.status, "no such account" in page.text) == (404, True)
        page = await root.get(f"/admin/domains/{path}{more}")
        assert page.status == 404


async def test_the_audit_log_is_read_backwards_page_by_page(site: Site, root: Admin) -> None:
    for number in range(130):
        add_account(site.store, f"p{number:03}@example.test", None, **ACTOR, now=site.clock() + number)
    page, told = await root.get("/admin/audit"), 0
    assert "by root@example.test" not in page.text
    assert "p129@example.test" in page.text
    while True:
        told += page.html.count("<tr class=")
        if 'rel="next"' not in page.html:
            break
        page = await root.get(
            html.unescape(page.html.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0])
        )
    assert told == len(list(audit(site.store)))
    remove_account(site.store, "p000@example.test", **ACTOR)
    page = await root.get("/admin/audit?login=P000@example.test")
    assert "The account was removed" in page.text
    for query in (
        "at=nan&before=1",
        "at=x&before=y",
        "at=1e400&before=" + "9" * 20,
        "before=-1",
        f"login={quote(NASTY)}",
    ):
        assert (await root.get(f"/admin/audit?{query}")).status == 200


@pytest.mark.parametrize(
    ("actor", "told"),
    [
        ("api:7", "by a program with API token 7"),
        ("api:7:chief@example.test", "by a program with API token 7 of chief@example.test"),
        ("cli:root", "by root at the command line"),
    ],
)
async def test_the_audit_log_names_who_did_it(site: Site, root: Admin, actor: str, told: str) -> None:
    add_account(site.store, "p@example.test", None, actor=actor, now=site.clock())
    text = (await root.get("/admin/audit?login=p@example.test")).text.replace("\u2068", "").replace("\u2069", "")
    assert (told in text, "token 7 of" in text) == (True, " of " in told)


async def test_the_audit_log_of_a_domain_is_read_page_by_page_by_its_administrator(site: Site, chief: Admin) -> None:
    with site.store.transaction() as tx:
        tx.write("UPDATE domains SET created_at = 1")
    for number in range(70):
        add_account(site.store, f"p{number:03}@example.test", None, **ACTOR, now=site.clock() + number)
        add_account(site.store, f"p{number:03}@other.test", None, **ACTOR, now=site.clock() + number)
    page = await chief.get("/admin/domains/example.test")
    assert 'href="/admin/domains/example.test/audit"' in page.html
    found, path = set(), "/admin/domains/example.test/audit"
    while path:
        page = await chief.get(path)
        assert "Audit log of example.test" in page.text and "@other.test" not in page.text
        found |= {number for number in range(70) if f"p{number:03}@example.test" in page.text}
        path = following(page)
    assert found == set(range(70))
    for query in ("at=nan&before=1", "before=-1"):
        assert (await chief.get(f"/admin/domains/EXAMPLE.test/audit?{query}")).status == 200


async def test_what_programs_call_themselves_is_text_everywhere(site: Site, root: Admin) -> None:
    observed(site, ALICE, client=NASTY)
    for path in (PAGE, "/admin/report", f"{PAGE}/policy", "/admin/site/policy"):
        site.change(ALICE, policy=PolicyLevel.OBSERVE)
        set_site(site.store, PolicyChange(policy=PolicyLevel.OBSERVE), **ACTOR)
        page = await root.get(path)
        assert "<script>alert" not in page.html
        assert "&lt;script&gt;alert" in page.html, path


async def test_every_page_speaks_chinese(site: Site) -> None:
    roleholders.set_role(site.store, EVE, Role.AUDITOR, **ACTOR)
    root = await administrator(site, Role.SITE_ADMIN, language="zh")
    mint(site, "Phone")
    for path in (PAGE, "/admin/site", "/admin/domains/example.test", f"{PAGE}/role", f"{PAGE}/policy"):
        page = await root.get(path)
        assert 'lang="zh-CN"' in page.html
        for english in ("Change", "Policy", "Accounts", "none", "enforced"):
            assert f" {english} " not in page.text, f"{path}: {english}"
    proof = await root.proof(f"{PAGE}/settings", **{**ALL_ON, **WERE, "most": "4"})
    assert f"以管理员身份：修改 {ALICE}：专用密码最多 4 个" in proof.text
