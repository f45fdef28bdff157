"""Replies of another server, read as they come: whole, one octet at a time, and anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.smtp.answers import MAX_LINE_BYTES, MAX_LINES, Answer, Answers, Unreadable

READ = [
    (b"250 ok\r\n", [Answer(250, (b"ok",))]),
    (b"250\r\n", [Answer(250, (b"",))]),
    (b"250 \r\n", [Answer(250, (b"",))]),
    (b"250-a\r\n250-b\r\n250 c\r\n", [Answer(250, (b"a", b"b", b"c"))]),
    (b"250-a\r\n250\r\n", [Answer(250, (b"a", b""))]),
    (b"354 go\n", [Answer(354, (b"go",))]),
    (b"550 5.1.1 no\r\n421 4.3.2 bye\r\n", [Answer(550, (b"5.1.1 no",)), Answer(421, (b"4.3.2 bye",))]),
    (b"250 ok\r\n25", [Answer(250, (b"ok",))]),
    (b"", []),
]
UNREADABLE = [
    b"ok\r\n",
    b"\r\n",
    b"25 ok\r\n",
    b"150 ok\r\n",
    b"650 ok\r\n",
    b"2500 ok\r\n",
    b"250_ok\r\n",
    b"\xff50 ok\r\n",
    b"250-a\r\n550 b\r\n",
    b"x" * MAX_LINE_BYTES,
    b"250 " + b"x" * MAX_LINE_BYTES + b"\r\n",
    b"250-a\r\n" * MAX_LINES,
]
SPELT = [
    (b"250 2.1.0 Ok\r\n", b"250 2.1.0 Ok"),
    (b"250 Ok\r\n", b"250 2.0.0 Ok"),
    (b"250\r\n", b"250 2.0.0"),
    (b"451 wait\r\n", b"451 4.0.0 wait"),
    (b"550-5.7.1 one\r\n550 5.7.1 two\r\n", b"550-5.7.1 one\r\n550 5.7.1 two"),
    (b"550-one\r\n550 two\r\n", b"550-5.0.0 one\r\n550 5.0.0 two"),
    (b"550 5.1.1 a\rb\x00\xe9\x1b[2J\r\n", b"550 5.1.1 a?b?[2J"),
    (b"550 5.1.1 \xc3\xa4\r\n", b"550 5.1.1 ?"),
    (b"550 5.1.1 " + b"x" * 1000 + b"\r\n", b"550 5.1.1 " + b"x" * 394),
]


@pytest.mark.parametrize(("said", "meant"), READ)
def test_replies_are_read_whole_and_one_octet_at_a_time(said: bytes, meant: list[Answer]) -> None:
    assert Answers().received(said) == meant
    slowly = Answers()
    assert [answer for octet in said for answer in slowly.received(bytes([octet]))] == meant
    assert slowly.is_amid == (said[-2:] == b"25")


@pytest.mark.parametrize("said", UNREADABLE)
def test_what_is_no_reply_is_not_guessed_at(said: bytes) -> None:
    with pytest.raises(Unreadable):
        Answers().received(said)
    slowly = Answers()
    with pytest.raises(Unreadable):
        for octet in said:
            slowly.received(bytes([octet]))


@pytest.mark.parametrize(("said", "passed_on"), SPELT)
def test_a_reply_is_said_on_in_printable_ascii_with_enhanced_codes(said: bytes, passed_on: bytes) -> None:
    (answer,) = Answers().received(said)
    assert answer.spelt() == passed_on


@given(st.lists(st.binary(max_size=50) | st.sampled_from([b"250-", b"250 a\r\n", b"\r\n", b"421"]), max_size=20))
def test_whatever_is_said_becomes_at_most_whole_lines_of_ours(pieces: list[bytes]) -> None:
    answers, heard = Answers(), list[Answer]()
    try:
        for piece in pieces:
            heard += answers.received(piece)
    except Unreadable:
        pass
    for answer in heard:
        for line in answer.spelt().split(b"\r\n"):
            assert line.startswith(b"%d" % answer.reply_code)
            assert all(32 <= octet <= 126 for octet in line)
            assert len(line) <= 420


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b"250 2.0.0 Ok: queued as 4F1A2B\r\n", "4F1A2B"),
        (b"250 OK id=1tXyZ0-0000ab-2C\r\n", "1tXyZ0-0000ab-2C"),
        (b"250 2.0.0 Ok\r\n", ""),
        (b"250 2.0.0 Ok: queued as a@example.test\r\n", ""),
        (b"250 2.0.0 queued as " + b"x" * 65 + b"\r\n", ""),
    ],
)
def test_the_queue_s_name_for_a_message_is_found(said: bytes, name: str) -> None:
    (answer,) = Answers().received(said)
    assert answer.queued_as == name
