"""LDAP: against a real slapd, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import daemons
import pytest
from daemons import ADMIN, ADMIN_PASSWORD, ALICE_PASSWORD, BASE, Directory
from hypothesis import given
from hypothesis import strategies as st

from mailauth.factors.section import BadSection
from mailauth.interfaces import SourceUnavailable
from mailauth.sources import ldap, ldap_names, ldap_wire
from mailauth.sources.ldap_wire import Malformed
from strange_servers import serving

ALICE = "alice@example.test"
RIGHT = ALICE_PASSWORD.encode()
SEARCH = {"base": f"ou=people,{BASE}", "bind_dn": ADMIN, "bind_password": ADMIN_PASSWORD}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    with daemons.directory(tmp_path_factory.mktemp("slapd")) as there:
        yield there


def source(there: Directory, **options: object) -> ldap.LdapSource:
    return ldap.build({"url": there.url, "ca": there.ca, **SEARCH, **options})


@pytest.mark.system
@pytest.mark.parametrize("way", ["starttls", "ldaps", "dn"])
async def test_the_right_password_is_a_yes_and_any_other_a_no(directory, way):
    there = source(directory, url=directory.tls_url if way == "ldaps" else directory.url)
    if way == "dn":
        there = ldap.build({"url": directory.url, "ca": directory.ca, "dn": "uid={local},ou=people," + BASE})
    assert await there.check(ALICE, RIGHT)
    assert not await there.check(ALICE, b"wrong")
    assert not await there.check(ALICE, RIGHT + b" ")
    assert not await there.check("nobody@example.test", RIGHT)
    assert not await there.check("nopassword@example.test", b"x")


@pytest.mark.system
@pytest.mark.parametrize(
    "login", ["*@example.test", "a*@example.test", "alice@example.test)(uid=*", "x)(|(uid=*)", "\\2a", "alice\\"]
)
async def test_a_login_is_a_value_and_never_a_part_of_the_filter(directory, login):
    assert not await source(directory).check(login, RIGHT)
    assert not await source(directory, filter="(|(mail={login})(uid={login}))").check(login, RIGHT)
    dn = ldap.build({"url": directory.url, "ca": directory.ca, "dn": "uid={local},ou=people," + BASE})
    assert not await dn.check(f"alice,ou=people@{login}", RIGHT)


@pytest.mark.system
@pytest.mark.parametrize(
    "condition",
    [
        "(&(objectClass=inetOrgPerson)(mail={login}))",
        "(&(mail={login})(!(uid=bob)))",
        "(|(mail=nobody)(uid={local}))",
        "(&(mail={local}@*)(uid={local}))",
        "(&(mail=*)(mail=*ample*)(uid={local}))",
        "(&(createTimestamp>=20000101000000Z)(mail:caseIgnoreIA5Match:={login}))",
        "(&(ou:dn:=people)(uid:=\\61lice)(mail={login}))",
    ],
)
async def test_filters_mean_to_a_directory_what_they_say(directory, condition):
    assert await source(directory, filter=condition).check(ALICE, RIGHT)
    assert not await source(directory, filter=condition).check("bob@example.test", RIGHT)


@pytest.mark.system
async def test_names_that_need_escaping_are_found_and_bound_as(directory):
    by_dn = ldap.build({"url": directory.url, "ca": directory.ca, "dn": "uid={local},ou=people," + BASE})
    assert await by_dn.check("o'hara+(*)@example.test", b"star")
    assert await by_dn.check("müller@example.test", b"umlaut")
    assert await source(directory, filter="(uid={local})").check("o'hara+(*)@example.test", b"star")
    assert await source(directory, filter="(uid={local})").check("müller@example.test", b"umlaut")


@pytest.mark.system
@pytest.mark.parametrize(
    "options",
    [
        {"bind_password": "wrong"},
        {"base": "ou=nowhere,dc=example,dc=test"},
        {"base": "dc=elsewhere"},
        {"base": "no name"},
        {"ca": ""},
    ],
    ids=str,
)
async def test_what_is_wrong_with_the_directory_is_never_a_no(directory, options):
    with pytest.raises(SourceUnavailable) as fault:
        await source(directory, **options).check(ALICE, b"hunter2 hunter2")
    assert "hunter2" not in str(fault.value)
    assert ADMIN_PASSWORD not in str(fault.value)


@pytest.mark.system
async def test_two_entries_are_a_fault(directory):
    with pytest.raises(SourceUnavailable, match="more than one"):
        await source(directory).check("twin@example.test", b"x")


@pytest.mark.system
async def test_a_certificate_for_another_name_is_a_fault(directory):
    named = directory.url.replace("localhost", "127.0.0.2")
    with pytest.raises(SourceUnavailable):
        await source(directory, url=named).check(ALICE, RIGHT)


@pytest.mark.system
async def test_who_may_not_search_finds_nobody_and_a_directory_that_is_not_there_is_a_fault(directory, tmp_path):
    with daemons.directory(tmp_path, anonymous="search") as there:
        anybody = ldap.build({"url": there.url, "ca": there.ca, "base": f"ou=people,{BASE}"})
        assert await anybody.check(ALICE, RIGHT)
        assert not await anybody.check(ALICE, b"wrong")
    with pytest.raises(SourceUnavailable):
        await anybody.check(ALICE, RIGHT)


@pytest.mark.system
async def test_forty_at_once(directory):
    there = source(directory)
    passwords = [RIGHT if number % 2 else b"wrong" for number in range(40)]
    said = await asyncio.gather(*[there.check(ALICE, password) for password in passwords])
    assert said == [password == RIGHT for password in passwords]


@pytest.mark.system
async def test_slapd_really_lets_anybody_in_without_a_password_and_we_never_ask_that(directory):
    """The trap of RFC 4513 section 5.1.2 is there, and the code cannot spell it."""
    with pytest.raises(ValueError, match="anonymous"):
        ldap_wire.bind(f"uid=alice,ou=people,{BASE}", b"")
    with pytest.raises(ValueError, match="anonymous"):
        ldap_wire.bind("", b"x")


# ---- servers that misbehave


def result(tag: int, number: int, told: str = "") -> bytes:
    octets = ldap_wire.element(ldap_wire.OCTETS, b"")
    return ldap_wire.element(
        tag,
        ldap_wire.integer(number, ldap_wire.ENUMERATED) + octets + ldap_wire.element(ldap_wire.OCTETS, told.encode()),
    )


def entry(dn: str) -> bytes:
    name = ldap_wire.element(ldap_wire.OCTETS, dn.encode())
    return ldap_wire.element(ldap_wire.SEARCH_ENTRY, name + ldap_wire.element(ldap_wire.SEQUENCE, b""))


@contextlib.asynccontextmanager
async def directory_that_says(*answers: bytes | list[bytes]) -> AsyncIterator[ldap.LdapSource]:
    """Answers request by request: operations, or, as a list with one item, raw bytes; b"" hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            try:
                head = await reader.readexactly(2)
            except asyncio.IncompleteReadError:
                break
            while (length := ldap_wire.expected_length(head)) is None:
                head += await reader.readexactly(1)
            number, _, _ = ldap_wire.opened(head + await reader.readexactly(length - len(head)))
            if isinstance(answer, list):
                writer.write(answer[0])
            elif answer:
                at = 0
                while at < len(answer):
                    size = 2 + answer[at + 1]
                    writer.write(ldap_wire.message(number, answer[at : at + size]))
                    at += size
            else:
                break
        writer.close()

    async with serving(serve) as port:
        yield ldap.build({"url": f"ldap://127.0.0.1:{port}", "starttls": False, "base": "dc=x"})


FOUND = entry("uid=alice") + result(ldap_wire.SEARCH_DONE, 0)
DATA = "80090308: LdapErr: DSID-0C09042F, comment: AcceptSecurityContext error, data {}, v4563"


@pytest.mark.parametrize(
    ("number", "told", "said"),
    [(0, "", True), (49, "", False), (49, DATA.format("52e"), False), (49, DATA.format("532"), False)],
)
async def test_what_a_bind_says_of_the_password(number, told, said):
    async with directory_that_says(FOUND, result(ldap_wire.BIND_RESPONSE, number, told)) as there:
        assert await there.check(ALICE, RIGHT) is said


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 10, 11, 14, 32, 34, 48, 50, 51, 52, 53, 80, 4096])
async def test_every_other_result_of_the_bind_is_a_fault(number):
    async with directory_that_says(FOUND, result(ldap_wire.BIND_RESPONSE, number)) as there:
        with pytest.raises(SourceUnavailable):
            await there.check(ALICE, RIGHT)


@pytest.mark.parametrize(
    "answers",
    [
        (b"",),
        (FOUND, b""),
        (result(ldap_wire.SEARCH_DONE, 4),),
        (entry("a") + entry("b") + result(ldap_wire.SEARCH_DONE, 0),),
        (entry("") + result(ldap_wire.SEARCH_DONE, 0),),
        (FOUND, result(ldap_wire.BIND_RESPONSE, 49, DATA.format("775"))),
        (FOUND, result(ldap_wire.SEARCH_DONE, 49)),
        (FOUND, [ldap_wire.message(1, result(ldap_wire.BIND_RESPONSE, 0))]),
        (FOUND, [ldap_wire.message(0, result(ldap_wire.EXTENDED_RESPONSE, 52))]),
        (FOUND, [b"HTTP/1.1 200 OK\r\n\r\n"]),
        (FOUND, [b"\x30\x80\x00\x00"]),
        (FOUND, [b"\x30\x84\xff\xff\xff\xff"]),
        ([b"\x30\x02"],),
    ],
)
async def test_whatever_else_a_server_does_is_a_fault(answers):
    async with directory_that_says(*answers) as there:
        with pytest.raises(SourceUnavailable):
            await there.check(ALICE, RIGHT)


async def test_references_to_other_servers_are_passed_over():
    reference = ldap_wire.element(ldap_wire.SEARCH_REFERENCE, ldap_wire.element(ldap_wire.OCTETS, b"ldap://other"))
    async with directory_that_says(reference + FOUND, result(ldap_wire.BIND_RESPONSE, 0)) as there:
        assert await there.check(ALICE, RIGHT)


async def test_nothing_is_sent_before_tls_is_up_where_the_server_has_none():
    heard = b""

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.read(4096)
        number, _, _ = ldap_wire.opened(heard)
        writer.write(ldap_wire.message(number, result(ldap_wire.EXTENDED_RESPONSE, 2)))
        heard += await reader.read(4096)
        writer.close()

    async with serving(refuses) as port:
        with pytest.raises(SourceUnavailable):
            await ldap.build({"url": f"ldap://127.0.0.1:{port}", **SEARCH}).check(ALICE, RIGHT)
    assert ADMIN_PASSWORD.encode() not in heard
    assert RIGHT not in heard


# ---- the section


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"url": "http://x"}, "url"),
        ({"url": "ldap://user@x"}, "url"),
        ({"url": "ldap://x", "base": "dc=x", "starttls": False}, "starttls"),
        ({"url": "ldap://x"}, "base"),
        ({"url": "ldap://x", "base": "dc=x", "dn": "uid={local}"}, "base"),
        ({"url": "ldap://x", "dn": "uid=alice"}, "dn"),
        ({"url": "ldap://x", "dn": "uid={user}"}, "dn"),
        ({"url": "ldap://x", "base": "dc=x", "bind_dn": "cn=a"}, "bind_dn"),
        ({"url": "ldap://x", "base": "dc=x", "filter": "mail={login}"}, "filter"),
        ({"url": "ldap://x", "base": "dc=x", "filter": "(mail=alice)"}, "filter"),
        ({"url": "ldap://x", "base": "dc=x", "filter": "(mail={login})x"}, "filter"),
        ({"url": "ldap://x", "base": "dc=x", "filter": "(&)"}, "filter"),
        ({"url": "ldap://x", "base": "dc=x", "filter": "(mail={login}\\zz)"}, "filter"),
        ({"url": "ldap://x", "base": "dc=x", "filter": "(" * 50 + "mail={login}"}, "filter"),
        ({"url": "ldap://x", "base": "dc=x", "scope": "all"}, "scope"),
        ({"url": "ldap://x", "base": "dc=x", "ca": "/no/such/file"}, "ca"),
        ({"url": "ldap://x", "base": "dc=x", "nonsense": 1}, "nonsense"),
    ],
)
def test_a_section_that_cannot_be_is_refused_with_its_key(options, key):
    with pytest.raises(BadSection) as bad:
        ldap.build(options)
    assert bad.value.key == key


# ---- bytes


@given(st.binary(max_size=60))
def test_any_bytes_are_understood_or_malformed(raw):
    with contextlib.suppress(Malformed, StopIteration):
        ldap_wire.expected_length(raw)
        ldap_wire.opened(raw)
    with contextlib.suppress(Malformed):
        ldap_wire.result(raw)
    with contextlib.suppress(Malformed):
        ldap_wire.entry_name(raw)


@given(st.integers(1, 2**31 - 1), st.binary(max_size=70_000))
def test_what_is_written_is_read_again(number, content):
    raw = ldap_wire.message(number, ldap_wire.element(ldap_wire.BIND_RESPONSE, content))
    assert ldap_wire.expected_length(raw[:6]) == len(raw)
    assert ldap_wire.opened(raw) == (number, ldap_wire.BIND_RESPONSE, content)


@given(st.text(max_size=30))
def test_a_value_stays_whole_in_a_name_and_a_filter(login):
    escaped = ldap_names.escaped(login)
    assert "," not in escaped.replace("\\,", "")
    assert "\0" not in escaped
    assertion = ldap_names.encoded("(a={login})", login)
    ((_, content),) = ldap_wire.elements(assertion)
    assert list(ldap_wire.elements(content)) == [(4, b"a"), (4, login.encode())]
