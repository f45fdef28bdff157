"""Transparency, line ends and added header fields."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP as SMTP_POLICY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.smtp.message import END_OF_DATA, Restuffed, Trace, crlf_only, stamped, written

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = Trace("laptop", "192.0.2.1", "mail.example.test", tls=True, smtp_utf8=False)
RECEIVED = (
    b"Received: from laptop ([192.0.2.1])\r\n\tby mail.example.test with ESMTPSA id id1;"
    b"\r\n\tWed, 02 Jan 2030 03:04:05 +0000\r\n"
)
DATE = b"Date: Wed, 02 Jan 2030 03:04:05 +0000\r\n"
MESSAGE_ID = b"Message-ID: <id1@mail.example.test>\r\n"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"", b""),
        (b"a\r\n", b"a\r\n"),
        (b"..\r\n", b".\r\n"),
        (b".a\r\n", b"a\r\n"),
        (b"a\r\n..\r\n...\r\n", b"a\r\n.\r\n..\r\n"),
        (b"a.\r\n. \r\n", b"a.\r\n \r\n"),
        (b"a\n..\nb\r\n", b"a\r\n.\r\nb\r\n"),
        (b"a\n.\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r.\rb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\n\r\n", b"a\r\n\r\n"),
    ],
)
def test_written(sent: bytes, meant: bytes) -> None:
    assert written(sent) == meant


@given(st.lists(st.sampled_from([b".", b"..", b"a", b"", b"\xff", b". x"])))
def test_what_is_stuffed_by_the_book_arrives_as_written(lines: list[bytes]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    assert END_OF_DATA not in b"\r\n" + stuffed
    assert written(stuffed) == content


PIECE = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\n.\n", b"\r\n.\r"])).map(b"".join)


@given(st.lists(PIECE))
def test_what_goes_on_piece_by_piece_is_what_was_written_with_one_end(pieces: list[bytes]) -> None:
    pieces.append(b"\r\n")  # the end of data begins a line
    restuffed = Restuffed()
    passed = b"".join([restuffed.passed(piece) for piece in pieces]) + restuffed.end()
    lines = written(b"".join(pieces)).split(b"\r\n")
    assert passed == b"\r\n".join((b"." if line.startswith(b".") else b"") + line for line in lines) + b".\r\n"
    assert (b"\r\n" + passed).count(END_OF_DATA) == 1
    assert passed.count(b"\r") == passed.count(b"\n") == passed.count(b"\r\n")


def test_an_empty_message_goes_on_as_its_end() -> None:
    assert Restuffed().end() == b".\r\n"


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a"])).map(b"".join))
def test_no_bare_line_end_is_left_and_no_line_lost(content: bytes) -> None:
    clean = crlf_only(content)
    assert clean.splitlines() == content.splitlines()
    assert clean.count(b"\r") == clean.count(b"\n") == clean.count(b"\r\n")


@pytest.mark.parametrize(
    ("content", "added", "between"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", DATE + MESSAGE_ID, b""),
        (b"DATE: x\r\nMessage-Id : <x>\r\n\r\nbody", b"", b""),
        (b"Subject: x\r\ndate:\r\n\r\nMessage-ID: in the body\r\n", MESSAGE_ID, b""),
        (b"Subject: x\r\n Date: folded\r\nX-Date: no\r\n\r\n", DATE + MESSAGE_ID, b""),
        (b"Subject: no body\r\nDate: x\r\n", MESSAGE_ID, b""),
        (b"\r\nDate: no header\r\n", DATE + MESSAGE_ID, b""),
        (b"just text\r\nDate: x\r\n", DATE + MESSAGE_ID, b"\r\n"),
        (b"", DATE + MESSAGE_ID, b"\r\n"),
    ],
)
def test_stamped(content: bytes, added: bytes, between: bytes) -> None:
    message = stamped(content, TRACE, "id1", NOW)
    assert message == RECEIVED + added + between + content
    assert message_from_bytes(message, policy=SMTP_POLICY)["Received"] is not None


@pytest.mark.parametrize(
    ("trace", "text"),
    [
        (
            Trace("[192.0.2.9]", "2001:db8::1", "h", True, True),
            b"from [192.0.2.9] ([IPv6:2001:db8::1])\r\n\tby h with UTF8SMTPSA",
        ),
        (Trace("a b", "192.0.2.1", "h", False, False), b"from unknown ([192.0.2.1])\r\n\tby h with ESMTPA "),
        (Trace("", "", "h", True, False), b"from unknown\r\n\tby h with ESMTPSA "),
        (Trace("x\r\nBcc: y", "", "h", True, False), b"from unknown\r\n\tby h with ESMTPSA "),
        (Trace("用户", "", "h", True, False), b"from unknown\r\n\tby h with ESMTPSA "),
    ],
)
def test_received_names_what_is_known(trace: Trace, text: bytes) -> None:
    assert trace.received("id1", NOW).startswith(b"Received: " + text)
