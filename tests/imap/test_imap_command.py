"""Commands out of lines and literals, however the bytes are cut."""

from __future__ import annotations

import pytest

from mailauth.dialogue import LineTooLong
from mailauth.imap.command import MAX_COMMAND_BYTES, MAX_LINE_BYTES, MAX_LITERAL_BYTES, Commands, Partial, name_of


def taken(commands: Commands) -> list[bytes]:
    """All whole commands that are there; each literal is wanted."""
    found = []
    while (command := commands.next()) is not None:
        if isinstance(command, Partial):
            commands.want(command)
        else:
            found.append(command)
    return found


STREAMS = [
    [b"a NOOP\r\n"],
    [b"a NOOP\n", b"b NOOP\r\n"],
    [b"\r\n", b"a NOOP\r\n"],
    [b"a LOGIN {5+}\r\nalice {6}\r\nsecret\r\n", b"b NOOP\r\n"],
    [b"a LOGIN {0+}\r\n {0+}\r\n\r\n", b"b NOOP\r\n"],
    [b"a LOGIN {9+}\r\nx\r\nb NOO\r {2}\r\n\r\n\r\n", b"b NOOP\r\n"],
    [b'a ID ("name" {4+}\r\nx{3} "version" "1")\r\n'],
]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_is_cut_into_commands(stream: list[bytes]) -> None:
    data = b"".join(stream)
    commands = Commands()
    commands.feed(data)
    assert taken(commands) == stream
    for at in range(len(data)):
        commands = Commands()
        commands.feed(data[:at])
        first = taken(commands)
        commands.feed(data[at:])
        assert first + taken(commands) == stream


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_may_come_byte_by_byte(stream: list[bytes]) -> None:
    commands = Commands()
    found = []
    for byte in b"".join(stream):
        commands.feed(bytes((byte,)))
        found += taken(commands)
    assert found == stream


def test_a_literal_that_is_not_wanted_is_forgotten_with_its_command() -> None:
    commands = Commands()
    commands.feed(b"a LOGIN {6}\r\nb NOOP\r\n")
    partial = commands.next()
    assert isinstance(partial, Partial)
    assert partial.text == b"a LOGIN {6}\r\n"
    assert commands.next() == b"b NOOP\r\n"


def test_what_was_not_taken_can_be_had() -> None:
    commands = Commands()
    commands.feed(b"a NOOP\r\nb APPEND x {3}\r\nabc\r\nc NO")
    assert commands.next() == b"a NOOP\r\n"
    partial = commands.next()
    assert isinstance(partial, Partial)
    assert partial.text + commands.rest() == b"b APPEND x {3}\r\nabc\r\nc NO"
    assert commands.rest() == b""
    assert commands.next() is None


def test_a_response_is_a_line_whatever_it_looks_like() -> None:
    commands = Commands()
    commands.feed(b"abc {5}\r\nx")
    assert commands.response() == b"abc {5}\r\n"
    assert commands.response() is None


@pytest.mark.parametrize(
    ("begun", "size_bytes", "is_too_big"),
    [
        (b"a ", MAX_LITERAL_BYTES, False),
        (b"a ", MAX_LITERAL_BYTES + 1, True),
        (b"a ", 10**30, True),
        (b"a" * (MAX_COMMAND_BYTES - 200), 100, False),
        (b"a" * (MAX_COMMAND_BYTES - 100), 100, True),
    ],
)
def test_how_big_a_literal_may_be(begun: bytes, size_bytes: int, is_too_big: bool) -> None:
    commands = Commands()
    for at in range(0, len(begun), MAX_LITERAL_BYTES):  # as literals: no line may be so long
        piece = begun[at : at + MAX_LITERAL_BYTES]
        commands.feed(b"{%d}\r\n%s" % (len(piece), piece))
        partial = commands.next()
        assert isinstance(partial, Partial)
        assert not partial.is_too_big
        commands.want(partial)
    commands.feed(b" {%d}\r\n" % size_bytes)
    partial = commands.next()
    assert isinstance(partial, Partial)
    assert partial.is_too_big is is_too_big


def test_small_literals_add_up() -> None:
    commands = Commands()
    commands.feed(b"a LOGIN" + b" {1+}\r\nx" * 20_000)
    wanted = 0
    while isinstance(partial := commands.next(), Partial) and not partial.is_too_big:
        commands.want(partial)
        wanted += 1
    assert wanted < MAX_COMMAND_BYTES // 8 + 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_how_long_a_line_may_be(end: bytes) -> None:
    longest = b"x" * (MAX_LINE_BYTES - len(end)) + end
    commands = Commands()
    commands.feed(longest)
    assert commands.next() == longest
    commands.feed(b"x" + longest)
    with pytest.raises(LineTooLong):
        commands.next()


def test_a_line_without_end_is_given_up() -> None:
    commands = Commands()
    commands.feed(b"x" * MAX_LINE_BYTES)
    assert commands.next() is None
    commands.feed(b"x")
    with pytest.raises(LineTooLong):
        commands.next()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"a login {5}\r\n", b"LOGIN"),
        (b"a NOOP\r\n", b"NOOP"),
        (b"a\r\n", b""),
        (b"\r\n", b""),
        (b"", b""),
    ],
)
def test_a_commands_name(text: bytes, name: bytes) -> None:
    assert name_of(text) == name
