"""Policy from `optional` through `observe` to `enforced`, the report, and what the user sees of it."""

from __future__ import annotations

import csv
import html
import io
import json
from datetime import UTC, datetime

import pytest
from portal_administrators import ALICE, EVE, Admin, administrator, observed, populated
from portal_site import START, Browser, Reply, Site

from mailauth.accounts.changes import DomainChange, PolicyChange
from mailauth.accounts.domains import set_domain, show_domain
from mailauth.accounts.mailboxes import show_account
from mailauth.accounts.roles import Role
from mailauth.accounts.site import set_site, show_site
from mailauth.interfaces import PolicyLevel

ACTOR = {"actor": "test"}
DAY_S = 86400.0
PLACES = {
    "account": f"/admin/accounts/{ALICE}",
    "domain": "/admin/domains/example.test",
    "site": "/admin/site",
}
TOMORROW = datetime.fromtimestamp(START + DAY_S, UTC).date().isoformat()
NEXT_MONTH = datetime.fromtimestamp(START + 30 * DAY_S, UTC).date().isoformat()
NEXT_MONTH_AT = datetime.fromisoformat(NEXT_MONTH).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    site = Site(sqlite_database.store, ring, kinds=("totp",))
    populated(site)
    return site


@pytest.fixture
async def root(site: Site) -> Admin:
    return await administrator(site, Role.SITE_ADMIN)


@pytest.fixture
async def alice(site: Site) -> Browser:
    browser = site.browser()
    await browser.sign_in()
    return browser


def policy_of(site: Site, where: str) -> tuple[str, float | None]:
    match where:
        case "account":
            view = show_account(site.store, ALICE)
        case "domain":
            view = show_domain(site.store, "example.test")
        case _:
            view = show_site(site.store)
    return view.policy, view.enforce_from


def second_of(site: Site, where: str) -> tuple[bool, float | None]:
    match where:
        case "account":
            view = show_account(site.store, ALICE)
        case "domain":
            view = show_domain(site.store, "example.test")
        case _:
            view = show_site(site.store)
    return view.two_factor, view.two_factor_from


@pytest.mark.parametrize("where", PLACES)
async def test_enforcing_at_once_leads_through_observing(site: Site, root: Admin, alice: Browser, where: str) -> None:
    at = PLACES[where]
    page = await root.proof(f"{at}/policy", policy="enforced", day="")
    assert (page.status, "Observe first?" in page.text) == (409, True)
    assert 'value="enforced" checked' in page.html
    proof = await root.browser.follow(await root.browser.post(f"{at}/policy", policy="enforced", instead="observe"))
    assert "policy “Observe”" in proof.text
    assert (await root.prove(proof)).path == at
    assert policy_of(site, where) == ("observe", None)
    assert 'href="/mode"' in (await alice.get("/passwords")).html

    observed(site, ALICE)
    page = await root.proof(f"{at}/policy", policy="enforced", day="")
    assert (page.status, "This stops programs at once" in page.text) == (409, True)
    assert "used the web password in the last 30 days: 1 (accounts: 1)" in page.text
    proof = await root.browser.follow(await root.browser.post(f"{at}/policy", policy="enforced", anyway="1"))
    assert (await root.prove(proof)).path == at
    assert policy_of(site, where) == ("enforced", None)
    page = await alice.get("/passwords")
    assert 'href="/mode"' not in page.html
    told = {"account": "for your account", "domain": "of your domain", "site": "of this site"}[where]
    assert told in page.text
    assert (await alice.post("/mode", mode="off")).status == 409


@pytest.mark.parametrize("where", PLACES)
async def test_where_nothing_would_stop_it_is_enforced_without_more_ado(site: Site, root: Admin, where: str) -> None:
    await root.do(f"{PLACES[where]}/policy", policy="observe")
    await root.do(f"{PLACES[where]}/policy", policy="enforced", day="")
    assert policy_of(site, where) == ("enforced", None)


@pytest.mark.parametrize("where", PLACES)
async def test_a_date_of_enforcement_is_set_shown_moved_and_taken_back(
    site: Site, root: Admin, alice: Browser, where: str
) -> None:
    at = PLACES[where]
    proof = await root.proof(f"{at}/policy", policy="enforced", day=NEXT_MONTH)
    assert "policy “Enforced”, from" in proof.text
    page = await root.prove(proof)
    assert policy_of(site, where) == ("enforced", NEXT_MONTH_AT)
    assert "Enforced · from" in page.text
    page = await alice.get("/passwords")
    assert "mail programs get in with a client password only. Generate one" in page.text
    assert 'href="/mode"' in page.html
    page = await root.get(f"{at}/policy")
    assert f'value="{NEXT_MONTH}"' in page.html
    page = await root.proof(f"{at}/policy", policy="enforced", day=NEXT_MONTH)
    assert "it is like that already" in page.text
    await root.do(f"{at}/policy", policy="enforced", day=TOMORROW)
    assert policy_of(site, where)[1] < NEXT_MONTH_AT
    await root.do(f"{at}/policy", policy="optional", day=TOMORROW)
    assert policy_of(site, where) == ("optional", None)


@pytest.mark.parametrize("day", ["yesterday", "2020-01-01", "2027-13-40", "99999-01-01", "9999-12-31T", "\u0662"])
@pytest.mark.parametrize("form", ["policy", "second-step"])
async def test_a_date_that_is_none_is_asked_for_again(site: Site, root: Admin, day: str, form: str) -> None:
    page = await root.proof(f"/admin/site/{form}", policy="enforced", demand="1", day=day)
    assert (page.status, "no date in the future" in page.text) == (422, True)
    assert f'value="{day}"' in page.html
    assert policy_of(site, "site") == ("optional", None)


@pytest.mark.parametrize("policy", ["", "strict", "ENFORCED"])
async def test_a_policy_that_is_none_is_asked_for_again(site: Site, root: Admin, policy: str) -> None:
    page = await root.proof("/admin/site/policy", policy=policy)
    assert (page.status, "Choose one of the three" in page.text) == (422, True)


@pytest.mark.parametrize("where", PLACES)
async def test_a_second_step_is_demanded_at_once_after_a_warning_or_from_a_day(
    site: Site, root: Admin, where: str
) -> None:
    at = PLACES[where]
    page = await root.proof(f"{at}/second-step", demand="1", day="")
    assert (page.status, "This stops programs at once" in page.text) == (409, True)
    assert 'name="demand" value="1" checked' in page.html
    await root.do(f"{at}/second-step", demand="1", day=NEXT_MONTH)
    assert second_of(site, where) == (True, NEXT_MONTH_AT)
    page = await root.get(f"{at}/second-step")
    assert f'value="{NEXT_MONTH}"' in page.html
    await root.do(f"{at}/second-step", demand="1", anyway="1")
    demanded, since = second_of(site, where)
    assert demanded
    assert since <= site.clock()
    await root.do(f"{at}/second-step")
    assert second_of(site, where) == (False, None)


async def test_whoever_a_second_step_is_demanded_of_is_led_to_it(site: Site, root: Admin, alice: Browser) -> None:
    await root.do(f"/admin/accounts/{ALICE}/second-step", demand="1", anyway="1")
    assert (await alice.get("/passwords")).to == "/enrol"


async def test_a_domain_administrator_does_not_go_below_the_site(site: Site) -> None:
    chief = await administrator(site, Role.DOMAIN_ADMIN)
    set_site(site.store, PolicyChange(policy=PolicyLevel.OBSERVE), **ACTOR)
    for at in (PLACES["account"], PLACES["domain"]):
        set_domain(site.store, "example.test", DomainChange(policy=PolicyLevel.OBSERVE), **ACTOR)
        site.change(ALICE, policy=PolicyLevel.OBSERVE)
        page = await chief.proof(f"{at}/policy", policy="optional")
        assert (page.status, "you cannot go below it" in page.text) == (409, True)
        assert 'value="optional" checked' in page.html
    set_site(site.store, PolicyChange(two_factor=True), **ACTOR)
    set_domain(site.store, "example.test", DomainChange(two_factor=True), **ACTOR)
    page = await chief.proof("/admin/domains/example.test/second-step")
    assert (page.status, "you cannot take that back" in page.text) == (409, True)
    await chief.do("/admin/domains/example.test/policy", policy="enforced", day=NEXT_MONTH)
    assert policy_of(site, "domain") == ("enforced", NEXT_MONTH_AT)


# ---- the report


def following(page: Reply) -> str:
    """The address of the next page of a list; "": there is none."""
    begin, found, _ = page.html.partition('rel="next"')
    return html.unescape(begin.rpartition('href="')[2].partition('"')[0]) if found else ""


async def test_the_report_is_read_page_by_page_and_as_a_file(site: Site, root: Admin) -> None:
    logins = sorted(site.add(f"p{number:03}@{'example' if number % 2 else 'other'}.test") for number in range(120))
    observed(site, *logins)
    set_site(site.store, PolicyChange(policy=PolicyLevel.OBSERVE), **ACTOR)
    path, told = "/admin/report", []
    while path:
        page = await root.get(path)
        assert "used the web password in the last 30 days: 120 (accounts: 120)" in page.text
        told += [login for login in logins if f"<bdi>{login}</bdi>" in page.html]
        path = following(page)
    assert sorted(told) == logins
    file = await root.get("/admin/report.csv")
    assert file.response.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.response.headers["cache-control"] == "no-store"
    assert file.html.startswith("\ufeffAccount,Program,Service,Network,First seen,Last seen,Times\r\n")
    rows = list(csv.DictReader(io.StringIO(file.html.removeprefix("\ufeff"))))
    assert sorted(row["Account"] for row in rows) == logins
    assert (rows[0]["Service"], rows[0]["Network"], rows[0]["Times"]) == ("IMAP", "192.0.2.0/24", "7")
    file = await root.get("/admin/report.csv?domain=other.test")
    assert file.html.count("\r\n") == 61
    assert 'filename="mailauth-report-other.test.csv"' in file.response.headers["content-disposition"]


async def test_the_file_is_as_long_as_the_report(site: Site, root: Admin, monkeypatch) -> None:
    """Read in several pieces, the last of them full."""
    from mailauth.accounts import overseeing  # noqa: PLC0415

    logins = [site.add(f"p{number:03}@example.test") for number in range(12)]
    observed(site, *logins)
    for rows in (1, 5, 12, 13):
        monkeypatch.setattr(overseeing, "DOWNLOAD_ROWS", rows)
        file = await root.get("/admin/report.csv")
        assert file.html.count("\r\n") == 13


@pytest.mark.parametrize("client", ['=cmd|" /C calc"!A0', "+1", "-1", "@SUM(A1)", "\t=1", 'a"b,c\nd'])
async def test_no_cell_of_the_file_is_a_formula(site: Site, root: Admin, client: str) -> None:
    observed(site, ALICE, client=client)
    text = (await root.get("/admin/report.csv")).html.removeprefix("\ufeff")
    ((_, row), *_) = [list(csv.reader(io.StringIO(text, newline="")))]
    assert row[1] in {client, f"'{client}"}
    assert row[1][0] not in "=+-@\t"


async def test_who_is_held_to_client_passwords_already_is_not_in_it(site: Site, root: Admin) -> None:
    observed(site, ALICE, EVE)
    observed(site, ALICE, client="Long gone", at=site.clock() - 60 * DAY_S)
    page = await root.get("/admin/report")
    assert "Long gone" not in page.text
    assert "Long gone" in (await root.get("/admin/report?days=90")).text
    site.change(ALICE, mode=True)
    page = await root.get("/admin/report")
    assert ALICE not in page.text
    assert EVE in page.text


async def test_a_report_without_observing_says_so_and_leads_there(site: Site, root: Admin) -> None:
    page = await root.get("/admin/report")
    assert "Nothing is observed here" in page.text
    assert "/admin/site/policy?policy=observe" in page.html
    assert 'value="observe" checked' in (await root.get("/admin/site/policy?policy=observe")).html
    page = await root.get("/admin/report?domain=other.test")
    assert "/admin/domains/other.test/policy?policy=observe" in page.html
    set_site(site.store, PolicyChange(policy=PolicyLevel.OBSERVE), **ACTOR)
    for path in ("/admin/report", "/admin/report?domain=other.test"):
        assert "No program has used the web password in the last 30 days" in (await root.get(path)).text


async def test_a_domain_administrator_has_the_report_of_his_domains(site: Site) -> None:
    chief = await administrator(site, Role.DOMAIN_ADMIN)
    observed(site, ALICE, EVE)
    page = await chief.get("/admin/report")
    assert ALICE in page.text
    assert EVE not in page.text
    assert (await chief.get("/admin/report.csv")).status == 403
    assert ALICE in (await chief.get("/admin/report.csv?domain=example.test")).html
    both = ("example.test", "other.test")
    two = await administrator(site, Role.DOMAIN_ADMIN, "two@example.test", domains=both)
    page = await two.get("/admin/report")
    assert "Choose one" in page.text
    assert all(f"/admin/report?domain={name}" in page.html for name in both)
    assert EVE in (await two.get("/admin/report?domain=other.test")).text


BAD_KEYS = (
    "x",
    "[]",
    "{}",
    "null",
    "[1,2,3,4,5,6]",
    json.dumps([1, "k", "n", "s", "c", "0"]),
    json.dumps([True, "k", "n", "s", "c", 0]),
    json.dumps([2**70, "k", "n", "s", "c", 0]),
    json.dumps([1, "\0", "n", "s", "c", 0]),
    "[" * 900,
    "9" * 5000,
)


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_page_that_cannot_be_is_the_first(site: Site, root: Admin, key: str) -> None:
    observed(site, ALICE)
    page = await root.browser.client.get("/admin/report", params={"after": key, "days": key})
    assert page.status_code == 200
    assert ALICE in page.text


async def test_a_report_of_a_domain_that_is_not_there_is_said_so(site: Site, root: Admin) -> None:
    for name in ("nowhere.test", "<b>", "x" * 5000, "%00"):
        for path in ("/admin/report", "/admin/report.csv"):
            assert (await root.get(f"{path}?domain={name}")).status == 404
