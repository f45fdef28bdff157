"""App passwords: minted once, listed, revoked, renamed, and never more than allowed."""

import threading

import pytest

from keyrings import put_in_use, with_another
from mailauth import apppassword
from mailauth.accounts import apppasswords
from mailauth.accounts.apppasswords import Minted, Revoked, listed, mint, rename, revoke
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.history import audit
from mailauth.accounts.mailboxes import add_account, set_account, show_account
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.attempt import Service
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import HashUnavailable
from mailauth.store.keycheck import WrongKey

ALICE = "alice@example.test"
ROOT = {"actor": "cli:root"}
NOW = 1.8e9
DAY = 86400.0


class Plain:
    """A hash scheme that is quick, and counts."""

    def __init__(self):
        self.hashed = 0

    def hash(self, secret):
        self.hashed += 1
        return f"hash of {len(secret)} characters"


@pytest.fixture
def alice(store):
    add_account(store, ALICE, None, **ROOT)
    return ALICE


@pytest.fixture
def phone(store, ring, alice):
    return mint(store, ring, Plain(), alice, label="phone", **ROOT)


def test_a_minted_app_password_is_told_once(database, ring, alice):
    store = database.store
    new = mint(store, ring, Plain(), "Alice@Example.test", label=" Anna's 手机 ", **ROOT, now=NOW)
    assert len(new.password) == 16
    assert set(new.password) <= set(apppassword.ALPHABET)
    assert (new.login, new.label) == (alice, "Anna's 手机")
    assert new.password not in repr(new)
    (row,) = database.run("SELECT * FROM app_passwords")
    assert new.password not in repr(row)
    ((key_id, selector),) = database.run("SELECT key_id, selector FROM app_passwords")
    assert ((key_id, selector),) == ring.selectors(alice, new.password)
    (view,) = listed(store, alice, now=NOW)
    assert (view.id, view.label, view.services) == (new.id, "Anna's 手机", ("imap", "pop3", "smtp"))
    assert (view.networks, view.expires_at, view.expired, view.suspended) == ((), None, False, False)
    assert (view.created_at, view.created_by, view.last_used_at) == (NOW, "cli:root", None)
    assert new.password not in repr(list(audit(store)))


def test_a_real_hash_opens(database, ring, alice):
    scheme = Argon2id(1, 8, 1)
    new = mint(database.store, ring, scheme, alice, label="phone", **ROOT)
    ((record,),) = database.run("SELECT record FROM app_passwords")
    assert scheme.verify(record, new.password.encode())


def test_minting_leaves_the_mode_as_it_is(store, alice, phone):
    assert show_account(store, alice).mode == "off"


def test_terms_are_kept_and_written_down(store, ring, alice):
    mint(
        store,
        ring,
        Plain(),
        alice,
        label="scanner",
        services=[Service.SMTP],
        networks=["192.0.2.7/24", "2001:DB8::/32", "192.0.2.0/24", "::ffff:198.51.100.0/120"],
        expires_at=NOW + DAY,
        **ROOT,
        now=NOW,
    )
    (view,) = listed(store, alice, now=NOW + DAY - 1)
    assert view.services == ("smtp",)
    assert view.networks == ("192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24")
    assert (view.expires_at, view.expired) == (NOW + DAY, False)
    assert listed(store, alice, now=NOW + DAY)[0].expired
    row = list(audit(store, login=alice))[-1]
    assert (row.kind, row.label, row.credential_id) == ("app-password-added", "scanner", view.id)
    assert row.detail == "smtp from 192.0.2.0/24 2001:db8::/32 198.51.100.0/24 until 2027-01-16T08:00:00Z"


@pytest.mark.parametrize(
    "terms",
    [
        {"label": ""},
        {"label": " \u3000 "},
        {"label": "x" * 101},
        {"label": "a\nb"},
        {"label": "a\0b"},
        {"label": "a\x1b[2J"},
        {"label": "a\u202egpj.exe"},
        {"label": "a\u2028b"},
        {"label": "a\udc80"},
        {"label": "\u200b\u2060\ufeff"},
        {"label": "\u3164"},
        {"label": "\u2800 \ufe0f"},
        {"services": []},
        {"services": ["portal"]},
        {"networks": ["192.0.2.300"]},
        {"networks": ["example.test"]},
        {"networks": ["192.0.2.0/24 10.0.0.0/8"]},
        {"networks": [f"192.0.2.{number}" for number in range(33)]},
        {"expires_at": NOW},
        {"expires_at": NOW - 1e12},
        {"expires_at": float("nan")},
        {"expires_at": float("inf")},
    ],
)
def test_terms_that_cannot_be_are_refused_before_anything_is_hashed(store, ring, alice, terms):
    scheme = Plain()
    with pytest.raises(Refused):
        mint(store, ring, scheme, alice, **{"label": "phone", **terms}, **ROOT, now=NOW)
    assert scheme.hashed == 0
    assert listed(store, alice) == []


@pytest.mark.parametrize(
    "label",
    ["x", "x" * 100, "=cmd|' /C calc'!A0", '"><script>', "'; DROP TABLE audit; --", "👩‍💻 हिन्दी", "%s%(label)s"],
)
def test_labels_are_any_text_that_can_be_shown(store, ring, alice, label):
    assert mint(store, ring, Plain(), alice, label=label, **ROOT).label == label
    assert [view.label for view in listed(store, alice)] == [label]
    assert revoke(store, alice, label=label, **ROOT)[0].label == label


def test_what_nobody_sees_in_a_label_is_not_kept(store, ring, alice):
    made = mint(store, ring, Plain(), alice, label="My\u200b\u00a0 i\u2060Phone\u00ad\U000e0041", **ROOT)
    assert made.label == "My iPhone"
    assert rename(store, alice, made.id, "x\u200dy\u3164", **ROOT).label == "xy"


def test_the_maximum_counts_live_ones_expired_or_not(store, ring, alice):
    set_account(store, alice, AccountChange(max_app_passwords=2), **ROOT)
    scheme = Plain()
    first = mint(store, ring, scheme, alice, label="old", expires_at=NOW + 1, **ROOT, now=NOW)
    mint(store, ring, scheme, alice, label="new", **ROOT, now=NOW)
    with pytest.raises(Refused, match=r"2 app passwords, and 2 is the most.*expired"):
        mint(store, ring, scheme, alice, label="more", **ROOT, now=NOW + DAY)
    assert scheme.hashed == 2
    revoke(store, alice, ids=[first.id], **ROOT)
    mint(store, ring, scheme, alice, label="more", **ROOT)
    assert show_account(store, alice).app_passwords == 2


def test_the_maximum_holds_when_fifty_are_made_at_once(store, ring, alice):
    made, refused, start = [], [], threading.Barrier(50)

    def run():
        start.wait()
        try:
            made.append(mint(store, ring, Plain(), alice, label="phone", **ROOT))
        except Refused:
            refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (10, 40)
    assert sorted(view.id for view in listed(store, alice)) == sorted(new.id for new in made)


def test_a_selector_that_is_taken_is_minted_again(store, ring, alice, monkeypatch):
    first = mint(store, ring, Plain(), alice, label="phone", **ROOT)
    dead = mint(store, ring, Plain(), alice, label="gone", **ROOT)
    revoke(store, alice, ids=[dead.id], **ROOT)
    passwords = iter([first.password, dead.password, "abcdefghjkmnpqrs"])
    monkeypatch.setattr(apppassword, "mint", lambda alphabet: next(passwords))
    new = mint(store, ring, Plain(), alice, label="laptop", **ROOT)
    assert new.password == "abcdefghjkmnpqrs"
    assert len(listed(store, alice)) == 2


def test_without_end_no_selector_is_sought(store, ring, alice, phone, monkeypatch):
    monkeypatch.setattr(apppassword, "mint", lambda alphabet: phone.password)
    with pytest.raises(Refused, match="no new app password"):
        mint(store, ring, Plain(), alice, label="laptop", **ROOT)


def test_the_alphabet_is_the_callers(store, ring, alice):
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGH"
    assert set(mint(store, ring, Plain(), alice, label="x", alphabet=alphabet, **ROOT).password) <= set(alphabet)


def test_the_newest_key_in_use_is_used(database, ring, alice):
    rotated = with_another(ring)
    mint(database.store, rotated, Plain(), alice, label="phone", **ROOT)
    put_in_use(database.store, rotated)
    mint(database.store, rotated, Plain(), alice, label="tablet", **ROOT)
    mint(database.store, ring, Plain(), alice, label="by a command that began before", **ROOT)
    assert database.run("SELECT key_id FROM app_passwords ORDER BY id") == [(1,), (2,), (1,)]
    with pytest.raises(WrongKey):
        mint(database.store, with_another(ring, filling=9), Plain(), alice, label="laptop", **ROOT)
    assert len(listed(database.store, alice)) == 3


def test_no_hash_no_app_password(store, ring, alice):
    class Full:
        def hash(self, secret):
            raise HashUnavailable("no memory")

    with pytest.raises(HashUnavailable):
        mint(store, ring, Full(), alice, label="phone", **ROOT)
    assert listed(store, alice) == []


def test_revoking_by_id_by_label_and_every_one(database, ring, alice):
    store = database.store
    ids = [mint(store, ring, Plain(), alice, label=label, **ROOT).id for label in ("a", "b", "b", "c", "d")]
    assert revoke(store, alice, ids=[ids[0]], **ROOT, now=NOW) == [Revoked(ids[0], "a")]
    assert revoke(store, alice, label="b", **ROOT, now=NOW) == [Revoked(ids[1], "b"), Revoked(ids[2], "b")]
    assert revoke(store, alice, every=True, **ROOT, now=NOW) == [Revoked(ids[3], "c"), Revoked(ids[4], "d")]
    assert revoke(store, alice, every=True, **ROOT) == []
    assert listed(store, alice) == []
    tombstones = database.run("SELECT id, label, revoked_at FROM app_passwords WHERE record <> '' ORDER BY id")
    assert tombstones == [(row_id, label, NOW) for row_id, label in zip(ids, "abbcd", strict=True)]
    told = [(row.credential_id, row.label) for row in audit(store, login=alice) if row.kind == "app-password-revoked"]
    assert told == list(zip(ids, "abbcd", strict=True))


def test_revoking_what_is_not_there_revokes_nothing(store, ring, alice, phone):
    add_account(store, "bob@example.test", None, **ROOT)
    bobs = mint(store, ring, Plain(), "bob@example.test", label="phone", **ROOT)
    for chosen in ({"ids": [phone.id, 10**30]}, {"ids": [bobs.id]}, {"label": "Phone"}, {"ids": [-1]}):
        with pytest.raises(NoSuch, match="app-password list"):
            revoke(store, alice, **chosen, **ROOT)
    revoke(store, alice, ids=[phone.id], **ROOT)
    with pytest.raises(NoSuch):
        revoke(store, alice, ids=[phone.id], **ROOT)
    assert len(listed(store, "bob@example.test")) == 1


@pytest.mark.parametrize("chosen", [{}, {"ids": [1], "every": True}, {"label": "x", "ids": [1]}])
def test_what_to_revoke_is_said_in_one_way(store, alice, chosen):
    with pytest.raises(ValueError, match="ids, label or every"):
        revoke(store, alice, **chosen, **ROOT)


def test_tombstones_are_bounded_in_number_and_age(database, ring, alice, monkeypatch):
    monkeypatch.setattr(apppasswords, "TOMBSTONES_KEPT", 3)
    store, ids = database.store, []
    for day in (0, 5, 6, 7, 8, 94, 97):
        ids.append(mint(store, ring, Plain(), alice, label="x", **ROOT, now=NOW).id)
        revoke(store, alice, every=True, **ROOT, now=NOW + day * DAY)
        kept = [row_id for (row_id,) in database.run("SELECT id FROM app_passwords ORDER BY id")]
        expected = {8: ids[2:5], 94: ids[3:], 97: ids[4:]}.get(day)
        assert expected is None or kept == expected
    assert kept == ids[4:]
    revoke_later = mint(store, ring, Plain(), alice, label="x", **ROOT, now=NOW)
    revoke(store, alice, every=True, **ROOT, now=NOW + 200 * DAY)
    assert database.run("SELECT id FROM app_passwords") == [(revoke_later.id,)]


def test_only_the_label_can_be_changed(store, alice, phone):
    view = rename(store, alice, phone.id, " Anna's phone ", **ROOT)
    assert view == listed(store, alice)[0]
    assert view.label == "Anna's phone"
    row = list(audit(store, login=alice))[-1]
    assert (row.kind, row.label, row.detail) == ("app-password-renamed", "Anna's phone", "was phone")
    with pytest.raises(Refused):
        rename(store, alice, phone.id, "\n", **ROOT)
    with pytest.raises(NoSuch):
        rename(store, alice, phone.id + 1, "x", **ROOT)


def test_a_password_is_in_no_text():
    assert "s3cret" not in repr(Minted(1, "s3cret", ALICE, "phone"))
