import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailauth import names
from mailauth.names import NotALogin, fold, fold_domain

FOLDED = [
    ("alice@example.test", "alice@example.test"),
    ("Alice@Example.TEST", "alice@example.test"),
    ("a@b", "a@b"),
    ("alice@localhost", "alice@localhost"),
    ("o'brien+tag=x/y{z}@example.com", "o'brien+tag=x/y{z}@example.com"),
    ("a@1.2.3.4", "a@1.2.3.4"),
    ("a@r3---sn.example", "a@r3---sn.example"),
    ("xn--no@example.com", "xn--no@example.com"),  # a local part may look like an A-label
    ("a@XN--MNCHEN-3YA.de", "a@xn--mnchen-3ya.de"),
    ("Ä@München.de", "ä@xn--mnchen-3ya.de"),
    ("A\u0308@Mu\u0308nchen.de", "ä@xn--mnchen-3ya.de"),  # decomposed
    ("STRASSE@straße.de", "strasse@xn--strae-oqa.de"),
    ("张三@例子.中国", "张三@xn--fsqu00a.xn--fiqs8s"),
    ("张三@例子。中国", "张三@xn--fsqu00a.xn--fiqs8s"),  # the full stop of a Chinese input method
    ("a@例子．test", "a@xn--fsqu00a.test"),
    ("タナカ太郎さん@例え.jp", "タナカ太郎さん@xn--r8jz45g.jp"),
    ("ﾀﾅｶ@x", "タナカ@x"),  # half-width
    ("ｱﾊﾟｰﾄ@x", "アパート@x"),
    ("佐々木@x", "佐々木@x"),
    ("ㄅㄆㄇ注音@x", "ㄅㄆㄇ注音@x"),
    ("김金@x", "김金@x"),
    ("Иван.Петров-2@пример.рф", "иван.петров-2@xn--e1afmkfd.xn--p1ai"),
    ("ıvan@x", "ıvan@x"),  # the dotless i is a letter of its own
    ("Alice@пример.рф", "alice@xn--e1afmkfd.xn--p1ai"),  # one script a part, not one an address
    ("a" * 64 + "@x", "a" * 64 + "@x"),
    ("a@" + "b" * 63, "a@" + "b" * 63),
]

REFUSED = [
    ("", "write it whole"),
    ("alice", "write it whole"),
    ("@", "write it whole"),
    ("@example.com", "write it whole"),
    ("alice@", "write it whole"),
    ("a@b@c", "write it whole"),
    ("a\0@example.com", "before the @"),
    ("a@example.com\n", "part of a domain"),
    ("\ta@example.com", "before the @"),
    ("a b@example.com", "before the @"),
    ("a\x7f@example.com", "before the @"),
    ('"a b"@example.com', "before the @"),
    ("a\\b@example.com", "before the @"),
    ("a(b)@example.com", "before the @"),
    (".a@example.com", "before the @"),
    ("a.@example.com", "before the @"),
    ("a..b@example.com", "before the @"),
    ("..@example.com", "before the @"),
    ("a@example..com", "no dot at either end"),
    ("a@example.com.", "no dot at either end"),
    ("a@.example.com", "no dot at either end"),
    ("a@-b.com", "part of a domain"),
    ("a@b-.com", "part of a domain"),
    ("a@b_c.com", "part of a domain"),
    ("a@[127.0.0.1]", "part of a domain"),
    ("a@" + "b" * 64, "part of a domain"),
    ("a" * 65 + "@x", "64 bytes"),
    ("é" * 33 + "@x", "64 bytes"),
    ("a@" + ".".join(["b" * 63] * 4), "254 bytes"),
    ("é@" + "b" * 63 + ("." + "b" * 62) * 3, "254 bytes"),  # in 254 characters
    ("é" * 100_000 + "@x", "254 bytes"),
    ("ａｌｉｃｅ@example.com", "only looks like 'alice'"),
    ("\u212aelvin@example.com", "only looks like 'kelvin'"),
    ("a@\u212aelvin.com", "only looks like 'kelvin'"),
    ("a@ｅxample.com", "only looks like 'example'"),
    ("a@exam\u200bple.com", "only looks like 'example'"),
    ("a@ｘｎ--mnchen-3ya.de", "only looks like"),
    ("a@example。com", "write 'example.com'"),
    ("a\u200b@example.com", "no user name may hold"),
    ("ﬁ@example.com", "no user name may hold"),
    ("ſtop@example.com", "no user name may hold"),
    ("½@example.com", "no user name may hold"),
    ("😀@example.com", "no user name may hold"),
    ("\u202eé@example.com", "no user name may hold"),
    ("é\n@example.com", "no user name may hold"),
    ("é x@example.com", "no user name may hold"),
    ("\udcff@example.com", "no user name may hold"),  # a byte that was not UTF-8
    ("é．@example.com", "before the @"),  # a full-width dot becomes one
    ("é＠@example.com", "before the @"),  # a full-width @ becomes one
    ("a@\udcff.com", "international domain label"),
    ("a@😀.com", "international domain label"),
    ("a@xn--i-7iq.ws", "international domain label"),
    ("a@xn--zzzz99999.com", "international domain label"),
    ("a@xn--abc-.com", "international domain label"),
    ("a@xn--.com", "international domain label"),
    ("a@\u0301é.com", "international domain label"),
    ("a@é\u2024com", "international domain label"),
    ("a@a/é.com", "international domain label"),
    ("раypal@example.com", "mixes letters"),  # Cyrillic and Latin
    ("a@раypal.com", "mixes letters"),
    ("a@xn--pypal-4ve.com", "mixes letters"),
    ("Iстория@example.com", "mixes letters"),
    ("\u212aириллица@example.com", "mixes letters"),  # the Kelvin sign becomes a Latin k
    ("张san@example.com", "mixes letters"),
    ("さ김@example.com", "mixes letters"),
    ("aー@example.com", "mixes letters"),  # the prolonged sound mark among Latin letters
]


@pytest.mark.parametrize(("typed", "folded"), FOLDED)
def test_a_login_has_one_spelling(typed, folded):
    assert fold(typed) == folded
    assert fold(folded) == folded


@pytest.mark.parametrize(("typed", "why"), REFUSED, ids=[ascii(typed[:30]) for typed, _ in REFUSED])
def test_what_is_no_login_is_refused_with_the_reason(typed, why):
    with pytest.raises(NotALogin) as refusal:
        fold(typed)
    assert why in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000


def test_a_domain_alone_folds_like_the_domain_of_a_login():
    assert fold_domain("Example.TEST") == "example.test"
    assert fold_domain("例子。中国") == "xn--fsqu00a.xn--fiqs8s"
    assert fold_domain("b" * 61 + "." + ".".join(["b" * 63] * 3)) == "b" * 61 + "." + ".".join(["b" * 63] * 3)
    for wrong in ("", ".", "example.com.", "a@b", "exa mple", "раypal.com", "b" * 62 + "." + ".".join(["b" * 63] * 3)):
        with pytest.raises(NotALogin):
            fold_domain(wrong)


# Characters that have made trouble somewhere.
ASCII_TROUBLE = 'abzAZ09.-_+@"\\ \0\n\x7f~'
INVISIBLE = "\xa0\xad\u0301\u0307\u200b\u200d\u202e\ufeff\ud800"
LETTERS = "ßéÉıİſＫａ．。＠\u212aяЯΣς张々ーさカｶﾞ김ㄅאب٣۳ﬁ½Ⅷ😀"
TROUBLE = [*(ASCII_TROUBLE + INVISIBLE + LETTERS), "xn--", "xn--mnchen-3ya", "xn--pypal-4ve"]
TEXT = st.lists(st.one_of(st.sampled_from(TROUBLE), st.characters(codec=None)), max_size=12).map("".join)
LOGIN = st.one_of(TEXT, st.builds("{}@{}".format, TEXT, TEXT), st.builds("{}@{}.{}".format, TEXT, TEXT, TEXT))


def fate(login):
    """The folded login, or None."""
    try:
        return fold(login)
    except NotALogin as refusal:
        assert str(refusal).isprintable()
        return None


@given(LOGIN)
@example("İ@x")
@example("ΑΣ@x")
@example("\u1e9e@x")
@settings(max_examples=400, deadline=None)
def test_folding_twice_is_folding_once(login):
    folded = fate(login)
    if folded is not None:
        assert fold(folded) == folded
        assert folded == folded.lower()
        assert len(folded.encode()) <= 254
        assert folded.isprintable()
        assert not set(folded) & set(' \0"\\')


@given(LOGIN)
@settings(max_examples=400, deadline=None)
def test_nothing_but_ascii_becomes_ascii(login):
    folded = fate(login)
    if folded is not None and folded.isascii() and "xn--" not in folded:
        assert folded == login.lower()


@given(LOGIN)
@example("\u1100\u1161@\u1100\u1161")
@example("ｶ\u3099@x")
@settings(max_examples=400, deadline=None)
def test_composed_and_decomposed_spellings_have_one_fate(login):
    composed = fate(unicodedata.normalize("NFC", login))
    decomposed = fate(unicodedata.normalize("NFD", login))
    spelled_in_ascii = unicodedata.normalize("NFC", login).isascii()  # the Kelvin sign composes to K
    assert composed == decomposed
    assert fate(login) in ((None, composed) if spelled_in_ascii else (composed,))


@given(st.text(st.sampled_from(ASCII_TROUBLE), max_size=20))
@example("a" * 64 + "@" + "b" * 63)
@example("a@" + ".".join(["b" * 63] * 3) + "." + "b" * 59)
@settings(max_examples=400, deadline=None)
def test_the_fast_path_agrees_with_the_slow_one(login):
    try:
        slow = names._fold_by_parts(login)
    except NotALogin:
        slow = None
    assert fate(login) == slow
