"""Atoms, quoted strings, literals and lists: what is read out of bytes that are all there."""

from __future__ import annotations

import sys
import time

import pytest

from mailauth.imap.syntax import TAG, Announced, BadSyntax, announced, pairs, strings

LONG = 12_000


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"", []),
        (b"   ", []),
        (b"alice secret", [b"alice", b"secret"]),
        (b" alice  secret ", [b"alice", b"secret"]),
        (b"alice p!a%s*s]w}ord~", [b"alice", b"p!a%s*s]w}ord~"]),
        (b"alice p\xc3\xa4ss\xff", [b"alice", b"p\xc3\xa4ss\xff"]),
        (b'"alice" "se cret"', [b"alice", b"se cret"]),
        (rb'"a\"b" "c\\d"', [b'a"b', b"c\\d"]),
        (rb'"\\" "\\\""', [b"\\", b'\\"']),
        (b'"" ""', [b"", b""]),
        (b'"(" ")"', [b"(", b")"]),
        (b'"{3}" x', [b"{3}", b"x"]),
        (b'"p\xc3\xa4\xff\t"', [b"p\xc3\xa4\xff\t"]),
        (b"{5}\r\nalice {6+}\r\nsecret", [b"alice", b"secret"]),
        (b"{5}\nalice x", [b"alice", b"x"]),
        (b"{0}\r\n {0+}\r\n", [b"", b""]),
        (b"{00003}\r\nabc", [b"abc"]),
        (b"{2}\r\n\r\n x", [b"\r\n", b"x"]),
        (b'{4+}\r\na"(\\ x', [b'a"(\\', b"x"]),
        (b'{7}\r\n{3}\r\nab "q"', [b"{3}\r\nab", b"q"]),
        (b"{3}\r\n\0\xff\r b", [b"\0\xff\r", b"b"]),
        (b"x" * LONG + b' "' + b"y" * LONG + b'"', [b"x" * LONG, b"y" * LONG]),
    ],
)
def test_arguments(text: bytes, read: list[bytes]) -> None:
    assert strings(text) == read


@pytest.mark.parametrize(
    "text",
    [
        b"(",
        b")",
        b"a(b",
        b"()",
        b"(((((",
        b'"',
        b'"open',
        b'"open\\"',
        b'"bad\\escape"',
        b'"line\rend"',
        b'"line\nend"',
        b'"nul\0"',
        b'ab"cd"',  # no space between: iOS with a password that has quotes in it, never two arguments
        b'"ab"cd',
        b'"ab""cd"',
        b"\\",
        b"a\\b",
        b"a\0b",
        b"a\tb",
        b"a\x7f",
        b"{",
        b"{}",
        b"{3",
        b"{3}",
        b"{3}abc",
        b"{-3}\r\nabc",
        b"{3-}\r\nabc",
        b"{3}\r\nab",
        b"{3}\r\nabcd",
        b'{3}\r\nabc"d"',
        b"{99999999999}\r\nabc",
        b"{4294967296}\r\nabc",
    ],
)
def test_what_is_unreadable(text: bytes) -> None:
    with pytest.raises(BadSyntax) as raised:
        strings(text)
    assert raised.value.args[0].isascii()


@pytest.mark.parametrize(
    "text",
    [
        b"(" * LONG,
        b'"' + b"\\" * LONG,
        b'"' + b'\\"' * (LONG // 2),
        b'"' + b"a" * LONG,
        b'"a" ' * (LONG // 4) + b"(",
        b"a " * (LONG // 2) + b"(",
        b"a" * LONG + b'"',
        b" " * LONG + b"(",
        b"{1}\r\na " * (LONG // 7) + b"(",
    ],
)
def test_nothing_takes_long(text: bytes) -> None:
    began = time.process_time()
    with pytest.raises(BadSyntax):
        strings(text)
    assert time.process_time() - began < 0.1  # in a quadratic parser it would be seconds


@pytest.mark.parametrize(
    ("line", "literal"),
    [
        (b"a LOGIN {5}\r\n", Announced(5, True)),
        (b"a LOGIN {5+}\r\n", Announced(5, False)),
        (b"a LOGIN {5}\n", Announced(5, True)),
        (b"{0+}\r\n", Announced(0, False)),
        (b"a {3} {7}\r\n", Announced(7, True)),
        (b"a {00000000000000000005}\r\n", Announced(sys.maxsize, True)),
        (b"a {99999999999}\r\n", Announced(sys.maxsize, True)),
        (b"a {" + b"9" * LONG + b"+}\r\n", Announced(sys.maxsize, False)),
        (b"a LOGIN x y\r\n", None),
        (b"a LOGIN {5} x\r\n", None),
        (b"a LOGIN {}\r\n", None),
        (b"a LOGIN {+}\r\n", None),
        (b"a LOGIN {-5}\r\n", None),
        (b"a LOGIN {5-}\r\n", None),
        (b"a LOGIN {5}}\r\n", None),
        (b'a LOGIN "{5}"\r\n', None),
        (b"a LOGIN {5}\r\r\n", None),
        (b"\r\n", None),
        (b"}\r\n", None),
        (b"{" * LONG + b"}\r\n", None),
        (b"{1" * LONG + b"}\r\n", Announced(1, True)),
    ],
)
def test_a_literal_is_announced_at_the_very_end(line: bytes, literal: Announced | None) -> None:
    assert announced(line) == literal


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"NIL", {}),
        (b"nil", {}),
        (b" NIL ", {}),
        (b"()", {}),
        (b"( )", {}),
        (b'("name" "x")', {b"name": b"x"}),
        (b'("NAME" "X" "Version" NIL)', {b"name": b"X", b"version": b""}),
        (b'("name" {3+}\r\na)b)', {b"name": b"a)b"}),
        (b'("a" "1" "A" "2")', {b"a": b"2"}),
        (b"(" + b'"k" "v" ' * 30 + b")", {b"k": b"v"}),
    ],
)
def test_pairs_of_id(text: bytes, read: dict[bytes, bytes]) -> None:
    assert pairs(text) == read


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"(",
        b")",
        b'"name" "x"',
        b'("name")',
        b'(("name" "x"))',
        b'("name" ("x"))',
        b'("name" "x"',
        b'("name" {9}\r\nabc)',
        b"(" + b'"k" "v" ' * 31 + b")",
        b"(" * LONG + b")" * LONG,
    ],
)
def test_what_is_no_list_of_pairs(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        pairs(text)


@pytest.mark.parametrize(("tag", "is_one"), [(b"a", True), (b"A.1]", True), (b"x" * 64, True), (b"x" * 65, False)])
def test_a_tag(tag: bytes, is_one: bool) -> None:
    assert bool(TAG.fullmatch(tag)) is is_one


@pytest.mark.parametrize("octet", [*b'+(){ %*"\\\r\n\0\x7f\t', 0x80, 0xFF])
def test_what_no_tag_holds(octet: int) -> None:
    assert not TAG.fullmatch(b"a" + bytes((octet,)) + b"b")
    assert not TAG.fullmatch(bytes((octet,)))
