import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth.mailbox import mutf7

EXAMPLES = [
    ("", b""),
    ("Sent Items", b"Sent Items"),
    ("&", b"&-"),
    ("A&B", b"A&-B"),
    ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 section 5.1.3
    ("Entwürfe", b"Entw&APw-rfe"),
    ("😀", b"&2D3eAA-"),
    ("é😀", b"&AOnYPd4A-"),
]


@pytest.mark.parametrize(("name", "encoded"), EXAMPLES)
def test_names_are_spelled_as_the_rfc_says(name, encoded):
    assert mutf7.encode(name) == encoded
    assert mutf7.decode(encoded) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_survives(name):
    assert mutf7.decode(mutf7.encode(name)) == name


@pytest.mark.parametrize(
    "spelling",
    [
        b"&abc",  # the shift does not end
        b"&",
        b"a&",
        b"&ACY-",  # & has its own spelling
        b"&AGEAYg-",  # printable ASCII stands for itself
        b"&U,BTFw-&ZeVnLIqe-",  # two shifts where one will do
        b"&U,BTF-",  # half a character
        b"&U/BTFw-",  # plain base64
        b"&2D0-",  # half a surrogate pair
        b"&AOk=-",
        b"\xc3\xa9",
        "ä".encode("latin-1"),
    ],
)
def test_no_name_has_a_second_spelling(spelling):
    with pytest.raises(ValueError):
        mutf7.decode(spelling)


@given(st.binary())
def test_any_octets_are_one_name_or_none(octets):
    try:
        name = mutf7.decode(octets)
    except ValueError:
        return
    assert mutf7.encode(name) == octets
