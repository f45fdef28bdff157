from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import pytest
from factor_house import NOW, PORTAL, WebAuthnDevice, occasion
from hypothesis import given, settings
from hypothesis import strategies as st
from soft_authenticator import SoftAuthenticator, b64, cbor, unb64

from mailauth import plugins
from mailauth.factors.factor import Asked, Done, Reason, Wrong
from mailauth.factors.section import BadSection
from mailauth.interfaces import BadRecord

SECTION: dict[str, object] = {"rp_id": "mail.example.test", "origins": [PORTAL], "rp_name": "Example 邮箱"}
FACTOR: Any = plugins.load("factors", "webauthn", SECTION)


def enrol(key: SoftAuthenticator, state: Any = None, factor: Any = FACTOR, name: str = "", **altered: Any) -> Any:
    at = occasion()
    pending = factor.enrol(at, state, {"name": name}).pending
    options = factor.show(at, state, pending)["options"]
    return factor.confirm(at, state, pending, {"credential": key.create(options, **altered)})


def check(key: SoftAuthenticator, state: Any, factor: Any = FACTOR, **altered: Any) -> Any:
    at = occasion(NOW + 60)
    pending = factor.challenge(at, state).pending
    options = factor.show(at, state, pending)["options"]
    return factor.check(at, state, pending, {"credential": key.get(options, **altered)})


def state_with(*keys: SoftAuthenticator) -> Any:
    state = None
    for number, key in enumerate(keys):
        state = enrol(key, state, name=f"key {number}").state
    return state


@pytest.mark.parametrize("eddsa", [False, True])
def test_a_key_is_enrolled_and_verifies(eddsa: bool) -> None:
    key = SoftAuthenticator(PORTAL, eddsa=eddsa)
    done = enrol(key, name="  YubiKey ")
    assert isinstance(done, Done)
    (part,) = FACTOR.listed(done.state)
    assert (part.id, part.name, part.created_at, part.used_at) == (b64(key.id), "YubiKey", NOW, None)
    assert done.state.keys[0].transports == ("usb", "nfc")  # what nobody knows is left out
    checked = check(key, done.state)
    assert isinstance(checked, Done)
    assert checked.state.keys[0].used_at == NOW + 60
    assert checked.state.keys[0].sign_count == key.count


def test_the_options_say_who_we_are_and_what_we_want() -> None:
    at = occasion()
    options = FACTOR.show(at, None, FACTOR.enrol(at, None, {}).pending)["options"]
    assert options["rp"] == {"name": "Example 邮箱", "id": "mail.example.test"}
    assert options["user"]["name"] == "alice@example.test"
    assert len(unb64(options["user"]["id"])) == 32
    assert b"alice" not in unb64(options["user"]["id"])
    assert len(unb64(options["challenge"])) == 32
    assert {each["alg"] for each in options["pubKeyCredParams"]} == {-7, -8, -257}
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert options["timeout"] == 300_000
    json.dumps(options)


def test_a_check_asks_for_the_keys_that_there_are() -> None:
    keys = [SoftAuthenticator(PORTAL) for _ in range(2)]
    state = state_with(*keys)
    at = occasion()
    options = FACTOR.show(at, state, FACTOR.challenge(at, state).pending)["options"]
    assert options["rpId"] == "mail.example.test"
    assert [known["id"] for known in options["allowCredentials"]] == [b64(key.id) for key in keys]
    assert options["allowCredentials"][0]["transports"] == ["usb", "nfc"]
    assert options["userVerification"] == "required"


def test_an_account_has_several_keys_each_with_its_name() -> None:
    keys = [SoftAuthenticator(PORTAL) for _ in range(3)]
    state = state_with(*keys)
    assert [part.name for part in FACTOR.listed(state)] == ["key 0", "key 1", "key 2"]
    renamed = FACTOR.renamed(state, b64(keys[1].id), "work")
    assert [part.name for part in FACTOR.listed(renamed)] == ["key 0", "work", "key 2"]
    fewer = FACTOR.without(renamed, b64(keys[0].id))
    assert [part.name for part in FACTOR.listed(fewer)] == ["work", "key 2"]
    assert isinstance(check(keys[2], fewer), Done)
    gone = check(keys[0], fewer)
    assert gone.reason is Reason.UNKNOWN_KEY
    assert FACTOR.without(FACTOR.without(fewer, b64(keys[1].id)), b64(keys[2].id)) is None


def test_all_keys_know_the_account_by_one_handle() -> None:
    at = occasion()
    state = state_with(SoftAuthenticator(PORTAL))
    pending = FACTOR.enrol(at, state, {}).pending
    assert FACTOR.show(at, state, pending)["options"]["user"]["id"] == state.user
    assert enrol(SoftAuthenticator(PORTAL), state).state.user == state.user


def test_a_key_is_enrolled_once() -> None:
    key = SoftAuthenticator(PORTAL)
    state = state_with(key)
    with pytest.raises(AssertionError, match="InvalidStateError"):
        enrol(key, state)  # the browser itself is told to refuse
    at = occasion()
    pending = FACTOR.enrol(at, state, {}).pending
    options = FACTOR.show(at, state, pending)["options"] | {"excludeCredentials": []}
    step = FACTOR.confirm(at, state, pending, {"credential": key.create(options)})
    assert step.reason is Reason.KNOWN_ALREADY


def test_a_key_claims_to_serve_one_account() -> None:
    key = SoftAuthenticator(PORTAL)
    first, second = enrol(key), enrol(key)
    (mine,), (same,), (other,) = [
        [occasion().box.open(each.purpose, each) for each in step.claims]
        for step in (first, second, enrol(SoftAuthenticator(PORTAL)))
    ]
    assert mine == same != other


def test_there_is_an_end_to_keys() -> None:
    few: Any = plugins.load("factors", "webauthn", SECTION | {"max_keys": 2})
    state = state_with(SoftAuthenticator(PORTAL))
    at = occasion()
    one, two = [few.enrol(at, state, {}).pending for _ in range(2)]
    full = few.confirm(
        at, state, one, {"credential": SoftAuthenticator(PORTAL).create(few.show(at, state, one)["options"])}
    )
    assert isinstance(full, Done)
    assert few.enrol(at, full.state, {}).reason is Reason.TOO_MANY
    late = few.confirm(
        at, full.state, two, {"credential": SoftAuthenticator(PORTAL).create(few.show(at, state, two)["options"])}
    )
    assert late.reason is Reason.TOO_MANY


def test_a_key_that_counts_backwards_is_a_copy() -> None:
    key = SoftAuthenticator(PORTAL)
    state = check(key, state_with(key)).state
    for count in (0, state.keys[0].sign_count - 2, state.keys[0].sign_count - 1):
        key.count = count
        step = check(key, state)
        assert step.reason is Reason.CLONED
        assert step.state == state
    key.count = state.keys[0].sign_count
    assert isinstance(check(key, state), Done)


def test_a_key_that_counts_no_more_is_a_copy_too() -> None:
    key = SoftAuthenticator(PORTAL)
    state = state_with(key)
    key.counts, key.count = False, 0
    assert check(key, state).reason is Reason.CLONED


def test_a_key_that_never_counts_is_fine() -> None:
    """Passkeys that are kept in several devices have no counter."""
    key = SoftAuthenticator(PORTAL, counts=False)
    state = state_with(key)
    for _ in range(3):
        step = check(key, state)
        assert isinstance(step, Done)
        state = step.state


def test_a_key_that_does_not_ask_who_holds_it_is_told_apart() -> None:
    key = SoftAuthenticator(PORTAL, verifies=False)
    assert enrol(key).reason is Reason.UNVERIFIED
    key.verifies = True
    state = state_with(key)
    key.verifies = False
    assert check(key, state).reason is Reason.UNVERIFIED


@pytest.mark.parametrize("wanted", ["preferred", "discouraged"])
def test_a_site_may_take_old_keys(wanted: str) -> None:
    lenient: Any = plugins.load("factors", "webauthn", SECTION | {"user_verification": wanted})
    key = SoftAuthenticator(PORTAL, verifies=False)
    done = enrol(key, factor=lenient)
    assert isinstance(done, Done)
    assert isinstance(check(key, done.state, lenient), Done)


ELSEWHERE = [
    {"origin": "https://mail.example.test.evil.example"},
    {"origin": "http://mail.example.test"},
    {"origin": "https://mail.example.test:8443"},
    {"origin": None},
    {"challenge": b64(b"another challenge, of 32 bytes..")},
    {"challenge": ""},
    {"challenge": 5},
    {"crossOrigin": True},
    {"type": "payment.get"},
    {"tokenBinding": {"status": "made-up"}},
]


@pytest.mark.parametrize("altered", ELSEWHERE)
def test_an_answer_for_another_page_or_question_is_refused(altered: dict[str, Any]) -> None:
    key = SoftAuthenticator(PORTAL)
    state = state_with(key)
    refused = [enrol(SoftAuthenticator(PORTAL), **altered), check(key, state, **altered)]
    if "tokenBinding" in altered:  # obsolete, and Web Authentication Level 3 ignores it
        return
    for step in refused:
        assert isinstance(step, Wrong), altered
        assert step.reason is Reason.WRONG
        assert step.pending is None


def test_an_answer_of_the_other_ceremony_is_refused() -> None:
    key = SoftAuthenticator(PORTAL)
    assert enrol(SoftAuthenticator(PORTAL), type="webauthn.get").reason is Reason.WRONG
    assert check(key, state_with(key), type="webauthn.create").reason is Reason.WRONG


def test_an_answer_for_another_relying_party_is_refused() -> None:
    key = SoftAuthenticator(PORTAL)
    at = occasion()
    pending = FACTOR.enrol(at, None, {}).pending
    options = FACTOR.show(at, None, pending)["options"] | {"rp": {"id": "example.test", "name": "x"}}
    step = FACTOR.confirm(at, None, pending, {"credential": SoftAuthenticator(PORTAL).create(options)})
    assert step.reason is Reason.WRONG
    state = state_with(key)
    pending = FACTOR.challenge(at, state).pending
    options = FACTOR.show(at, state, pending)["options"] | {"rpId": "example.test"}
    assert FACTOR.check(at, state, pending, {"credential": key.get(options)}).reason is Reason.WRONG


def test_a_signature_of_another_key_under_this_ones_id_is_refused() -> None:
    key, thief = SoftAuthenticator(PORTAL), SoftAuthenticator(PORTAL)
    state = state_with(key)
    thief.id, thief.count = key.id, 100
    assert check(thief, state).reason is Reason.WRONG
    assert check(thief, state).state == state


@pytest.mark.parametrize("stored", ["", "AA", "!", b64(cbor({1: 2, 3: -7}))])
def test_a_stored_key_that_cannot_be_read_is_a_fault_and_no_wrong_answer(stored: str) -> None:
    key = SoftAuthenticator(PORTAL)
    state = state_with(key)
    broken = dataclasses.replace(state, keys=(dataclasses.replace(state.keys[0], public_key=stored),))
    with pytest.raises(BadRecord):
        check(key, broken)


async def test_a_challenge_is_spent_by_the_first_answer_right_or_wrong() -> None:
    device = WebAuthnDevice()
    await device.enrol()
    answer, ticket = await device.asked()
    assert (await device.keeper.check({"credential": "{}"}, ticket)).reason is Reason.WRONG
    assert (await device.keeper.check(answer, ticket)).reason is Reason.NOTHING_ASKED


@pytest.mark.parametrize(
    "credential", ["", "null", "[]", "{}", "5", '"x"', "{", "x" * 70_000, "[" * 50_000, '{"id": "a", "rawId": "a"}']
)
def test_what_is_no_credential_is_refused(credential: str) -> None:
    at = occasion()
    state = state_with(SoftAuthenticator(PORTAL))
    registration, authentication = FACTOR.enrol(at, None, {}).pending, FACTOR.challenge(at, state).pending
    assert FACTOR.confirm(at, None, registration, {"credential": credential}).reason is Reason.WRONG
    assert FACTOR.check(at, state, authentication, {"credential": credential}).reason is Reason.WRONG


places = st.tuples(st.integers(0, 1_000_000), st.binary(min_size=1, max_size=4))
CHECKED = ("type", "challenge", "origin")
FIXED_KEY = SoftAuthenticator(PORTAL)
FIXED_STATE = state_with(FIXED_KEY)


def _broken(credential: str, field: str, place: int, change: bytes, cut: bool) -> str:
    fields = json.loads(credential)
    raw = bytearray(unb64(fields["response"][field]))
    start = place % len(raw)
    if cut:
        del raw[start : start + len(change)]
    else:
        raw[start : start + len(change)] = change
    fields["response"][field] = b64(bytes(raw))
    return json.dumps(fields)


@settings(max_examples=300, deadline=None)
@given(place=places, field=st.sampled_from(["clientDataJSON", "attestationObject"]), cut=st.booleans())
def test_broken_bytes_of_a_registration_are_refused_or_change_nothing(
    place: tuple[int, bytes], field: str, cut: bool
) -> None:
    at = occasion()
    pending = FACTOR.enrol(at, None, {}).pending
    credential = SoftAuthenticator(PORTAL).create(FACTOR.show(at, None, pending)["options"])
    broken = _broken(credential, field, *place, cut)
    step = FACTOR.confirm(at, None, pending, {"credential": broken})
    assert isinstance(step, Wrong | Done)
    if field == "clientDataJSON" and isinstance(step, Done):  # nothing of what is checked was touched
        before, after = (json.loads(unb64(json.loads(each)["response"][field])) for each in (credential, broken))
        before["challenge"], after["challenge"] = unb64(before["challenge"]), unb64(after["challenge"])
        assert [before[name] for name in CHECKED] == [after[name] for name in CHECKED]


@settings(max_examples=300, deadline=None)
@given(place=places, field=st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]), cut=st.booleans())
def test_broken_bytes_of_an_answer_are_refused(place: tuple[int, bytes], field: str, cut: bool) -> None:
    at = occasion()
    pending = FACTOR.challenge(at, FIXED_STATE).pending
    good = FIXED_KEY.get(FACTOR.show(at, FIXED_STATE, pending)["options"])
    broken = _broken(good, field, *place, cut)
    step = FACTOR.check(at, FIXED_STATE, pending, {"credential": broken})
    assert isinstance(step, Done) is (json.loads(broken) == json.loads(good))


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=200))
def test_any_bytes_for_an_attestation_are_refused(raw: bytes) -> None:
    at = occasion()
    pending = FACTOR.enrol(at, None, {}).pending
    fields = json.loads(SoftAuthenticator(PORTAL).create(FACTOR.show(at, None, pending)["options"]))
    for attestation in (
        raw,
        cbor({"fmt": "none", "attStmt": {}, "authData": raw}),
        cbor({"fmt": "tpm", "attStmt": {"x5c": raw}, "authData": raw}),
    ):
        fields["response"]["attestationObject"] = b64(attestation)
        step = FACTOR.confirm(at, None, pending, {"credential": json.dumps(fields)})
        assert isinstance(step, Wrong)


@pytest.mark.parametrize(
    "cose",
    [
        {1: 2, 3: -7, -1: 1, -2: b"1" * 32, -3: b"2" * 32},  # no point of the curve
        {1: 2, 3: -7, -1: 99, -2: b"1" * 32, -3: b"2" * 32},  # no such curve
        {1: 1, 3: -8, -1: 6, -2: b"short"},
        {1: 3, 3: -257, -1: b"\x00", -2: b"\x00"},
        {1: 2, 3: -7},
        {1: 2, 3: -99, -1: 1, -2: b"1" * 32, -3: b"2" * 32},
        {},
    ],
)
def test_a_key_that_could_never_verify_is_not_enrolled(cose: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SoftAuthenticator, "_cose", lambda self: cbor(cose))
    assert enrol(SoftAuthenticator(PORTAL)).reason is Reason.WRONG


@pytest.mark.parametrize("form", ["packed", "tpm", "apple", "android-key", "fido-u2f", "unheard-of"])
def test_a_statement_about_the_key_is_neither_believed_nor_read(form: str) -> None:
    at = occasion()
    pending = FACTOR.enrol(at, None, {}).pending
    key = SoftAuthenticator(PORTAL)
    fields = json.loads(key.create(FACTOR.show(at, None, pending)["options"]))
    plain = unb64(fields["response"]["attestationObject"])
    stated = plain.replace(cbor("none"), cbor(form)).replace(
        cbor("attStmt") + cbor({}), cbor("attStmt") + cbor({"x5c": b"no certificate"})
    )
    assert stated != plain
    fields["response"]["attestationObject"] = b64(stated)
    done = FACTOR.confirm(at, None, pending, {"credential": json.dumps(fields)})
    assert isinstance(done, Done)
    assert isinstance(check(key, done.state), Done)


def test_a_state_holds_no_secret() -> None:
    key = SoftAuthenticator(PORTAL)
    state = state_with(key)
    assert {field.name for field in dataclasses.fields(state.keys[0])} == {
        "id",
        "public_key",
        "sign_count",
        "transports",
        "created_at",
        "used_at",
        "name",
    }


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webauthn", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    from mailauth.factors import webauthn  # noqa: PLC0415

    with pytest.raises(BadSection, match=r"mailauth\[webauthn\]"):
        webauthn.build(SECTION)


@pytest.mark.parametrize("section", [{"user_verification": "maybe"}, {"max_keys": 0}, {"rp_name": ""}, {"rp_id": ""}])
def test_settings_that_make_no_sense_are_refused(section: dict[str, object]) -> None:
    with pytest.raises(BadSection):
        plugins.load("factors", "webauthn", SECTION | section)


def test_a_first_question_needs_no_state() -> None:
    assert isinstance(FACTOR.enrol(occasion(), None, {}), Asked)
