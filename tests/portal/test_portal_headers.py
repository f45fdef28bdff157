"""What every answer carries, and who is believed about where a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

import httpx2
import pytest
from portal_site import ALICE, PASSWORD, Browser, Site
from test_portal_guards import calls

from mailauth.portal.forwarded import client

POLICY = {
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}
PROXY = ip_network("10.0.0.0/8")


def check(response: httpx2.Response, path: str) -> None:
    headers = response.headers
    assert set(headers["content-security-policy"].split("; ")) == POLICY, path
    assert headers["x-content-type-options"] == "nosniff", path
    assert headers["x-frame-options"] == "DENY", path
    assert headers["referrer-policy"] == "no-referrer", path
    assert headers["cross-origin-opener-policy"] == "same-origin", path
    kept = path.startswith("/static/") and response.status_code == 200
    assert ("immutable" in headers["cache-control"]) is kept, path
    assert kept or headers["cache-control"] == "no-store", path
    assert "server" not in headers, path


async def test_w16_every_answer_forbids_what_our_pages_do_not_need(site: Site, alice: Browser) -> None:
    token = (await alice.get("/passwords/new")).csrf
    for browser, csrf in ((site.browser(bugs=True), "x"), (alice, token)):
        for method, path, _ in calls():
            if path == "/signout":
                continue
            answer = await browser.get(path) if method == "GET" else await browser.send(path, {"csrf": csrf})
            check(answer.response, path)
    for path in (
        "/nothing",
        "/healthz",
        "/static/x/portal.css",
        *[f.path for f in site.house.rendering.static.values()],
    ):
        check((await alice.get(path)).response, path)
    refused = await alice.client.post("/mode", headers={"Origin": "https://evil.example"})
    check(refused, "/mode")


async def test_w16_no_page_holds_code_or_styles_of_its_own_or_anything_from_elsewhere(
    site: Site, alice: Browser
) -> None:
    for method, path, _ in calls():
        if method == "GET":
            page = (await alice.get(path)).html
            assert page.count("<script") in {0, 1}, path
            for forbidden in (
                "<style",
                " style=",
                " onclick=",
                " onsubmit=",
                "javascript:",
                "<iframe",
                "http://",
                "https://",
            ):
                assert forbidden not in page.replace("http://www.w3.org/2000/svg", ""), (path, forbidden)


async def test_static_files_are_kept_for_ever_and_named_by_their_content(site: Site) -> None:
    browser = site.browser()
    page = (await browser.get("/signin")).html
    for name, file in site.house.rendering.static.items():
        assert file.path in page, name
        answer = await browser.get(file.path)
        assert answer.response.content == file.content
        assert answer.response.headers["content-type"] == file.kind
    assert (await browser.get(file.path.replace("portal", "portal2").replace("icon", "icon2"))).status == 404


async def test_over_tls_browsers_are_told_to_stay_there(sqlite_database, ring) -> None:
    site = Site(sqlite_database.store, ring, origin="https://mail.example.test")
    answer = await site.browser().get("/signin")
    assert "max-age=31536000" in answer.response.headers["strict-transport-security"]
    here = Site(sqlite_database.store, ring)
    assert "strict-transport-security" not in (await here.browser().get("/signin")).response.headers


async def test_healthz_says_whether_the_store_is_there(site: Site, monkeypatch) -> None:
    browser = site.browser()
    assert (await browser.get("/healthz", Host="10.1.2.3")).response.text == "ok\n"
    from mailauth.interfaces import StoreUnavailable  # noqa: PLC0415

    def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(type(site.store), "reading", gone)
    answer = await browser.get("/healthz")
    assert (answer.status, answer.response.text) == (503, "store unavailable\n")


async def test_a_bug_is_told_in_words_and_shows_nothing(site: Site, alice: Browser, monkeypatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("hunter2-in-an-exception")

    monkeypatch.setattr(type(site.connections), "open_now", broken)
    for language, told in (("en", "It is our fault, not yours"), ("zh", "这是我们的问题")):
        browser = site.browser(
            bugs=True, language=language, Cookie=f"mailauth-session={alice.client.cookies['mailauth-session']}"
        )
        answer = await browser.get("/passwords")
        assert answer.status == 500
        assert told in answer.text
        assert "hunter2" not in answer.html
        assert "Traceback" not in answer.html
        check(answer.response, "/passwords")


@pytest.mark.parametrize("path", ["/", "/passwords", "/security", "/activity", "/sessions", "/notices", "/password"])
async def test_a_store_that_is_gone_is_a_fault_of_ours_on_every_page(
    site: Site, alice: Browser, monkeypatch, caplog, path
) -> None:
    from mailauth.interfaces import StoreUnavailable  # noqa: PLC0415

    def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk of the database is full")

    monkeypatch.setattr(type(site.store), "reading", gone)
    answer = await alice.get(path)
    assert (answer.status, "It is not your password" in answer.text) == (503, True)
    assert "disk" not in answer.html
    assert "StoreUnavailable: the disk of the database is full" in caplog.text  # for the operator


async def test_a_change_of_which_nobody_knows_is_not_said_to_have_failed(
    site: Site, alice: Browser, monkeypatch, caplog
) -> None:
    from mailauth.store.faults import CommitUnknown  # noqa: PLC0415

    def lost(*_: object, **__: object) -> None:
        raise CommitUnknown("the connection was lost")

    monkeypatch.setattr("mailauth.accounts.clientpasswords.turn_on", lost)
    await alice.get("/mode")
    answer = await alice.post("/mode", mode="on")
    assert (answer.status, answer.response.headers["retry-after"]) == (503, "30")
    assert "Look how it stands before you try again" in answer.text and "nothing is lost" not in answer.text
    assert "CommitUnknown: the connection was lost" in caplog.text


# ---- where a request comes from


async def test_w14_w15_the_name_that_a_client_gives_to_this_host_is_never_used(site: Site) -> None:
    for name in ("evil.example", "127.0.0.1:8080", "localhost", "localhost:8080.evil.example", ""):
        answer = await site.browser().get("/signin?next=/x", Host=name)
        assert (answer.status, answer.to) == (307, "http://localhost:8080/signin?next=/x")
    browser = site.browser()
    await browser.get("/signin")
    assert (await browser.send("/signin", {}, Host="evil.example")).status == 421
    answer = await browser.get("/", **{"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"})
    assert answer.to == "/signin"


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),  # nobody we trust says so
        ("10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.9"], "198.51.100.9"),  # the rest was said by the client
        ("10.0.0.1", ["203.0.113.5", "198.51.100.9, 10.0.0.2"], "198.51.100.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.9, <script>"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("", ["198.51.100.9"], ""),
    ],
)
def test_w18_the_clients_address_comes_from_trusted_proxies_alone(peer: str, headers: list[str], expected: str) -> None:
    assert client(peer, headers, [PROXY]) == expected


async def test_w18_the_throttle_sees_that_address(sqlite_database, ring) -> None:
    origin = "https://mail.example.test"
    for proxies, peer, expected in (((PROXY,), "10.0.0.1", "198.51.100.9"), ((), "192.0.2.7", "192.0.2.7")):
        site = Site(sqlite_database.store, ring, origin=origin, proxies=proxies)
        browser = site.browser(peer=peer, **{"X-Forwarded-For": "198.51.100.9", "X-Forwarded-Proto": "https"})
        await browser.get("/signin")
        await browser.post("/signin", address=ALICE, password=PASSWORD)
        assert site.passwords.asked == [(ALICE, expected, "")]


@pytest.mark.parametrize(
    ("peer", "proto", "is_served"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "HTTPS", True),
        ("10.0.0.1", "http", False),
        ("10.0.0.1", "https, http", False),
        ("10.0.0.1", "", False),
        ("192.0.2.7", "https", False),
    ],
)
async def test_behind_a_proxy_only_what_came_over_tls_is_served(sqlite_database, ring, peer, proto, is_served) -> None:
    site = Site(sqlite_database.store, ring, origin="https://mail.example.test", proxies=(PROXY,))
    browser = site.browser(peer=peer, **{"X-Forwarded-Proto": proto})
    answer = await browser.get("/signin", Host="127.0.0.1:8080")
    assert answer.status == (200 if is_served else 307)
    assert is_served or answer.to == "https://mail.example.test/signin"
    assert (await browser.get("/healthz")).status == 200
