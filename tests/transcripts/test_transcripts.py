"""Every transcript, in memory and over sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from stage import bytewise, whole
from transcripts_player import is_said, play, play_on_socket, read, transcripts


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize("name", transcripts())
def test_a_session_goes_as_recorded(name: str, cut: Callable[[bytes], Iterable[bytes]]) -> None:
    play(read(name), cut)


@pytest.mark.parametrize("dribbled", [False, True], ids=["whole", "dribbled"])
@pytest.mark.parametrize("name", transcripts())
async def test_a_session_goes_as_recorded_on_a_socket(name: str, dribbled: bool) -> None:
    await play_on_socket(read(name), dribbled)


def test_there_are_transcripts_for_both_doors() -> None:
    assert {read(name).door for name in transcripts()} == {"imap", "pop3"}


@pytest.mark.parametrize(
    ("expected", "line", "matches"),
    [
        ("+OK", b"+OK", True),
        ("+OK", b"+OK.", False),
        ("+ ...", b"+ ", True),
        ("* OK [CAPABILITY ...] ready", b"* OK [CAPABILITY A B] ready", True),
        ("* OK [CAPABILITY ...] ready", b"* OK ready", False),
    ],
)
def test_a_line_is_compared_as_a_whole(expected: str, line: bytes, matches: bool) -> None:
    assert is_said(expected, line) is matches
