import pytest

from mailauth.mailbox import keywords
from mailauth.mailbox.keywords import Keywords, KeywordsFull

ALL = tuple(f"k{index}" for index in range(26))


@pytest.mark.parametrize(("flag", "letter"), [(flag, letter) for letter, flag in keywords.FLAG_OF_LETTER.items()])
def test_system_flags_have_their_letters(flag, letter):
    assert Keywords().letters([flag]) == letter
    assert Keywords().flags(letter) == {flag}
    assert Keywords().letters([flag.upper()]) == letter


def test_keywords_get_the_next_letter_and_keep_it():
    grown = Keywords().with_new(["$Junk"]).with_new([r"\Seen", "work", "$junk"])
    assert grown.names == ("$Junk", "work")
    assert grown.letters(["work", r"\Seen", "$JUNK"]) == "Sab"
    assert grown.flags("Sab") == {r"\Seen", "$Junk", "work"}
    assert grown.canonical("$JUNK") == "$Junk"
    assert grown.canonical("other") == "other"
    assert keywords.parse(keywords.render(grown)).names == grown.names


def test_letters_nobody_named_are_kept():
    assert Keywords(("a",)).letters([r"\Seen"], old="FXbz") == "SXbz"
    assert Keywords(("a",)).flags("Xbz") == frozenset()


def test_the_twenty_seventh_keyword_is_refused_and_not_dropped():
    full = Keywords(ALL)
    assert full.full
    assert full.with_new(["K3", r"\Seen"]) is full
    with pytest.raises(KeywordsFull):
        full.with_new(["one more"])
    with pytest.raises(KeywordsFull):
        Keywords().with_new(["x" * 256])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", ()),
        (b"0 a\n1 b\n", ("a", "b")),
        (b"2 c\n", ("", "", "c")),
        (b"junk\n26 z\n-1 x\n0 \n\n1 b\n\xff\n", ("", "b")),
    ],
)
def test_a_keyword_file_is_read_for_what_makes_sense(content, names):
    parsed = keywords.parse(content)
    assert parsed.names == names
    assert keywords.parse(keywords.render(parsed)).names == names
