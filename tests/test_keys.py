import base64
import os
import stat

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from mailauth import keys
from mailauth.apppassword import selector
from mailauth.keys import Key, KeyFileError, KeyRing, hkdf

RFC_5869 = [  # appendix A: IKM, salt, info, L, OKM
    (
        bytes([0x0B] * 22),
        bytes(range(0x0D)),
        bytes(range(0xF0, 0xFA)),
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        82,
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        bytes([0x0B] * 22),
        b"",
        b"",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]
ZERO = base64.b64encode(bytes(32)).decode()
ONES = base64.b64encode(b"\1" * 32).decode()
TIME = "2026-11-21T12:00:00+00:00"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "server.key"


def written(path, text, mode=0o600):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("secret", "salt", "info", "length", "output"), RFC_5869)
def test_hkdf_gives_the_vectors_of_rfc_5869(secret, salt, info, length, output):
    assert hkdf(secret, salt, info, length).hex() == output


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40), st.integers(1, 300))
def test_hkdf_agrees_with_cryptography(secret, salt, info, length):
    assert hkdf(secret, salt, info, length) == HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def test_a_new_file_is_private_and_reads_back(path):
    ring = KeyRing.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ring.ids == (1,)
    assert ring.newest == 1
    assert len(ring.keys[0].secret) == 32
    assert KeyRing.load(path).keys == ring.keys
    assert path.read_text().startswith("# The server keys of mailauth")


def test_two_new_files_never_hold_the_same_key(tmp_path):
    assert KeyRing.create(tmp_path / "a").keys[0].secret != KeyRing.create(tmp_path / "b").keys[0].secret


def test_the_umask_changes_nothing(path):
    before = os.umask(0o777)
    try:
        KeyRing.create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_never_overwritten(path):
    written(path, "precious")
    with pytest.raises(FileExistsError):
        KeyRing.create(path)
    assert path.read_text() == "precious"


def test_a_link_to_nowhere_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        KeyRing.create(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_half_written_file(path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        KeyRing.create(path)
    assert not path.exists()


def test_keys_may_stand_in_any_order_among_comments(path):
    ring = KeyRing.load(written(path, f"# a\n\n7 {TIME} {ONES}\r\n  \n3 2026-11-21T12:00:00Z {ZERO}\n"))
    assert ring.ids == (3, 7)
    assert ring.newest == 7


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no key file"),
        ("# nothing\n", "it is no key file"),
        (b"\0" * 70_000, "line 1 is no key"),
        (b"# \n" * 30_000, "it is no key file"),
        (b"\x89PNG\r\n\x1a\n", "line 1 is no key"),
        (f"0 {TIME} {ZERO}", "line 1 is no key"),
        (f"-1 {TIME} {ZERO}", "line 1 is no key"),
        (f"01 {TIME} {ZERO}", "line 1 is no key"),
        (f"1 yesterday {ZERO}", "line 1 is no key"),
        (f"1 {TIME}", "line 1 is no key"),
        (f"1 {TIME} {ZERO} more", "line 1 is no key"),
        (f"1 {TIME} {ZERO[4:]}", "line 1 is no key"),
        (f"1 {TIME} {ZERO[:-1]}", "line 1 is no key"),
        (f"#\n1 {TIME} {ZERO}\n2 {TIME} {ONES}\n1 {TIME} {ONES}\n", "line 4 has id 1 again"),
        (f"1 {TIME} {ZERO}\nrubbish\n", "line 2 is no key"),
    ],
)
def test_what_is_no_key_file_is_said_in_one_line(path, text, why):
    with pytest.raises(KeyFileError) as refusal:
        KeyRing.load(written(path, text))
    assert why in str(refusal.value)
    assert str(refusal.value).startswith(f"key file {path}: ")
    assert "restore it from your backup" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert ZERO not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
def test_a_file_that_others_may_use_is_refused(path, mode):
    written(path, f"1 {TIME} {ZERO}\n", mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}\); run: chmod 600 {path}"):
        KeyRing.load(path)


def test_a_missing_file_is_said_to_be_missing(path):
    with pytest.raises(KeyFileError, match="it is missing; restore it"):
        KeyRing.load(path)


def test_a_folder_a_fifo_and_a_broken_path_are_refused_at_once(path, tmp_path):
    with pytest.raises(KeyFileError, match="not a regular file"):
        KeyRing.load(tmp_path)
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        KeyRing.load(path)
    with pytest.raises(KeyFileError, match="Not a directory; make it readable"):
        KeyRing.load(path / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_no_permission_is_said_to_be_unreadable(path):
    written(path, f"1 {TIME} {ZERO}\n", 0o000)
    with pytest.raises(KeyFileError, match="Permission denied; make it readable for this user alone"):
        KeyRing.load(path)


def test_rotation_adds_a_key_and_keeps_the_old_ones(path):
    old = KeyRing.create(path)
    new = KeyRing.rotate(path)
    assert new.ids == (1, 2)
    assert new.newest == 2
    assert new.keys[0] == old.keys[0]
    assert new.subkey("selector", 1) == old.subkey("selector")
    assert new.subkey("selector") != old.subkey("selector")
    assert KeyRing.load(path).keys == new.keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_rotation_by_root_leaves_the_file_to_its_owner(path):
    KeyRing.create(path)
    os.chown(path, 12345, 54321)
    KeyRing.rotate(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_while_one_command_changes_the_file_no_other_does(path, monkeypatch):
    KeyRing.create(path)
    write, refusals = keys._write_new, []

    def beside(draft, ring):
        for change in (KeyRing.rotate, lambda place: KeyRing.remove(place, 1)):
            with pytest.raises(KeyFileError, match="another command is changing it; run this one again") as refusal:
                change(path)
            refusals.append(refusal)
        write(draft, ring)

    monkeypatch.setattr(keys, "_write_new", beside)
    KeyRing.rotate(path)
    assert len(refusals) == 2
    assert KeyRing.load(path).ids == (1, 2)


def test_a_file_that_was_replaced_before_it_was_locked_is_left_alone(path, monkeypatch):
    KeyRing.create(path)
    lock = keys.fcntl.flock

    def late(descriptor, how):
        written(path.with_name("other"), f"1 {TIME} {ZERO}\n2 {TIME} {ONES}\n").replace(path)
        lock(descriptor, how)

    monkeypatch.setattr(keys.fcntl, "flock", late)
    with pytest.raises(KeyFileError, match="another command is changing it"):
        KeyRing.rotate(path)
    assert KeyRing.load(path).ids == (1, 2)


def test_what_a_killed_rotation_left_is_in_nobodys_way(path):
    KeyRing.create(path)
    written(path.with_name(path.name + ".new"), "half")
    assert KeyRing.rotate(path).ids == (1, 2)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_rotation_that_fails_leaves_the_file_as_it_was(path, monkeypatch, call):
    ring = KeyRing.create(path)

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((keys.os, "fsync") if call == "fsync" else (type(path), "replace")), fails)
    with pytest.raises(KeyFileError, match="it cannot be changed: No space left on device"):
        KeyRing.rotate(path)
    assert KeyRing.load(path).keys == ring.keys
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_link_stays_a_link(path, tmp_path):
    place = tmp_path / "elsewhere" / "real.key"
    place.parent.mkdir()
    KeyRing.create(place)
    path.symlink_to(place)
    KeyRing.rotate(path)
    assert path.is_symlink()
    assert KeyRing.load(place).ids == (1, 2)


def test_a_missing_file_is_not_rotated(path):
    with pytest.raises(KeyFileError, match="it is missing; restore it"):
        KeyRing.rotate(path)
    assert not path.exists()


def test_a_file_takes_so_many_keys_and_no_more(path):
    written(path, "".join(f"{n} {TIME} {ZERO}\n" for n in range(1, keys.MAX_KEYS + 1)))
    with pytest.raises(KeyFileError, match="64 keys, the most there can be; `mailauth key remove`"):
        KeyRing.rotate(path)
    assert len(KeyRing.load(path).keys) == keys.MAX_KEYS
    with pytest.raises(KeyFileError, match="no key file"):
        KeyRing.load(written(path, "".join(f"{n} {TIME} {ZERO}\n" for n in range(1, keys.MAX_KEYS + 2))))


def test_an_old_key_is_removed_and_the_others_stay(path):
    KeyRing.create(path)
    both = KeyRing.rotate(path)
    for _ in range(2):  # done again after an interruption, it does nothing
        left = KeyRing.remove(path, 1)
        assert (left.ids, left.newest) == ((2,), 2)
        assert KeyRing.load(path).keys == left.keys == both.keys[1:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_newest_key_is_not_removed_so_no_id_is_given_twice(path):
    KeyRing.create(path)
    KeyRing.rotate(path)
    with pytest.raises(ValueError, match="newest"):
        KeyRing.remove(path, 2)
    assert KeyRing.load(path).ids == (1, 2)
    KeyRing.remove(path, 1)
    assert KeyRing.rotate(path).ids == (2, 3)


RING = KeyRing([Key(2, TIME, b"\1" * 32), Key(1, TIME, bytes(32))])


def test_subkeys_differ_by_purpose_and_key_and_stay_the_same():
    some = [RING.subkey(purpose, key_id) for purpose in ("selector", "check-value") for key_id in (1, 2)]
    assert len(set(some)) == 4
    assert all(len(subkey) == 32 for subkey in some)
    assert RING.subkey("selector") == RING.subkey("selector", 2)
    assert RING.subkey("selector", 1).hex() == "e97ae30e896d7b00432cf8e52b8bcdc7d74b1cf5429e385ee235a94da1d265aa"
    assert RING.subkey("selector", 1) == hkdf(bytes(32), b"mailauth", b"selector", 32)
    with pytest.raises(KeyError):
        RING.subkey("selector", 3)


def test_selectors_need_no_derivation_once_the_ring_is_there(monkeypatch):
    subkeys = {key_id: RING.subkey("selector", key_id) for key_id in RING.ids}
    monkeypatch.setattr(keys, "hkdf", None)
    found = RING.selectors("alice@example.test", "abcdefgh2345jkmn")
    assert found == tuple(
        (key_id, selector(subkeys[key_id], "alice@example.test", "abcdefgh2345jkmn")) for key_id in (1, 2)
    )
    assert RING.subkey("selector", 1) is subkeys[1]


def test_check_values_belong_to_one_store_and_one_key():
    some = {RING.check_value(store, key_id) for store in ("a", "b") for key_id in (1, 2)}
    assert len(some) == 4
    assert all(len(value) == 64 and bytes.fromhex(value) for value in some)
    assert RING.check_value("a", 1) == KeyRing(RING.keys[:1]).check_value("a", 1)
    with pytest.raises(KeyError):
        RING.check_value("a", 3)


def test_no_text_of_a_ring_shows_a_secret():
    assert repr(RING) == "KeyRing(ids=(1, 2))"
    assert repr(RING.keys[0]) == f"Key(id=1, created='{TIME}')"


def test_new_things_are_made_under_the_key_that_is_said():
    older = RING.using(1)
    assert (older.newest, older.ids, older.keys) == (1, (1, 2), RING.keys)
    assert older.subkey("selector") == RING.subkey("selector", 1)
    assert older.selectors("a@example.test", "abcdefgh2345jkmn") == RING.selectors("a@example.test", "abcdefgh2345jkmn")
    assert RING.without(1).ids == (2,)
    with pytest.raises(ValueError, match="newest"):
        older.without(1)


def test_an_empty_ring_cannot_be():
    with pytest.raises(ValueError, match="at least one key"):
        KeyRing([])
