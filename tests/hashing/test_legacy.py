import shutil
import subprocess
import warnings

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailauth.hashing import legacy
from mailauth.hashing.scheme import unwrap
from mailauth.interfaces import BadRecord, HashUnavailable

PASSWORD = "pässword 中"
SECRET = PASSWORD.encode()

DOVECOT = [  # doveadm pw -s SCHEME -p 'pässword 中', Dovecot 2.3.19
    "{SHA}NBm143dQc/KvzejseUZ5WxdtnDE=",
    "{SHA1}NBm143dQc/KvzejseUZ5WxdtnDE=",
    "{SHA256}oLp6bOIanmQ53Z9a4ghXYNBbrccCBefj9vDoYi4ZOAo=",
    "{SHA256.HEX}a0ba7a6ce21a9e6439dd9f5ae2085760d05badc70205e7e3f6f0e8622e19380a",
    "{SHA512}L/EMx2gpI4M81fmCTPHKRzeH8YiSn6VhFqN1dwHR4JB2HObsF3edGe3HpNzsUt80P1mb9GNmBYQFLF0wwGBNWA==",
    "{SHA512.BASE64}L/EMx2gpI4M81fmCTPHKRzeH8YiSn6VhFqN1dwHR4JB2HObsF3edGe3HpNzsUt80P1mb9GNmBYQFLF0wwGBNWA==",
    (
        "{SHA512.HEX}2ff10cc7682923833cd5f9824cf1ca473787f188929fa56116a3757701d1e090"
        "761ce6ec17779d19edc7a4dcec52df343f599bf463660584052c5d30c0604d58"
    ),
    "{SSHA}tBTd93tOxxBBDbotDdg18ztL3xOSQ5YI",
    "{SSHA.B64}Txey6s/DKkM3y+MznG3+nCTjXvSuvUpa",
    "{SSHA256}PlMKfiKN0SnmeTIN4jxCrj1bAjGYvX/1yAjJpYwZy7TwKEoU",
    "{SSHA512}l1kqGa3Sox1G7u+JvXnlhIxVCqf9SziQEGAv5TxT30xgKMgA3SoG7y7x4P5ZRH2U8AmLMLWSsBQIMelkDCKHwhIbCcE=",
    (
        "{SSHA512.HEX}a4fe72537adc35613e7735ed61b5571c2d82c5a4f497fd4aabad92573c44cd20b0539b060f003d8e"
        "a1131f169c81b10c2664e5189f00b110307039348de4ac3a0bb15a56"
    ),
    "{SMD5}CqN1qEKJ8P2wbS7Ds+juB/vX+Kc=",
    "{SMD5.HEX}475e2b1c1f2543207eccf7580d48ba4e06dd6141",
    "{LDAP-MD5}mb9ch2RIUD+aqe1Poe9acw==",
    "{LDAP-MD5.HEX}99bf5c876448503f9aa9ed4fa1ef5a73",
    "{PLAIN-MD5}99bf5c876448503f9aa9ed4fa1ef5a73",
    "{PLAIN-MD5.B64}mb9ch2RIUD+aqe1Poe9acw==",
    "{MD5}$1$uMBLumtq$XEji0cYTXB2vc./R/peHu.",
    "{MD5-CRYPT}$1$TxSRU60S$AbK85b7IppQ6EcsoBGChR/",
    "{SHA256-CRYPT}$5$ufLSfhlF1snvLmin$aY38T67ScOdO3Yfj5DiRZqHcDixHHIaeHi2oDTgGGOD",
    (
        "{SHA512-CRYPT}$6$x2mdRrruvP9GT8gK$yHJZUlWSDnTrO48iuPwamVKtwSszNnSargccFt4OnaFY9ow"
        ".kI1UzO1NGAhEaW2Ti8B3LPeo4PRGFFm53fS3I0"
    ),
    (
        "{SHA512-CRYPT.B64}JDYkNjRlZ1RraDR6OTEuRFVoNCRlQndZREZCMm5iQ2JZS2FBRGI5YTBDTkduZlBjbEhFdnVBUDFYcVNhZnNwUWVpRVVn"
        "Wnk3LnhrSzFCZWVjVENiSWxQbXhEcHhSZGtQYS5BWlIuZnB6Lg=="
    ),
    "{BLF-CRYPT}$2y$05$DHw864KS0x.ofAHNsPJHpOD3ODI47zZ34OFJO3XNVMCQOqKlrjdSC",
    (
        "{BLF-CRYPT.HEX}24327924303524357350692f41412f6a43787a526c6d6d5575432f4c2e5a45615776574f495a554e4e2e5541327748507842436d"
        "626b41706f777079"
    ),
    "{CRYPT}$2y$05$dxyQY3t4.YrDf79e57DHG.994SQpnPIaoa5Nrz6bASmk/Y9NjcWxW",
    "{DES-CRYPT}7NSoUq4aut.tA",
    "{PBKDF2}$1$0gPqnZEmzyN/H0Lg$5000$ddeb537251616e86aa84639bbe7b5bc2d6c913b9",
    (
        "{PBKDF2.HEX}24312434634a4c75324468653447726177373624353030302439613032313761333736306538663933333366353336663065643334"
        "376632336335666435646239"
    ),
    "{SCRAM-SHA-1}4096,YqXLgjIUuKOw4vfg4EPdWA==,dihlQc7Ba4KIHPiNd+jn0EcE0hk=,78u5Lg3KiHT9yF16Wu22S59gR1w=",
    (
        "{SCRAM-SHA-256}4096,TziL/WivgLBVEY73/J8Aqw==,IWcZY36IFLjk8pczKbMvQqooyXLg73eUjk8liUJaLlY=,"
        "QLKrXuhLVKhMmKa/foVDZC0kz98qOsbl4WParCtnUjw="
    ),
    "{PLAIN}pässword 中",
    "{CLEAR}pässword 中",
    "{CLEARTEXT}pässword 中",
    "{PLAIN.B64}cMOkc3N3b3JkIOS4rQ==",
    "{PLAIN.HEX}70c3a47373776f726420e4b8ad",
]

OTHERS = [
    "$1$abcdefgh$BAEcAdrScSQ/gPQMlRQbZ.",  # openssl passwd
    "$5$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "$2b$04$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KW",  # passlib, from here on
    "$2a$04$9np/Dbbh1B4wU0rAVDU0Y.DlF2eP0Lmo6M0/LXX7NCeoLLCFgCWmi",
    "$bcrypt-sha256$v=2,t=2b,r=4$Lta5PE8d7G5e/6QNCSQYpu$3GbhlLXBQ3XjBCV2Rywcljde8w9kzx2",
    "$bcrypt-sha256$2b,4$lK8RFfwAdlDr0xnQZNeF1u$HZlhQCttaCNrwM0BFBp05St89nBtMCO",
    "{PBKDF2}1000$A.CcU8rZG.McYwxhjFFKqQ$zw4a2UGPAxhnXZGcO1hbVbtKDSY",
    "{PBKDF2-SHA1}1000$A.CcU8rZG.McYwxhjFFKqQ$zw4a2UGPAxhnXZGcO1hbVbtKDSY",
    "{PBKDF2-SHA256}1000$0Lq3tvYe47y3VopR6p1zLg$LlB3Dqm7C7N9Gq1ecsYRZKaDsZvWAdV.r4Dg26Mv50Y",
    (
        "{PBKDF2-SHA512}1000$7Z1zjhGiFGKMsXYuJWQs5Q$QJkGK84Yc.ONNkuj0R/CJfjpWZTyNS6AX/7tYV6MocmTSIYVuDjx8jHrwdphtbAe"
        "iPDGyOYUjwPUwDmkV9GjAA"
    ),
    "$pbkdf2$1000$/N87Z4yx9v7/f..dc641pg$NYZ0i2nKzZDX1MmTkm7GrJLRbCk",
    "$pbkdf2-sha256$1000$955zrtV6by2FsFZKiZESIg$0VjcItt0YwCvPf9PO7SRKtkJMZpzOyuT/MVaGm2iiiE",
    (
        "$pbkdf2-sha512$1000$f29Nae0dA6BUSgmB8J4zZg$CfbSx3mSNM6uAoCPXy8aJw46satZ1MnVF8scjqHs7at8McmoYZK94aiTaTv6dHuJ"
        "iVSHvtniaDox8zOYvyuuyQ"
    ),
    "pbkdf2_sha1$1000$312EOL3UiiR9$jG/rTV8NKYSNORHNhWuCdla8VS8=",  # Django
    "pbkdf2_sha256$1000$Ac8po9cj2Hu1$LQl+F4bB49StQUxil0xklIQjJT2I4pFibqge3Egh4j0=",
    "$scrypt$ln=8,r=8,p=1$ktIaIwTAmHNu7b1XihGCUA$vPlFZwB0HwhAQYCqkPJXy6hTHVYduf5/01YzPPrfgB0",
    "{MD5}mb9ch2RIUD+aqe1Poe9acw==",  # RFC 2307
    "{MD5}99bf5c876448503f9aa9ed4fa1ef5a73",
    "{ssha.b64}Txey6s/DKkM3y+MznG3+nCTjXvSuvUpa",  # names are caseless
    "{crypt}$5$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "7NSoUq4aut.tA",
    "$apr1$lZL6VcAb$O7I074J0IsfNbrePtviq/.",  # openssl passwd -apr1, as htpasswd
]
KNOWN = DOVECOT + OTHERS


def verify(record, secret):
    return legacy.read(unwrap(record))(secret)


@pytest.mark.parametrize("record", KNOWN)
def test_known_records_match_their_password_and_nothing_else(record):
    assert verify(record, SECRET) is True
    wrong = [b"", b" " + SECRET, SECRET[1:], SECRET.swapcase(), b"\0", b"\xff\xfe", SECRET[:7] + b"X"]
    if "DES" not in record and record != "7NSoUq4aut.tA":  # DES crypt sees eight bytes only
        wrong += [SECRET + b" ", SECRET[:-1], SECRET + b"\0", SECRET + b"x" * 5000]
    assert [verify(record, secret) for secret in wrong] == [False] * len(wrong)


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("doveadm") is None, reason="needs Dovecot")
@pytest.mark.parametrize("scheme", sorted({unwrap(record).scheme for record in DOVECOT}))
def test_what_dovecot_makes_here_and_now_is_verified(scheme):
    made = subprocess.run(["doveadm", "pw", "-s", scheme, "-p", PASSWORD], capture_output=True, text=True, check=True)
    assert verify(made.stdout.rstrip("\n"), SECRET) is True
    assert verify(made.stdout.rstrip("\n"), b"another") is False


GARBAGE = [
    "",
    "{",
    "{}",
    "{SSHA}",
    "{PLAIN}",
    "{SSHA",
    "{SS HA}abc",
    "{NOSUCH}abc",
    "{CRAM-MD5}38b57fd1a0c4b46c814aa05f20318edd71c455380655f2c0ac35c5b359528d29",
    "{SHA.B32}abc",
    "{SHA.}abc",
    "{SHA}$1$uMBLumtq$XEji0cYTXB2vc./R/peHu.",
    "{SHA}NBm143dQc/KvzejseUZ5WxdtnDE",  # no padding
    "{SHA}NBm143dQc/KvzejseUZ5WxdtnDEA",  # 21 bytes
    "{SHA}NBm143dQc/Kvzejs",
    "{SHA256}NBm143dQc/KvzejseUZ5WxdtnDE=",
    "{SHA}NBm143dQc/KvzejseUZ5Wxd*nDE=",
    "{SSHA}NBm143dQc/KvzejseUZ5WxdtnDE=",  # a digest without salt
    "{SSHA.HEX}3419",
    "{SHA.HEX}34 19 9b d7 87 50 73 f2 af cd e8 ec 79 46 79 5b 17 6d 9c 31",
    "{SHA.HEX}٣٤199bd7875073f2afcde8ec7946795b176d9c31",
    "{PLAIN-MD5}99bf5c876448503f9aa9ed4fa1ef5a7",
    "{PLAIN-MD5.HEX}99bf5c876448503f9aa9ed4fa1ef5azz",
    "{PLAIN.HEX}7",
    "{PLAIN.B64}=",
    "{MD5}$1$",
    "{MD5-CRYPT}$1$TxSRU60S",
    "$1$TxSRU60S$AbK85b7IppQ6EcsoBGChR",
    "$1$TxSRU60SxxAbK85b7IppQ6EcsoBGChR/",
    "$5$rounds=10$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "$5$rounds=1000001$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "$5$rounds=999999999$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "$5$rounds=x$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "$6$abc$ltXQTwqyu0aIw9AIeFawpOA6JBo7d3QKzVI9oORneOC",
    "$2b$04$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/K",
    "$2b$04$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KWx",
    "$2b$04$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KX",  # bits beyond the last byte
    "$2b$04$VOP6avjNM60z5IXkFhv21vu3642NwvuijLhiZJ1G7h5d6NJzIq/KW",
    "$2b$03$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KW",
    "$2b$31$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KW",
    "$2b$99$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KW",
    "$2x$04$VOP6avjNM60z5IXkFhv21Ou3642NwvuijLhiZJ1G7h5d6NJzIq/KW",  # with its well-known bug
    "$2$",
    "$bcrypt-sha256$v=2,t=2b,r=4$Lta5PE8d7G5e/6QNCSQYpu$",
    "$bcrypt-sha256$v=2,t=2b,r=40$Lta5PE8d7G5e/6QNCSQYpu$3GbhlLXBQ3XjBCV2Rywcljde8w9kzx2",
    "{PBKDF2}$1$salt$0$ddeb537251616e86aa84639bbe7b5bc2d6c913b9",
    "{PBKDF2}$1$salt$999999999$ddeb537251616e86aa84639bbe7b5bc2d6c913b9",
    "{PBKDF2}$1$salt$5000$ddeb53",
    "{PBKDF2}$2$salt$5000$ddeb537251616e86aa84639bbe7b5bc2d6c913b9",
    "{PBKDF2-SHA256}1000$0Lq3tvYe47y3VopR6p1zLg",
    "{PBKDF2-SHA256}1000$0Lq3tvYe47y3VopR6p1zL$LlB3Dqm7C7N9Gq1ecsYRZKaDsZvWAdV.r4Dg26Mv50Y",
    "{PBKDF2-SHA256}10000001$0Lq3tvYe47y3VopR6p1zLg$LlB3Dqm7C7N9Gq1ecsYRZKaDsZvWAdV.r4Dg26Mv50Y",
    "pbkdf2_sha256$1000$Ac8po9cj2Hu1$",
    "pbkdf2_md5$1000$Ac8po9cj2Hu1$LQl+F4bB49StQUxil0xklIQjJT2I4pFibqge3Egh4j0=",
    "pbkdf2_sha256$1000$Ac8po9cj2Hu1$LQl+F4bB49StQUxil0xklIQjJT2I4pFibqge3Egh4j0",
    "{SCRAM-SHA-1}4096,YqXLgjIUuKOw4vfg4EPdWA==,dihlQc7Ba4KIHPiNd+jn0EcE0hk=",
    "{SCRAM-SHA-256}4096,YqXLgjIUuKOw4vfg4EPdWA==,dihlQc7Ba4KIHPiNd+jn0EcE0hk=,78u5Lg3KiHT9yF16Wu22S59gR1w=",
    "{SCRAM-SHA-1}0,YqXLgjIUuKOw4vfg4EPdWA==,dihlQc7Ba4KIHPiNd+jn0EcE0hk=,78u5Lg3KiHT9yF16Wu22S59gR1w=",
    "{SCRAM-SHA-1}4096,=,dihlQc7Ba4KIHPiNd+jn0EcE0hk=,78u5Lg3KiHT9yF16Wu22S59gR1w=",
    "$scrypt$ln=0,r=8,p=1$ktIaIwTAmHNu7b1XihGCUA$vPlFZwB0HwhAQYCqkPJXy6hTHVYduf5/01YzPPrfgB0",
    "$scrypt$ln=16,r=1,p=1$ktIaIwTAmHNu7b1XihGCUA$vPlFZwB0HwhAQYCqkPJXy6hTHVYduf5/01YzPPrfgB0",
    "$scrypt$ln=30,r=8,p=1$ktIaIwTAmHNu7b1XihGCUA$vPlFZwB0HwhAQYCqkPJXy6hTHVYduf5/01YzPPrfgB0",
    "$scrypt$ln=8,r=8,p=999999$ktIaIwTAmHNu7b1XihGCUA$vPlFZwB0HwhAQYCqkPJXy6hTHVYduf5/01YzPPrfgB0",
    "$scrypt$ln=8,r=8,p=1$ktIaIwTAmHNu7b1XihGCUA$",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",  # yescrypt
    "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
    "!",
    "*",
    "!$6$abc",
    "hunter2",
    "correct horse battery",
    "7NSoUq4aut.tAx",
    "7N",
    "é" * 13,
    "密码",
]


@pytest.mark.parametrize("record", GARBAGE)
def test_garbage_is_a_bad_record_before_anything_is_computed(record):
    with pytest.raises(BadRecord) as bad:
        legacy.read(unwrap(record))
    assert len(record) < 5 or record not in str(bad.value)


@given(st.sampled_from(KNOWN), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_record_never_matches_another_password_and_breaks_nothing(record, data):
    at = data.draw(st.integers(0, len(record)))
    damaged = record[:at] + data.draw(st.text(max_size=3)) + record[at + data.draw(st.integers(0, 3)) :]
    try:
        check = legacy.read(unwrap(damaged))
    except BadRecord:
        return
    if "$" not in damaged and "SCRAM" not in damaged:  # with another cost it might take its time
        assert check(b"surely another password") is False


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_a_bad_record(text):
    for record in (
        text,
        "{CRYPT}" + text,
        "{PBKDF2}" + text,
        "{SCRAM-SHA-1}" + text,
        "{SSHA.HEX}" + text,
        "$6$" + text,
    ):
        try:
            legacy.read(unwrap(record))
        except BadRecord as bad:
            assert str(bad).isprintable()


def test_bcrypt_sees_the_first_72_bytes_and_des_the_first_8_as_their_makers_did():
    blf_of_80_x = "{BLF-CRYPT}$2y$05$qXT1G1tx7/cSkr2DW5.4yOJPfI.HrlLLVPsla8cs4h4xTcB4bsHCe"  # doveadm pw
    assert verify(blf_of_80_x, b"x" * 80) is True
    assert verify(blf_of_80_x, b"x" * 72) is True
    assert verify(blf_of_80_x, b"x" * 1000) is True
    assert verify(blf_of_80_x, b"x" * 71) is False
    des_of_longpassword = "{DES-CRYPT}ODNdQ0q0Yt0Xs"
    assert verify(des_of_longpassword, b"longpassword") is True
    assert verify(des_of_longpassword, b"longpass") is True
    assert verify(des_of_longpassword, b"longpas") is False
    long_secret = b"y" * 100
    record = "$bcrypt-sha256$v=2,t=2b,r=4$Lta5PE8d7G5e/6QNCSQYpu$3GbhlLXBQ3XjBCV2Rywcljde8w9kzx2"
    assert verify(record, long_secret) is False  # and raises nothing


def test_bytes_that_are_not_utf_8_are_a_password_like_any_other():
    secret = b"\xff\xfe\x80"
    assert verify("$2b$04$" + bcrypt.hashpw(secret, b"$2b$04$VOP6avjNM60z5IXkFhv21O")[7:].decode(), secret) is True
    assert verify("{PLAIN.HEX}fffe80", secret) is True
    assert verify("{SHA256.HEX}" + legacy.hashlib.sha256(secret).hexdigest(), secret) is True


def test_no_comparison_stops_at_the_first_difference(monkeypatch):
    compared = []
    compare = legacy.hmac.compare_digest
    monkeypatch.setattr(legacy.hmac, "compare_digest", lambda a, b: compared.append(len(a)) or compare(a, b))
    ours = [record for record in KNOWN if "$1$" not in record and "$5$" not in record and "$6$" not in record]
    ours = [
        record for record in ours if unwrap(record).scheme not in {"DES-CRYPT", "SHA512-CRYPT"} and record[0] != "7"
    ]
    for record in ours:
        assert verify(record, SECRET) is True
    assert len(compared) == len(ours)


def test_scrypt_without_memory_is_hash_unavailable(monkeypatch):
    def fail(*args, **cost):
        raise ValueError("[digital envelope routines] memory limit exceeded")

    check = legacy.read(unwrap(OTHERS[15]))
    monkeypatch.setattr(legacy.hashlib, "scrypt", fail)
    with pytest.raises(HashUnavailable, match="scrypt with"):
        check(SECRET)


def test_no_library_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for record in KNOWN:
            verify(record, b"x")
