import os
import subprocess
import sys
import textwrap

import pytest
from argon2 import PasswordHasher
from argon2.low_level import Type, hash_secret
from hypothesis import given, settings
from hypothesis import strategies as st

from mailauth.hashing import argon2id
from mailauth.hashing.argon2id import Argon2id, parse
from mailauth.interfaces import BadRecord, HashUnavailable

CHEAP = Argon2id(time_cost=1, memory_kib=8)
SECRET = "pässword 中".encode()
SALT, TAG = "AAAAAAAAAAAAAAAAAAAAAA", "A" * 43

# Made by `doveadm pw -s ARGON2ID` and `-s ARGON2I`, which use libsodium.
DOVECOT_ID = "$argon2id$v=19$m=65536,t=3,p=1$AeVN3HlSFicbZTxEHM37dw$8jH2X22sI4P81SA3pO077am+p+37v3tEAjPBcctpeAs"
DOVECOT_I = "$argon2i$v=19$m=32768,t=4,p=1$hlpGwVBDez5IyKx8xrZHnw$oPAB0xjU7ghdZirCioN11u4uYENrlW1NrGbVmfqdtbQ"


@pytest.fixture
def only_sodium(monkeypatch):
    monkeypatch.setattr(argon2id.Phc, "_derive_by_argon2_cffi", None)


@pytest.fixture
def only_argon2_cffi(monkeypatch):
    monkeypatch.setattr(argon2id, "crypto_pwhash_alg", None)


@pytest.mark.slow
def test_argon2id_of_dovecot_is_verified_by_libsodium(only_sodium):
    assert CHEAP.verify(DOVECOT_ID, SECRET) is True
    assert CHEAP.verify(DOVECOT_ID, SECRET + b" ") is False


@pytest.mark.slow
def test_argon2i_of_dovecot_is_verified_by_argon2_cffi(only_argon2_cffi):
    assert CHEAP.verify(DOVECOT_I, SECRET) is True
    assert CHEAP.verify(DOVECOT_I, SECRET + b" ") is False


@pytest.mark.parametrize(
    ("kind", "lanes", "salt_bytes", "tag_bytes", "version"),
    [
        (Type.ID, 2, 16, 32, 19),
        (Type.ID, 1, 8, 32, 19),
        (Type.ID, 1, 64, 32, 19),
        (Type.ID, 1, 16, 12, 19),
        (Type.ID, 1, 16, 32, 16),
        (Type.I, 1, 16, 32, 19),
        (Type.D, 4, 20, 128, 19),
    ],
)
def test_what_libsodium_cannot_do_goes_to_argon2_cffi(only_argon2_cffi, kind, lanes, salt_bytes, tag_bytes, version):
    record = hash_secret(SECRET, os.urandom(salt_bytes), 2, 64, lanes, tag_bytes, kind, version).decode()
    assert CHEAP.verify(record, SECRET) is True
    assert CHEAP.verify(record, b"") is False


def test_a_record_without_a_version_is_of_1_0(only_argon2_cffi):
    record = hash_secret(SECRET, bytes(16), 1, 8, 1, 32, Type.ID, 16).decode()
    assert CHEAP.verify(record.replace("$v=16", ""), SECRET) is True


@pytest.mark.parametrize(("memory_kib", "passes", "tag_bytes"), [(8, 1, 16), (64, 3, 32), (1024, 2, 64)])
def test_both_libraries_derive_the_same(only_sodium, memory_kib, passes, tag_bytes):
    record = hash_secret(SECRET, os.urandom(16), passes, memory_kib, 1, tag_bytes, Type.ID).decode()
    assert CHEAP.verify(record, SECRET) is True
    assert CHEAP.verify(record, SECRET[:-1]) is False


@pytest.mark.parametrize("scheme", [CHEAP, Argon2id(3, 64), Argon2id(1, 64, 4), Argon2id()])
def test_new_records_are_read_by_argon2_cffi_and_by_us(scheme):
    record = scheme.hash(SECRET)
    assert PasswordHasher().verify(record, SECRET)
    assert scheme.verify(record, SECRET) is True
    assert scheme.verify(record, SECRET + b"x") is False
    phc = parse(record)
    assert (len(phc.salt), len(phc.tag)) == (16, 32)
    assert record.startswith(f"$argon2id$v=19$m={scheme.memory_kib},t={scheme.time_cost},p={scheme.parallelism}$")


def test_every_record_has_a_salt_of_its_own():
    assert len({CHEAP.hash(SECRET) for _ in range(20)}) == 20


def test_the_default_cost_is_the_second_choice_of_owasp():
    assert Argon2id() == Argon2id(time_cost=2, memory_kib=19456, parallelism=1)


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(deadline=None)
def test_only_the_same_bytes_match(secret, other):
    record = CHEAP.hash(secret)
    assert CHEAP.verify(record, secret) is True
    assert CHEAP.verify(record, other) is (secret == other)


GARBAGE = [
    "",
    "$argon2id$",
    f"argon2id$v=19$m=8,t=1,p=1${SALT}${TAG}",
    f"$argon2x$v=19$m=8,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=18$m=8,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$t=1,m=8,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=1,p=1,keyid=AAAA${SALT}${TAG}",
    f"$argon2id$v=19$m=08,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=٨,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}$",
    f"$argon2id$v=19$m=8,t=1,p=1$${TAG}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG}$",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG}\n",
    f" $argon2id$v=19$m=8,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG}=",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG[:-1]}-",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG[:-1]}B",  # bits beyond the last byte
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG[:-2]}",  # no length of base64
    f"$argon2id$v=19$m=8,t=1,p=1${SALT[:10]}${TAG}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG[:14]}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG * 4}",
    f"$argon2id$v=19$m=7,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=15,t=1,p=2${SALT}${TAG}",
    f"$argon2id$v=19$m=0,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=0,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=1,p=0${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=-1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=4194305,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=4294967295,t=1,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=8,t=4294967295,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=4194304,t=5,p=1${SALT}${TAG}",
    f"$argon2id$v=19$m=65536,t=1,p=65${SALT}${TAG}",
    f"$argon2id$v=19$m=99999999999999999999,t=1,p=1${SALT}${TAG}",
]


@pytest.mark.parametrize("record", GARBAGE)
def test_garbage_and_absurd_costs_are_bad_records_and_never_a_mismatch(record):
    with pytest.raises(BadRecord):
        CHEAP.verify(record, SECRET)
    with pytest.raises(BadRecord):
        CHEAP.needs_rehash(record)


VECTOR = hash_secret(b"secret", b"1234567890123456", 1, 8, 1, 32, Type.ID).decode()


@given(st.integers(0, len(VECTOR)), st.characters())
@settings(deadline=None)
def test_one_changed_character_is_a_mismatch_or_a_bad_record_never_a_match(at, character):
    record = VECTOR[:at] + character + VECTOR[at + 1 :]
    try:
        matches = CHEAP.verify(record, b"secret")
    except BadRecord:
        return
    assert matches is (record == VECTOR)


@pytest.mark.parametrize(
    "cost", [(0, 8, 1), (1, 7, 1), (1, 8, 0), (1, 8, 2), (1, 4194305, 1), (5, 4194304, 1), (1, 65536, 65)]
)
def test_a_cost_that_records_may_not_have_cannot_be_configured(cost):
    with pytest.raises(ValueError, match="argon2id: "):
        Argon2id(*cost)


def test_a_record_needs_rehash_when_anything_differs():
    assert not CHEAP.needs_rehash(CHEAP.hash(SECRET))
    for other in (Argon2id(2, 8), Argon2id(1, 9), Argon2id(1, 16, 2)):
        assert CHEAP.needs_rehash(other.hash(SECRET))
        assert other.needs_rehash(CHEAP.hash(SECRET))
    for kind, salt_bytes, tag_bytes, version in (
        (Type.I, 16, 32, 19),
        (Type.ID, 8, 32, 19),
        (Type.ID, 16, 16, 19),
        (Type.ID, 16, 32, 16),
    ):
        assert CHEAP.needs_rehash(hash_secret(b"", bytes(salt_bytes), 1, 8, 1, tag_bytes, kind, version).decode())
    assert not CHEAP.needs_rehash(hash_secret(b"", bytes(16), 1, 8, 1, 32, Type.ID, 19).decode())


def child(program):
    """What a Python of its own prints."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
@pytest.mark.parametrize("lanes", [1, 2], ids=["libsodium", "argon2-cffi"])
def test_without_memory_the_right_password_is_neither_right_nor_wrong(lanes):
    report = child(
        f"""
        import resource
        from mailauth.hashing.argon2id import Argon2id
        from mailauth.interfaces import HashUnavailable

        scheme = Argon2id(time_cost=1, memory_kib=65536, parallelism={lanes})
        record = scheme.hash(b"right")
        print(scheme.verify(record, b"right"))
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))
        for work in (lambda: scheme.verify(record, b"right"), lambda: scheme.verify(record, b"wrong"),
                     lambda: scheme.hash(b"right")):
            try:
                print(work())
            except HashUnavailable as fault:
                print(type(fault).__name__, "65536 KiB" in str(fault), record in str(fault))
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(scheme.verify(record, b"right"))
        """
    )
    assert report.splitlines() == ["True", *["HashUnavailable True False"] * 3, "True"]


@pytest.mark.slow
def test_argon2_cffi_is_loaded_only_when_needed_and_its_absence_is_no_mismatch():
    report = child(
        """
        import sys
        from mailauth.hashing.argon2id import Argon2id
        from mailauth.interfaces import HashUnavailable

        cheap = Argon2id(1, 8)
        print(cheap.verify(cheap.hash(b"x"), b"x"), "argon2" in sys.modules)
        record = Argon2id(1, 16, 2).hash(b"x")
        print("argon2" in sys.modules)
        for name in [name for name in sys.modules if name.startswith("argon2")]:
            sys.modules[name] = None
        try:
            print(cheap.verify(record, b"x"))
        except HashUnavailable as fault:
            print(fault)
        """
    )
    assert report.splitlines() == ["True False", "True", "argon2-cffi cannot be loaded: ModuleNotFoundError"]


@pytest.mark.parametrize("fault", [MemoryError, argon2id.CryptoError])
def test_a_failing_library_is_hash_unavailable_and_its_text_is_not_passed_on(monkeypatch, fault):
    def fail(*args):
        raise fault("secret in the text")

    record = CHEAP.hash(SECRET)
    monkeypatch.setattr(argon2id, "crypto_pwhash_alg", fail)
    with pytest.raises(HashUnavailable) as unavailable:
        CHEAP.verify(record, SECRET)
    assert "secret" not in str(unavailable.value)
    assert unavailable.value.__suppress_context__
