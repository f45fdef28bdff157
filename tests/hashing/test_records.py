import subprocess
import sys

import pytest
from argon2.low_level import Type, hash_secret

from mailauth.hashing import argon2id, legacy, records
from mailauth.hashing.argon2id import Argon2id
from mailauth.hashing.records import check, needs_rehash, verify
from mailauth.hashing.scheme import Stored, unwrap
from mailauth.interfaces import BadRecord, HashUnavailable

CHEAP = Argon2id(time_cost=1, memory_kib=8)
OURS = "$argon2id$v=19$m=8,t=1,p=1$Dy8LfJ6ZD/RORAEsuQfErg$al16n5bdXKmhOJ1Wb5pLjbcyCnAaQXksxiCZfBaLnmU"
ARGON2I = hash_secret(b"secret", bytes(16), 1, 8, 1, 32, Type.I).decode()
SSHA = "{SSHA.HEX}" + legacy.hashlib.sha1(b"secretsalt").hexdigest() + b"salt".hex()

PREFIXED = [
    OURS,
    "{ARGON2ID}" + OURS,
    "{argon2id}" + OURS,
    "{ARGON2}" + OURS,
    "{CRYPT}" + OURS,
    "{ARGON2ID.HEX}" + OURS.encode().hex(),
    ARGON2I,
    "{ARGON2I}" + ARGON2I,
    SSHA,
    "{PLAIN}secret",
]


@pytest.mark.parametrize("record", PREFIXED)
def test_every_record_finds_its_scheme(record):
    check(record)
    assert verify(record, b"secret") is True
    assert verify(record, b"Secret") is False


@pytest.mark.parametrize(
    ("record", "stored"),
    [
        ("{ssha.base64}x", Stored("SSHA", "B64", "x")),
        ("{SCRAM-SHA-1}x}y", Stored("SCRAM-SHA-1", "", "x}y")),
        ("{PLAIN}{SSHA}", Stored("PLAIN", "", "{SSHA}")),
        ("{PLAIN}\nx", Stored("PLAIN", "", "\nx")),
        ("$6$x", Stored("", "", "$6$x")),
        ("pass{word}", Stored("", "", "pass{word}")),
    ],
)
def test_the_prefix_is_taken_off_once(record, stored):
    assert unwrap(record) == stored


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "{ARGON2ID}",
        "{ARGON2ID}garbage",
        "{ARGON2ID.HEX}zz",
        "$argon2",
        "{SSHA}" + OURS,
        "{NOSUCH}x",
        "x" * 1025,
        "{PLAIN}" + "x" * 1024,
        OURS[:-2],
        "secret",
    ],
)
def test_what_cannot_be_read_is_a_bad_record_everywhere(record):
    for work in (lambda: check(record), lambda: verify(record, b"secret")):
        with pytest.raises(BadRecord) as bad:
            work()
        assert len(str(bad.value)) < 100


def test_only_records_of_the_preferred_cost_stay():
    assert not needs_rehash(OURS, CHEAP)
    assert not needs_rehash("{ARGON2ID}" + OURS, CHEAP)
    assert needs_rehash(OURS, Argon2id())
    assert needs_rehash(ARGON2I, CHEAP)
    assert needs_rehash(SSHA, CHEAP)
    assert needs_rehash("{PLAIN}secret", CHEAP)
    assert needs_rehash("$6$x", CHEAP)
    with pytest.raises(BadRecord):
        needs_rehash("$argon2id$garbage", CHEAP)


@pytest.mark.parametrize("fault", [MemoryError, ImportError])
@pytest.mark.parametrize("record", [OURS, SSHA])
def test_no_memory_and_no_library_say_nothing_about_the_password(monkeypatch, record, fault):
    def fail(*args):
        raise fault("with a secret in it")

    monkeypatch.setattr(argon2id, "read", fail)
    monkeypatch.setattr(legacy, "read", fail)
    with pytest.raises(HashUnavailable) as unavailable:
        verify(record, b"secret")
    assert "secret" not in str(unavailable.value)
    assert unavailable.value.__suppress_context__


def test_every_legacy_scheme_is_reached_through_records():
    assert records.verify("{BLF-CRYPT}$2y$05$DHw864KS0x.ofAHNsPJHpOD3ODI47zZ34OFJO3XNVMCQOqKlrjdSC", b"x") is False
    assert needs_rehash("{BLF-CRYPT}$2y$05$DHw864KS0x.ofAHNsPJHpOD3ODI47zZ34OFJO3XNVMCQOqKlrjdSC", CHEAP)


@pytest.mark.slow
def test_libraries_for_old_records_are_loaded_only_when_needed():
    program = (
        "import sys; from mailauth.hashing.argon2id import Argon2id; from mailauth.hashing import records;"
        "cheap = Argon2id(1, 8); r = cheap.hash(b'x'); assert records.verify(r, b'x');"
        "assert records.needs_rehash('$6$x', cheap); assert records.verify('{PLAIN}x', b'x');"
        "print(sorted({'argon2', 'bcrypt', 'passlib', 'cryptography'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.strip() == "[]"
