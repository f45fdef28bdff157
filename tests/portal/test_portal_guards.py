"""Who comes to which page: every route, in every stage of signing in, with every form of forgery."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from portal_site import ALICE, BOB, ORIGIN, PASSWORD, Browser, Site
from starlette.applications import Starlette

from mailauth.accounts.portalsessions import Stage
from mailauth.portal.guards import PLACES, Entry, Gate, Page
from mailauth.portal.pages import PAGES

KINDS = ("totp", "recovery-codes")
EVERYBODY = {"/signin", "/language", "/reset"}
TYPED = {"address": ALICE, "password": PASSWORD, "label": "x", "mode": "on", "code": "1", "send": "1", "all": "9"}


def filled(page: Page) -> str:
    """An address of this page."""
    path = page.path.replace("{id:int}", "1").replace("{kind}", "totp")
    return re.sub(r"\{.*?\}", "x", path)


def calls() -> Iterator[tuple[str, str, Page]]:
    for page in PAGES:
        for method, handler in (("GET", page.get), ("POST", page.post)):
            if handler is not None:
                yield method, filled(page), page


async def at_stage(site: Site, stage: Stage | None) -> Browser:
    """A browser whose session has come so far."""
    site.add(BOB)
    site.add(ALICE)
    if stage in {Stage.ENROL, Stage.CODE}:
        site.change(ALICE, two_factor=True)
        if stage is Stage.CODE:
            with site.store.transaction() as tx:
                tx._connection.execute("UPDATE accounts SET created_at = 1, two_factor_from = 1")
    browser = site.browser()
    if stage is Stage.PASSWORD:
        await site.enrol_totp()
    if stage is not None:
        await browser.sign_in()
    return browser


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    return Site(sqlite_database.store, ring, kinds=KINDS)


def everything(site: Site) -> list[tuple[str, list[object]]]:
    """All rows of the store but the sessions, which are looked at."""
    with site.store.reading() as tx:
        names = [row["name"] for row in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(name, [list(row.values()) for row in tx.rows(f"SELECT * FROM {name}")]) for name in names]


def test_no_two_pages_have_one_address() -> None:
    paths = [page.path for page in PAGES]
    assert len(paths) == len(set(paths))


async def test_w01_every_route_there_is_is_one_of_these_pages_or_shows_nothing_of_anybody(site: Site) -> None:
    inner: Any = site.app
    while not isinstance(inner, Starlette):
        inner = inner._app
    pages, others = [], []
    for route in inner.routes:
        gate = getattr(getattr(route, "endpoint", None), "__self__", None)
        if isinstance(gate, Gate):
            assert route.path == gate.page.path
            pages.append(gate.page)
        else:
            others.append(route.path)
    assert pages == list(PAGES)
    static = {file.path for file in site.house.rendering.static.values()}
    assert {path for path in others if not path.startswith("/api")} == static | {"/healthz"}


def test_what_is_open_to_everybody_is_a_short_list() -> None:
    assert {page.path for page in PAGES if None in page.entry.value} == EVERYBODY


async def test_w01_without_a_session_no_page_shows_or_does_anything(site: Site) -> None:
    browser = await at_stage(site, None)
    before = everything(site)
    for method, path, page in calls():
        if None in page.entry.value:
            continue
        if method == "GET":
            answer = await browser.get(path)
            assert answer.to.startswith("/signin"), path
        else:
            answer = await browser.send(path, TYPED)
            assert answer.to in {"/signin", f"/signin?next={path}"}, path
        assert answer.status == 303
        assert ALICE not in answer.html
    assert everything(site) == before


@pytest.mark.parametrize("stage", [Stage.PASSWORD, Stage.ENROL, Stage.CODE])
async def test_w01_w10_a_session_that_is_not_in_opens_the_pages_of_its_stage_alone(site: Site, stage: Stage) -> None:
    browser = await at_stage(site, stage)
    start = await browser.follow(await browser.get("/"))
    token = start.csrf
    assert PLACES[stage] in start.response.url.path
    before = everything(site)
    for method, path, page in calls():
        if stage in page.entry.value:
            continue
        answer = await browser.get(path) if method == "GET" else await browser.send(path, {**TYPED, "csrf": token})
        assert (answer.status, answer.to) == (303, PLACES[stage]), path
    assert everything(site) == before


@pytest.mark.parametrize("stage", [Stage.PASSWORD, Stage.ENROL, Stage.CODE])
async def test_w01_the_token_of_such_a_session_opens_nothing_in_another_way(site: Site, stage: Stage) -> None:
    browser = await at_stage(site, stage)
    token = browser.client.cookies["mailauth-session"]
    for scheme in (f"Bearer {token}", f"Basic {token}", token):
        answer = await site.browser().get("/passwords", Authorization=scheme)
        assert answer.to.startswith("/signin")


async def test_w10_a_demand_that_comes_while_somebody_is_in_shuts_him_out_until_he_has_enrolled(site: Site) -> None:
    browser = await at_stage(site, Stage.IN)
    assert (await browser.get("/passwords")).status == 200
    site.change(ALICE, two_factor=True)
    assert (await browser.get("/passwords")).to == "/enrol"


async def test_w10_enrolment_by_the_web_password_alone_ends_after_the_days_of_the_rules(site: Site) -> None:
    browser = await at_stage(site, Stage.CODE)
    page = await browser.follow(await browser.get("/"))
    assert "An enrolment code is needed" in page.text
    answer = await browser.post("/enrol", code="not-a-code")
    assert "no enrolment code" in answer.text
    for path in ("/enrol/totp/begin", "/enrol/totp/confirm"):
        assert (await browser.post(path, question="x")).to in {"/signin", "/enrol"}


async def test_w13_a_post_without_the_token_of_its_session_does_nothing(site: Site) -> None:
    browser = await at_stage(site, Stage.IN)
    other = site.browser()
    await other.sign_in(BOB)
    foreign = (await other.get("/passwords/new")).csrf
    before = everything(site)
    for method, path, page in calls():
        if method == "POST" and Stage.IN in page.entry.value:
            for forged in ("", "x", foreign, "\u00e9" * 43):
                answer = await browser.send(path, {**TYPED, "csrf": forged})
                assert answer.status in {303, 403, 404, 410}, path
                assert answer.status != 303 or answer.to == "/passwords", path
            answer = await browser.send(path, TYPED)
            assert answer.status in {303, 403, 404, 410}, path
    assert everything(site) == before
    assert (await browser.get("/passwords")).status == 200


FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:8081"},
    {"Origin": "https://localhost:8080"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
    {"Origin": "http://localhost:8080.evil.example"},
)


@pytest.mark.parametrize("headers", FOREIGN)
async def test_w13_a_post_from_elsewhere_does_nothing_even_with_the_right_token(site: Site, headers) -> None:
    browser = await at_stage(site, Stage.IN)
    token = (await browser.get("/passwords/new")).csrf
    before = everything(site)
    for method, path, _ in calls():
        if method == "POST":
            answer = Browser_reply = await browser.client.post(path, data={**TYPED, "csrf": token}, headers=headers)
            assert answer.status_code == 403, path
            assert "Nothing was changed" in Browser_reply.text
            assert answer.headers["content-security-policy"]
    assert everything(site) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ORIGIN},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null"},
    ],
)
async def test_w13_a_post_from_a_page_of_ours_is_done(site: Site, headers) -> None:
    browser = await at_stage(site, Stage.IN)
    token = (await browser.get("/mode")).csrf
    answer = await browser.client.post("/mode", data={"mode": "on", "csrf": token}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/passwords")


async def test_w13_no_get_changes_anything(site: Site) -> None:
    """But when the session was last seen, which is no change that anybody could want to bring about."""
    browser = await at_stage(site, Stage.IN)
    before = everything(site)
    for method, path, _ in calls():
        if method == "GET":
            for query in ("", "?" + "&".join([f"{name}={value}" for name, value in TYPED.items()])):
                await browser.get(path + query)
    assert everything(site) == before


async def test_w19_what_is_sent_is_bounded(site: Site) -> None:
    browser = await at_stage(site, Stage.IN)
    token = (await browser.get("/passwords/new")).csrf
    before = everything(site)
    long = await browser.send("/passwords/new", {"csrf": token, "networks": "x" * 300_000})
    assert (long.status, "That is too much" in long.text) == (413, True)
    many = await browser.send("/passwords/new", {"csrf": token, **{f"f{number}": "" for number in range(300)}})
    assert many.status == 400
    for kind, body in (
        ("application/json", b'{"csrf": "x"}'),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("text/plain", b"csrf=x"),
        ("application/x-www-form-urlencoded", b"csrf=%ff"),
        ("application/x-www-form-urlencoded", "csrf=é".encode("latin-1")),
        ("", b""),
    ):
        answer = await browser.client.post("/mode", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 400, kind
    assert everything(site) == before


@pytest.mark.parametrize(
    "path", ["/nothing", "/passwords/", "/passwords/99999999999999999999999/delete", "//", "/static/x"]
)
async def test_what_is_not_there_is_said_so_in_both_languages(site: Site, path: str) -> None:
    for language, told in (("en", "This page is not there"), ("zh", "页面不存在")):
        answer = await site.browser(language=language).get(path)
        assert answer.status in {404, 303}
        assert answer.status == 303 or told in answer.text


async def test_another_method_is_refused_in_words(site: Site) -> None:
    browser = await at_stage(site, Stage.IN)
    answer = await browser.client.put("/passwords")
    assert answer.status_code == 405
    assert "That does not work here" in answer.text
    assert (await browser.get("/signout")).status == 405


def test_every_entry_has_a_place_to_send_the_others_to() -> None:
    assert set(PLACES) == {None, *Stage}
    for entry in Entry:
        for stage in entry.value:
            assert stage in PLACES
