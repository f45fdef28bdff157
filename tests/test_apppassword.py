import hashlib
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailauth import apppassword
from mailauth.apppassword import ALPHABET, LENGTH, MIN_BITS, check_alphabet, clean, grouped, mint, selector

PASSWORD = "abcdefgh2345jkmn"
WIDE = "".join(chr(ord(character) + 0xFEE0) for character in PASSWORD)

CLEANED = [
    PASSWORD,
    "abcd efgh 2345 jkmn",
    "abcd-efgh-2345-jkmn",
    "abcd\u2011efgh\u20102345\uff0djk\xadmn",
    f" \t{PASSWORD}\r\n",
    f"\xa0\u3000{PASSWORD}\u3000\xa0",
    "abcd\u3000efgh\xa02345\u2009jkmn",
    "abcdefgh\r\n2345jkmn\n",
    f"\ufeff{PASSWORD}\u200b",
    "ab\u200bcd\u200cef\u200dgh\u20602345\ufeffjkmn",
    WIDE,
    f"\u3000{WIDE[:4]} {WIDE[4:8]}\uff0d{PASSWORD[8:]}",
]

NO_APP_PASSWORD = [
    b"",
    b"hunter2",
    b"abcdefgh2345jkm",
    b"abcdefgh2345jkmnp",
    b"abcdefgh2345jkm!",
    b"abcdefgh2345jkm\0",
    b"abcdefgh\x002345jkmn",
    b"abcdefgh\x1c2345jkmn",  # Python's str.strip takes this for white space
    b"abcdefgh_2345jkmn",
    "abcdefgh2345jkmé".encode(),
    "abcdefgh2345jkm٣".encode(),
    "abcdefgh2345jkm²".encode(),
    f"{PASSWORD}\u0301".encode(),
    PASSWORD.encode("utf-16"),
    PASSWORD.encode() + b"\xff",
    b"\xc3\x28" + PASSWORD[2:].encode(),
    b"\xed\xa0\x80" + PASSWORD.encode(),  # a surrogate
]


@pytest.mark.parametrize("presented", CLEANED)
def test_what_people_and_programs_add_goes(presented):
    assert clean(presented.encode()) == PASSWORD


@pytest.mark.parametrize("presented", NO_APP_PASSWORD)
def test_what_cannot_be_an_app_password_is_none(presented):
    assert clean(presented) is None


def test_case_is_never_touched():
    assert clean(PASSWORD.upper().encode()) == PASSWORD.upper()
    assert clean(b"AbCd EfGh 2345 JkMn") == "AbCdEfGh2345JkMn"
    assert clean("ＡbＣd EfGh 2345 JkMn".encode()) == "AbCdEfGh2345JkMn"


NOISE = st.text(st.sampled_from(" -\t\r\n\xa0\xad\u2010\u2028\u3000\u200b\u200d\u2060\ufeff\uff0d"), max_size=3)


@given(st.lists(NOISE, min_size=LENGTH + 1, max_size=LENGTH + 1), st.sets(st.integers(0, LENGTH - 1)))
def test_noise_anywhere_and_width_make_no_difference(noise, wide):
    typed = noise[0] + "".join((WIDE if at in wide else PASSWORD)[at] + noise[at + 1] for at in range(LENGTH))
    assert clean(typed.encode()) == PASSWORD


@given(st.one_of(st.binary(max_size=40), st.text(max_size=24).map(str.encode)))
def test_whatever_is_cleaned_is_sixteen_letters_and_digits_in_the_order_they_came(secret):
    cleaned = clean(secret)
    if cleaned is not None:
        assert len(cleaned) == LENGTH
        assert set(cleaned) <= set(string.ascii_letters + string.digits)
        assert clean(cleaned.encode()) == cleaned


def test_the_alphabet_has_79_bits_and_nothing_that_reads_alike():
    assert LENGTH * math.log2(len(ALPHABET)) > 78.9
    assert not set("0o1il") & set(ALPHABET)
    check_alphabet(ALPHABET)


@pytest.mark.parametrize(
    ("alphabet", "why"),
    [
        ("", "letters and digits"),
        (ALPHABET + "-", "letters and digits"),
        (ALPHABET + "é", "letters and digits"),
        (ALPHABET + "a", "twice"),
        (string.ascii_lowercase[:25], f"{MIN_BITS} are needed: use 26"),
        (string.digits, f"53 bits, {MIN_BITS} are needed"),
    ],
)
def test_a_poor_alphabet_is_refused(alphabet, why):
    with pytest.raises(ValueError, match=why):
        check_alphabet(alphabet)


def test_twenty_six_letters_are_enough():
    check_alphabet(string.ascii_lowercase)
    check_alphabet(string.ascii_letters + string.digits)


def test_minted_passwords_are_clean_and_never_alike():
    minted = {mint() for _ in range(500)}
    assert len(minted) == 500
    assert all(clean(password.encode()) == password for password in minted)
    assert set("".join(minted)) == set(ALPHABET)
    assert set(mint("AB")) <= {"A", "B"}


def test_every_character_comes_from_the_system_source_and_is_equally_likely(monkeypatch):
    asked = []
    monkeypatch.setattr(apppassword.secrets, "choice", lambda alphabet: asked.append(alphabet) or alphabet[len(asked)])
    assert mint() == ALPHABET[1 : LENGTH + 1]
    assert asked == [ALPHABET] * LENGTH


def test_grouped_is_read_back_by_cleaning():
    assert grouped(PASSWORD) == "abcd efgh 2345 jkmn"
    assert clean(grouped(PASSWORD).encode()) == PASSWORD


def test_the_selector_is_the_first_sixteen_bits_of_the_keyed_digest():
    subkey = bytes(range(32))
    message = b"18:alice@example.test16:" + PASSWORD.encode()
    digest = hashlib.blake2b(message, key=subkey, digest_size=2).digest()
    assert selector(subkey, "alice@example.test", PASSWORD) == digest[0] << 8 | digest[1]
    assert selector(bytes(32), "alice@example.test", PASSWORD) == 34849  # stored ones must be found again


def test_the_selector_depends_on_key_login_password_and_where_one_ends():
    some = {
        selector(key, login, password)
        for key in (bytes(32), bytes(31) + b"\1")
        for login, password in (("a@b", "c"), ("a@bc", ""), ("a@", "bc"), ("a@b1:", "c"), ("ä@b", "c"), ("a@b", "d"))
    }
    assert len(some) == 12
