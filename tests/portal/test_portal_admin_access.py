"""Who comes to which page of administration, and who may begin what: every route, for everybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from portal_administrators import ACTOR, ALICE, EVE, Admin, administrator, populated, signed_in
from portal_site import PASSWORD, Reply, Site
from test_portal_guards import everything

from mailauth.accounts import roleholders
from mailauth.accounts.roles import Denial, Role
from mailauth.portal.pages import admin

OWN, FOREIGN = (ALICE, "example.test"), (EVE, "other.test")
READ = {
    "/admin/accounts",
    "/admin/accounts/{login:path}",
    "/admin/domains",
    "/admin/domains/{name}",
    "/admin/domains/{name}/audit",
    "/admin/site",
    "/admin/report",
    "/admin/report.csv",
    "/admin/throttle",
    "/admin/audit",
}
OF_SITE = {
    "/admin/accounts/{login:path}/role",
    "/admin/accounts/{login:path}/recovery-address",
    "/admin/accounts/{login:path}/export",
    "/admin/accounts/{login:path}/erase",
    "/admin/accounts/{login:path}/revoke-token",
    "/admin/new-domain",
    "/admin/domains/{name}/remove",
    "/admin/site/settings",
    "/admin/site/policy",
    "/admin/site/second-step",
    "/admin/audit",
    "/admin/report.csv",
}
TYPED = {
    "login": "new@example.test",
    "recovery": "",
    "name": "new.test",
    "policy": "observe",
    "demand": "1",
    "anyway": "1",
    "most": "3",
    "role": "auditor",
    "address": "somebody@elsewhere.test",
    "alias": "new@example.test",
    "id": "1",
    "subject": "192.0.2.1",
    "everything": "1",
}
WHY = {
    Denial.NO_ROLE: "for administrators and auditors",
    Denial.READ_ONLY: "You are an auditor",
    Denial.NOT_YOUR_DOMAIN: "not in one of your domains",
    Denial.EQUAL_OR_HIGHER: "own role or a higher one",
    Denial.SITE_ONLY: "Only a site administrator",
}


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    site = Site(sqlite_database.store, ring, kinds=("totp", "sms"))
    populated(site)
    return site


def routes(of: tuple[str, str]) -> Iterator[tuple[str, str, bool, bool]]:
    """Pattern, address, whether it is got, whether it is posted to."""
    login, name = of
    for page in admin.PAGES:
        path = page.path.replace("{login:path}", login).replace("{name}", name)
        yield page.path, path, page.get is not None, page.post is not None


def says(answer: Reply, why: Denial, where: str) -> None:
    assert answer.status == 403, f"{where}: {answer.status} {answer.text}"
    assert WHY[why] in answer.text, f"{where}: {answer.text}"


async def typed(admin: Admin, path: str, of: tuple[str, str]) -> Reply:
    """Post everything that any form has, with the right token."""
    page = await admin.get("/admin/throttle")
    named = of[1] if "domains" in path else of[0]
    return await admin.browser.send(path, {"csrf": page.csrf, "typed": named, **TYPED})


@pytest.mark.parametrize("of", [OWN, FOREIGN], ids=["own", "foreign"])
async def test_nobody_who_is_not_signed_in_comes_to_any_of_them(site: Site, of) -> None:
    before, browser = everything(site), site.browser()
    for _, path, is_got, is_posted in routes(of):
        if is_got:
            assert (await browser.get(path)).to.startswith("/signin?next=/admin"), path
        if is_posted:
            assert (await browser.send(path, TYPED)).to.partition("?")[0] == "/signin", path
    assert everything(site) == before


@pytest.mark.parametrize("of", [OWN, FOREIGN], ids=["own", "foreign"])
async def test_a_user_is_told_that_they_are_not_for_him(site: Site, of) -> None:
    user = site.browser()
    await user.sign_in()
    assert "/admin" not in (await user.get("/")).html
    token, before = (await user.get("/mode")).csrf, everything(site)
    for _, path, is_got, is_posted in routes(of):
        if is_got:
            says(await user.get(path), Denial.NO_ROLE, path)
        if is_posted:
            says(await user.send(path, {"csrf": token, **TYPED}), Denial.NO_ROLE, path)
    assert everything(site) == before


async def test_an_auditor_sees_everything_and_begins_nothing(site: Site) -> None:
    auditor = await administrator(site, Role.AUDITOR)
    before = everything(site)
    for of in (OWN, FOREIGN):
        for pattern, path, is_got, is_posted in routes(of):
            if is_got and pattern in READ:
                page = await auditor.get(path)
                assert page.status == 200, path
                forms = page.html.count('<form method="post"')
                assert forms == (0 if path.endswith(".csv") else 2), f"{path}: more than the language and signing out"
                assert "/settings" not in page.html
            elif is_got:
                says(await auditor.get(path), Denial.READ_ONLY, path)
            if is_posted:
                says(await typed(auditor, path, of), Denial.READ_ONLY, path)
    assert everything(site) == before


async def test_a_domain_administrator_has_his_own_domains_and_less_than_the_site(site: Site) -> None:
    chief = await administrator(site, Role.DOMAIN_ADMIN)
    for pattern, path, is_got, _ in routes(OWN):
        if not is_got:
            continue
        answer = await chief.get(path)
        if pattern in OF_SITE:
            says(answer, Denial.SITE_ONLY, path)
        else:
            assert answer.status == 200, f"{path}: {answer.text}"


async def test_a_domain_administrator_sees_and_does_nothing_elsewhere(site: Site) -> None:
    chief = await administrator(site, Role.DOMAIN_ADMIN)
    before = everything(site)
    for pattern, path, is_got, is_posted in routes(FOREIGN):
        if "{" not in pattern:
            continue
        why = Denial.SITE_ONLY if pattern in OF_SITE else Denial.NOT_YOUR_DOMAIN
        if is_got:
            says(await chief.get(path), why, path)
        if is_posted:
            says(await typed(chief, path, FOREIGN), why, path)
    for path in ("/admin/accounts?domain=other.test", "/admin/report?domain=other.test", f"/admin/audit?login={EVE}"):
        says(await chief.get(path), Denial.NOT_YOUR_DOMAIN, path)
    says(await chief.get("/admin/report.csv?domain=other.test"), Denial.NOT_YOUR_DOMAIN, "file")
    for missing in ("accounts/nobody@other.test", "accounts/nobody@nowhere.test", "domains/nowhere.test"):
        says(
            await chief.get(f"/admin/{missing}"),
            Denial.NOT_YOUR_DOMAIN,
            "what is not there is told no more than what is",
        )
    assert (await chief.get("/admin/accounts/nobody@example.test")).status == 404
    assert EVE not in (await chief.get("/admin/accounts")).html
    assert EVE not in (await chief.get("/admin/accounts?text=eve")).html.replace('value="eve"', "")
    assert "other.test" not in (await chief.get("/admin/domains")).html
    says(await typed(chief, "/admin/throttle", FOREIGN), Denial.SITE_ONLY, "everything")
    assert everything(site) == before


async def test_a_site_administrator_comes_to_all_of_them(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    for of in (OWN, FOREIGN):
        for _, path, is_got, _ in routes(of):
            if is_got:
                assert (await root.get(path)).status == 200, path


@pytest.mark.parametrize("role", [Role.SITE_ADMIN, Role.DOMAIN_ADMIN])
async def test_nobody_begins_anything_against_an_equal_or_himself(site: Site, role: Role) -> None:
    """Nor a domain administrator against somebody above him."""
    one = await administrator(site, role)
    other = await administrator(site, role, "equal@example.test")
    targets = [one.login, other.login]
    if role is Role.DOMAIN_ADMIN:
        targets.append((await administrator(site, Role.SITE_ADMIN)).login)
    await one.get("/")
    before = everything(site)
    for login in targets:
        page = await one.get(f"/admin/accounts/{login}")
        assert page.status == 200
        assert f"/admin/accounts/{login}/" not in page.html
        for pattern, path, is_got, is_posted in routes((login, "example.test")):
            if "{login:path}/" not in pattern or (role is Role.DOMAIN_ADMIN and pattern in OF_SITE):
                continue
            if is_got:
                says(await one.get(path), Denial.EQUAL_OR_HIGHER, path)
            if is_posted:
                says(await typed(one, path, (login, "example.test")), Denial.EQUAL_OR_HIGHER, path)
    assert everything(site) == before


async def test_a_post_without_the_token_of_its_session_begins_nothing(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    before = everything(site)
    for _, path, _, is_posted in routes(OWN):
        if is_posted:
            for token in ("", "x"):
                answer = await root.browser.send(path, {"csrf": token, "typed": ALICE, **TYPED})
                assert answer.status == 403, path
                assert "Nothing was changed" in answer.text or "out of date" in answer.text, path
    assert everything(site) == before


async def test_what_was_typed_into_a_form_that_was_out_of_date_is_still_there(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    for path, name, value in (
        ("/admin/new-account", "login", "someone@example.test"),
        ("/admin/new-domain", "name", "third.test"),
        (f"/admin/accounts/{ALICE}/new-alias", "alias", "sales@example.test"),
        (f"/admin/accounts/{ALICE}/recovery-address", "address", "alice@elsewhere.test"),
        (f"/admin/accounts/{ALICE}/role", "domains", "third.test"),
        (f"/admin/accounts/{ALICE}/erase", "typed", ALICE[:-1]),
        ("/admin/throttle", "subject", "192.0.2.99"),
    ):
        page = await root.browser.send(path, {"csrf": "old", name: value})
        assert page.status == 403, path
        assert value in page.html, path


async def test_whoever_signed_in_by_text_message_is_told_what_to_do(site: Site) -> None:
    login = "root@example.test"
    site.add(login)
    roleholders.set_role(site.store, login, Role.SITE_ADMIN, actor=ACTOR)
    for language, told in (("en", "Text messages are not"), ("zh", "短信验证码不能用于管理")):
        browser = site.browser(language=language)
        await browser.sign_in(login)
        assert "/admin/accounts" in (await browser.get("/")).html
        for path in ("/admin/accounts", "/admin/site/policy"):
            page = await browser.get(path)
            assert page.status == 403
            assert told in page.text
            assert 'href="/security"' in page.html


async def test_a_role_that_is_taken_away_before_the_proof_is_given_does_nothing(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    chief = await administrator(site, Role.DOMAIN_ADMIN)
    proof = await chief.proof(f"/admin/accounts/{ALICE}/sign-out")
    await root.do(f"/admin/accounts/{chief.login}/role", role="user")
    before = everything(site)
    answer = await chief.browser.post(proof.path, way="totp", code=chief.code())
    assert answer.status == 303
    assert (await chief.browser.follow(answer)).path == "/signin"
    assert everything(site) == before
    again = await signed_in(site, chief.login, chief.app)
    says(await again.get("/admin/accounts"), Denial.NO_ROLE, "list")


async def test_a_domain_that_is_taken_away_ends_what_was_begun_there(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    chief = await administrator(site, Role.DOMAIN_ADMIN, domains=("example.test", "other.test"))
    assert (await chief.get(f"/admin/accounts/{EVE}")).status == 200
    await root.do(f"/admin/accounts/{chief.login}/role", role="domain-admin", domains="example.test")
    again = await signed_in(site, chief.login, chief.app)
    says(await again.get(f"/admin/accounts/{EVE}"), Denial.NOT_YOUR_DOMAIN, EVE)


async def test_a_role_that_the_account_gets_after_the_act_was_begun_protects_it(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    proof = await root.proof(f"/admin/accounts/{ALICE}/settings", were="enabled", most="", most_was="")
    roleholders.set_role(site.store, ALICE, Role.SITE_ADMIN, actor=ACTOR)
    says(await root.prove(proof), Denial.EQUAL_OR_HIGHER, "settings")


async def test_the_proof_takes_the_app_again_and_no_password(site: Site) -> None:
    root = await administrator(site, Role.SITE_ADMIN)
    proof = await root.proof(f"/admin/accounts/{ALICE}/sign-out")
    assert 'type="password"' not in proof.html
    assert (await root.browser.post(proof.path, way="web-password", password=PASSWORD)).status == 410
    assert (await root.browser.post(proof.path, perform="1")).status == 410
    assert (await root.browser.post(proof.path, way="totp", code="000000")).status == 422
