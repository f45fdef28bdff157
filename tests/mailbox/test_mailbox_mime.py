import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailauth.mailbox import imap_structure, mime

NESTED = b"""\
From: a@example.test
Content-Type: multipart/mixed; boundary="b b"

preamble
--b b
Content-Type: text/plain

one
--b b@@
Content-Type: message/rfc822
Content-Disposition: attachment; filename="a\\"b.eml"

Subject: inner
Content-Type: multipart/alternative; boundary=b

--b

two
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: Base64
Content-ID: <id@example.test>
Content-Description: =?utf-8?q?d?=
Content-Language: en, de
Content-Location: http://example.test/
Content-MD5: Q2hlY2s=

dGhyZWU=
--b--
--b b
Content-Type: multipart/digest; boundary=d

--d

Subject: digested

four
--d--

--b b--
epilogue
""".replace(b"@@", b" \t").replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("numbers", "content"),
    [
        ((1,), b"one"),
        ((2, 1), b"two"),
        ((2, 2), b"dGhyZWU="),
        ((3, 1), b"Subject: digested\r\n\r\nfour"),
        ((3, 1, 1), b"four"),
        ((4,), None),
        ((1, 1), None),
        ((2, 3), None),
        ((2, 1, 1), None),
        ((3, 1, 1, 1), None),
        ((3, 1, 2), None),
    ],
)
def test_parts_have_the_numbers_of_the_rfc(numbers, content):
    part = mime.find(mime.parse(NESTED), numbers)
    assert (None if part is None else part.content.tobytes()) == content


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", b"body\r\n"),
        (b"\r\nbody", b"body"),
        (b"no header at all", b""),
        (b"", b""),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno delimiter\r\n", b"no delimiter\r\n"),
        (b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nno boundary\r\n", b"--\r\n\r\nno boundary\r\n"),
        (b"Content-Type: nonsense; x\r\n\r\nbody", b"body"),
    ],
)
def test_whatever_has_no_parts_is_its_own_first_part(message, content):
    root = mime.parse(message)
    assert not root.parts
    assert root.content_type.value == b"text/plain"
    assert mime.find(root, (1,)).content.tobytes() == content
    assert mime.find(root, (2,)) is None
    assert mime.find(root, (1, 1)) is None


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--x\r\n\r\na\r\n--x--", [b"a"]),
        (b"--x\r\n\r\na\r\n--x", [b"a"]),
        (b"--x\r\n\r\na\r\n", [b"a\r\n"]),
        (b"--x\r\n--x\r\n\r\nb\r\n--x--\r\n", [b"", b"b"]),
        (b"--x\r\n\r\na --x\r\n--xy\r\n--x-\r\n--x--", [b"a --x\r\n--xy\r\n--x-"]),
        (b"--x\r\n\r\na\r\n--x--\r\n--x\r\n\r\nafter the end", [b"a"]),
        (b"--x--\r\n\r\nonly an end", []),
        (b"--x\r\n\r\n\r\n--x--", [b""]),
    ],
)
def test_delimiters_are_lines_of_their_own(body, parts):
    root = mime.parse(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + body)
    assert [part.content.tobytes() for part in root.parts] == parts


def test_there_is_an_end_to_parts_and_to_depth():
    many = mime.parse(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n\r\n" * 3000 + b"--x--")
    assert len(many.parts) == mime.MAX_PARTS + 1
    part = mime.parse(b"Content-Type: message/rfc822\r\n\r\n" * 500)
    depth = 0
    while part.parts:
        part, depth = part.parts[0], depth + 1
    assert depth == mime.MAX_DEPTH


@pytest.mark.slow
@pytest.mark.parametrize(
    "message",
    [
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x" * 1_000_000,
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"\r\n--x" * 600_000,
        b"Subject: x\r\n" + b" folded\r\n" * 300_000,
        b"Content-Type: text/plain" + b'; a="' * 600_000,
        b"To: " + b"a@b.c, (x" * 300_000,
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(60_000)),
    ],
    ids=["one line", "delimiters", "folds", "parameters", "addresses", "depth"],
)
def test_three_megabytes_of_malice_take_no_time(message):
    before = time.process_time()
    tree = mime.parse(message)
    imap_structure.body(tree, extended=True)
    imap_structure.envelope(tree.fields)
    assert time.process_time() - before < 5


def test_fields_are_unfolded_and_stay_raw():
    header = b"Subject: one\r\n two\r\n\tthree \r\nno colon\r\nX : y\r\n\r\n"
    assert [(field.name, field.value) for field in mime.fields(header)] == [
        (b"subject", b"one two\tthree"),
        (b"x", b"y"),
    ]
    assert mime.fields(header)[0].raw == b"Subject: one\r\n two\r\n\tthree \r\n"


STRUCTURE = (
    b'(("text" "plain" NIL NIL NIL "7bit" 3 0 NIL NIL NIL NIL)'
    b'("message" "rfc822" NIL NIL NIL "7bit" %d (NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) '
    b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL)'
    b'("text" "html" ("charset" "utf-8") "<id@example.test>" "=?utf-8?q?d?=" "base64" 8 0 "Q2hlY2s=" NIL '
    b'("en" "de") "http://example.test/") "alternative" ("boundary" "b") NIL NIL NIL) %d NIL '
    b'("attachment" ("filename" "a\\"b.eml")) NIL NIL)'
    b'(("message" "rfc822" NIL NIL NIL "7bit" 25 (NIL "digested" NIL NIL NIL NIL NIL NIL NIL NIL) '
    b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) '
    b'"digest" ("boundary" "d") NIL NIL NIL) "mixed" ("boundary" "b b") NIL NIL NIL)'
)


def test_the_structure_is_the_one_of_the_rfc():
    tree = mime.parse(NESTED)
    inner = NESTED[NESTED.index(b"Subject: inner") : NESTED.index(b"\r\n--b b\r\nContent-Type: multipart/digest")]
    assert imap_structure.body(tree, extended=True) == STRUCTURE % (len(inner), inner.count(b"\n"))
    assert imap_structure.body(mime.parse(b"\r\n\r\n"), extended=False) == (
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 2 1)'
    )


@pytest.mark.parametrize(
    ("header", "envelope"),
    [
        (b"", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (
            (
                b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: =?utf-8?q?x?=\r\n"
                b'From: "J \xc3\xb6" <jo@example.test>\r\nTo: a@b.c, =?utf-8?q?B?= <b@c.d>\r\n'
                b"Message-ID: <1@x>\r\nIn-Reply-To: <0@x>\r\n"
            ),
            (
                b'("Mon, 1 Jan 2024 00:00:00 +0000" "=?utf-8?q?x?=" (({4}\r\nJ \xc3\xb6 NIL "jo" "example.test")) '
                b'(({4}\r\nJ \xc3\xb6 NIL "jo" "example.test")) (({4}\r\nJ \xc3\xb6 NIL "jo" "example.test")) '
                b'((NIL NIL "a" "b.c")("=?utf-8?q?B?=" NIL "b" "c.d")) NIL NIL "<0@x>" "<1@x>")'
            ),
        ),
        (
            b"From: a@b.c\r\nSender: s@b.c\r\nReply-To: r@b.c\r\nCc: c\r\nBcc: undisclosed-recipients:;\r\n",
            (
                b'(NIL NIL ((NIL NIL "a" "b.c")) ((NIL NIL "s" "b.c")) ((NIL NIL "r" "b.c")) '
                b'NIL ((NIL NIL "c" "")) NIL NIL NIL)'
            ),
        ),
        (b'Subject: a "q" \\ b\r\n', b'(NIL "a \\"q\\" \\\\ b" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (b"Subject: a\0b\r\n", b"(NIL {2}\r\nab NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject:\r\n", b'(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)'),
    ],
)
def test_an_envelope_says_what_the_header_says(header, envelope):
    assert imap_structure.envelope(mime.fields(header)) == envelope


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\r\n\r\n",
        b"--x",
        b"--",
        b" ",
        b"\t",
        b":",
        b";",
        b'"',
        b"\\",
        b"(",
        b")",
        b"<",
        b">",
        b"@",
        b",",
        b"=",
        b"/",
        b"\0",
        b"\xff",
        b"a",
        b"Content-Type:",
        b"multipart/mixed; boundary=x",
        b"message/rfc822",
        b"text/html",
        b"Content-Disposition:",
        b"Content-Language:",
        b"Content-Transfer-Encoding:",
        b"From:",
        b"To:",
        b"charset*0*=utf-8''%ff",
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join))
@example(b"Content-Transfer-Encoding: ;\r\n\r\n")
def test_any_message_has_a_structure_and_an_envelope(message):
    tree = mime.parse(message)
    for made in (
        imap_structure.body(tree, True),
        imap_structure.body(tree, False),
        imap_structure.envelope(tree.fields),
    ):
        assert _balanced(made)
    assert tree.header + tree.content.tobytes() == message


def _balanced(made: bytes) -> bool:
    """Read as a client reads it: strings and literals first, then parentheses."""
    depth, at = 0, 0
    while at < len(made):
        byte = made[at : at + 1]
        if byte == b'"':
            at += 1
            while made[at : at + 1] != b'"':
                at += 2 if made[at : at + 1] == b"\\" else 1
                assert at < len(made)
        elif byte == b"{":
            end = made.index(b"}\r\n", at)
            at = end + 2 + int(made[at + 1 : end])
        elif byte in (b"(", b")"):
            depth += 1 if byte == b"(" else -1
            assert depth > 0 or at == len(made) - 1
        at += 1
    return depth == 0 and made.startswith(b"(")
