"""Each way to send text messages, against a receiver that checks the request as its document says."""

from __future__ import annotations

import hashlib
import hmac
import json
import pkgutil
from typing import Any

import httpx2
import pytest
from gateway_standins import AliyunStandIn, TwilioStandIn

import mailauth.gateways
from mailauth import plugins
from mailauth.demo.providers.phone import Phone
from mailauth.factors.fetch import Answer, Request
from mailauth.factors.message import Busy, Message, Refused, Sent
from mailauth.factors.section import BadSection
from mailauth.gateways import sms_aliyun, sms_webhook
from mailauth.gateways.http import Http

NOW = 1_700_000_010.0
SECRET = "shared-by-both-sides"
MESSAGE = Message("+8613800138000", "验证码 012345，10 分钟内有效。 & more", "012345", "zh", "0123456789abcdef")
SECTIONS: dict[str, dict[str, object]] = {
    "sms_webhook": {"url": "https://sms.example.org/messages", "secret": SECRET},
    "sms_twilio": {"account_sid": "AC1", "password": SECRET, "sender": "+15005550006"},
    "sms_aliyun": {
        "access_key_id": "LTAI1",
        "access_key_secret": SECRET,
        "sign_name": "某大学",
        "template_zh": "SMS_1",
    },
}


def found() -> list[str]:
    modules = [module.name for module in pkgutil.iter_modules(mailauth.gateways.__path__)]
    return [name for name in modules if hasattr(__import__(f"mailauth.gateways.{name}", fromlist=[name]), "build")]


every_gateway = pytest.mark.parametrize("name", found())


def gateway(name: str, **section: object) -> Any:
    return plugins.load("gateways", name, SECTIONS[name] | section)


async def send(made: Any, application: Any, message: Message = MESSAGE, now: float = NOW) -> Any:
    async with Http(transport=httpx2.ASGITransport(application)) as http:
        return made.read(await http.send(made.request(message, now)))


def test_every_gateway_has_its_tests() -> None:
    assert found() == sorted(SECTIONS)


@every_gateway
def test_a_gateway_is_called_as_its_file(name: str) -> None:
    assert gateway(name).name == name


@every_gateway
def test_the_request_is_a_value_and_shows_nothing_secret(name: str) -> None:
    made = gateway(name)
    request = made.request(MESSAGE, NOW)
    assert request == made.request(MESSAGE, NOW)
    assert request.url.startswith("https://")
    for text in (repr(request), repr(made), repr(MESSAGE)):
        for hidden in (SECRET, "13800138000", "012345，", "Authorization"):
            assert hidden not in text


@every_gateway
@pytest.mark.parametrize(
    "answer", [None, Answer(500), Answer(503, b"<html>"), Answer(429, b"{}"), Answer(302), Answer(403)]
)
def test_trouble_is_for_later(name: str, answer: Answer | None) -> None:
    outcome = gateway(name).read(answer)
    assert isinstance(outcome, Busy)
    assert outcome.retry_after_s == 30
    assert outcome.detail


@every_gateway
def test_a_gateway_that_says_how_long_is_believed(name: str) -> None:
    assert gateway(name).read(Answer(429, b"{}", 120.0)).retry_after_s == 120.0


@every_gateway
@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"Code": 5, "code": "x", "sid": 1}', b"\xff"])
@pytest.mark.parametrize("status", [200, 201, 400, 500])
def test_nonsense_is_no_fault_of_ours(name: str, body: bytes, status: int) -> None:
    outcome = gateway(name).read(Answer(status, body))
    if name == "sms_webhook":  # the status says it all
        assert isinstance(outcome, Sent if status < 300 else Refused if status == 400 else Busy)
    else:
        assert isinstance(outcome, Busy)


@every_gateway
@pytest.mark.parametrize("missing", ["secret", "password", "access_key_secret", "url", "sender", "sign_name"])
def test_what_is_missing_is_named(name: str, missing: str) -> None:
    section = {key: value for key, value in SECTIONS[name].items() if key != missing}
    if section == SECTIONS[name]:
        assert gateway(name) is not None
        return
    with pytest.raises(BadSection) as refused:
        plugins.load("gateways", name, section)
    is_secret = missing in {"secret", "password", "access_key_secret"}
    assert refused.value.key == (f"{missing}_file" if is_secret else missing)


# The webhook


async def test_the_webhook_posts_what_is_to_be_sent_and_signs_it() -> None:
    phone = Phone(SECRET, clock=lambda: NOW)
    assert isinstance(await send(gateway("sms_webhook"), phone.application), Sent)
    (received,) = phone.messages
    assert (received.to, received.text) == (MESSAGE.to, MESSAGE.text)
    request = gateway("sms_webhook").request(MESSAGE, NOW)
    assert json.loads(request.body) == {"id": MESSAGE.id, "to": MESSAGE.to, "text": MESSAGE.text, "language": "zh"}
    shown = dict(request.headers)["Mailauth-Signature"]
    ours = hmac.new(SECRET.encode(), b"1700000010." + request.body, hashlib.sha256).hexdigest()
    assert shown == f"t=1700000010,v1={ours}"


async def test_a_repeated_post_is_taken_once() -> None:
    phone = Phone(SECRET, clock=lambda: NOW)
    made = gateway("sms_webhook")
    assert made.request(MESSAGE, NOW).repeatable
    for _ in range(2):
        assert isinstance(await send(made, phone.application), Sent)
    assert len(phone.messages) == 1


@pytest.mark.parametrize(
    "alter",
    [
        lambda request: _with(request, body=request.body.replace(b"012345", b"543210")),
        lambda request: _with(request, headers=(("Mailauth-Signature", "t=1700000010,v1=" + "0" * 64),)),
        lambda request: _with(request, headers=(("Mailauth-Signature", "t=x,v1=y"),)),
        lambda request: _with(request, headers=()),
        lambda request: gateway("sms_webhook").request(MESSAGE, NOW - 301),
        lambda request: gateway("sms_webhook").request(MESSAGE, NOW + 301),
        lambda request: gateway("sms_webhook", secret="of-somebody-else").request(MESSAGE, NOW),
    ],
)
async def test_a_receiver_can_tell_what_is_not_ours(alter: Any) -> None:
    phone = Phone(SECRET, clock=lambda: NOW)
    async with Http(transport=httpx2.ASGITransport(phone.application)) as http:
        answer = await http.send(alter(gateway("sms_webhook").request(MESSAGE, NOW)))
    assert answer == Answer(401, b'{"error": "signature"}')
    assert not phone.messages
    assert isinstance(gateway("sms_webhook").read(answer), Busy)  # ours to mend, and not the number's fault


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Sent),
        (202, Sent),
        (204, Sent),
        (400, Refused),
        (410, Refused),
        (422, Refused),
        (401, Busy),
        (404, Busy),
        (408, Busy),
        (429, Busy),
        (500, Busy),
        (301, Busy),
    ],
)
async def test_the_receivers_status_says_what_came_of_it(status: int, kind: type) -> None:
    phone = Phone(SECRET, clock=lambda: NOW)
    phone.fault = status
    outcome = await send(gateway("sms_webhook"), phone.application)
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Sent) or outcome.detail == f"status {status}"


def test_the_example_of_the_docs_is_right() -> None:
    assert sms_webhook.signature("shared-by-both-sides", 1700000000, b'{"id": "1"}') == (
        "t=1700000000,v1=" + hmac.new(b"shared-by-both-sides", b'1700000000.{"id": "1"}', "sha256").hexdigest()
    )


# Twilio


@pytest.mark.parametrize(
    ("section", "origin"),
    [
        ({}, {"From": "+15005550006"}),
        ({"sender": "MG" + "1" * 32}, {"MessagingServiceSid": "MG" + "1" * 32}),
        ({"sender": "Example"}, {"From": "Example"}),
        ({"user": "SK1"}, {"From": "+15005550006"}),
    ],
)
async def test_twilio_gets_what_its_document_asks_for(section: dict[str, object], origin: dict[str, str]) -> None:
    twilio = TwilioStandIn("AC1", str(section.get("user", "AC1")), SECRET)
    outcome = await send(gateway("sms_twilio", **section), twilio.application)
    assert outcome == Sent("SM" + "0" * 32)
    assert twilio.sent == [{"To": MESSAGE.to, "Body": MESSAGE.text} | origin]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((400, 21211), Refused),  # not a number
        ((400, 21610), Refused),  # has said STOP
        ((400, 21614), Refused),  # a landline
        ((400, 21408), Refused),  # no messages to that country
        ((400, 21606), Busy),  # From is not ours
        ((400, 21608), Busy),  # a trial account
        ((401, 20003), Busy),
        ((404, 20404), Busy),
        ((429, 20429), Busy),
        ((500, 20500), Busy),
    ],
)
async def test_twilios_errors_are_told_apart(fault: tuple[int, int], kind: type) -> None:
    twilio = TwilioStandIn("AC1", "AC1", SECRET)
    twilio.fault = fault
    outcome = await send(gateway("sms_twilio"), twilio.application)
    assert isinstance(outcome, kind)
    assert outcome.detail == f"status {fault[0]}, code {fault[1]}"


async def test_a_wrong_token_is_ours_to_mend() -> None:
    twilio = TwilioStandIn("AC1", "AC1", "another")
    outcome = await send(gateway("sms_twilio"), twilio.application)
    assert outcome == Busy("status 401, code 20003", 30.0)
    assert not twilio.sent


@pytest.mark.parametrize("status", ["failed", "undelivered"])
async def test_a_message_that_failed_at_once_was_not_sent(status: str) -> None:
    twilio = TwilioStandIn("AC1", "AC1", SECRET)
    twilio.status = status
    assert isinstance(await send(gateway("sms_twilio"), twilio.application), Refused)


def test_a_message_to_twilio_is_not_sent_twice() -> None:
    assert not gateway("sms_twilio").request(MESSAGE, NOW).repeatable
    assert not gateway("sms_aliyun").request(MESSAGE, NOW).repeatable


@pytest.mark.parametrize("section", [{"sender": ""}, {"sender": "a b"}, {"account_sid": "AC1/../x"}, {"password": ""}])
def test_settings_of_twilio_that_cannot_be_right(section: dict[str, object]) -> None:
    with pytest.raises(BadSection):
        gateway("sms_twilio", **section)


# Aliyun


def test_the_signature_is_that_of_aliyuns_own_example() -> None:
    """The fixed example of "Request syntax and signature method V3"."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    signed = {
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-action": "RunInstances",
        "x-acs-content-sha256": empty,
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
        "x-acs-version": "2014-05-26",
    }
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    assert sms_aliyun.authorization("YourAccessKeyId", "YourAccessKeySecret", query, signed) == (
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;"
        "x-acs-signature-nonce;x-acs-version,"
        "Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


@pytest.mark.parametrize(
    ("section", "message", "sent"),
    [
        ({}, MESSAGE, {"PhoneNumbers": "13800138000", "TemplateCode": "SMS_1", "TemplateParam": {"code": "012345"}}),
        (
            {"template_en": "SMS_2", "parameter": "otp"},
            Message("+447911123456", "t", "000007", "en", "n-2"),
            {"PhoneNumbers": "447911123456", "TemplateCode": "SMS_2", "TemplateParam": {"otp": "000007"}},
        ),
        (
            {},
            Message("+447911123456", "t", "000007", "en", "n-3"),
            {"PhoneNumbers": "447911123456", "TemplateCode": "SMS_1", "TemplateParam": {"code": "000007"}},
        ),
    ],
)
async def test_aliyun_gets_what_its_document_asks_for(
    section: dict[str, object], message: Message, sent: dict[str, Any]
) -> None:
    aliyun = AliyunStandIn("LTAI1", SECRET, lambda: NOW)
    outcome = await send(gateway("sms_aliyun", **section), aliyun.application, message)
    assert outcome == Sent("900619746936498440^0")
    assert aliyun.sent == [{"SignName": "某大学"} | sent]


async def test_aliyun_refuses_what_is_not_signed_as_it_should_be() -> None:
    aliyun = AliyunStandIn("LTAI1", SECRET, lambda: NOW)
    made = gateway("sms_aliyun")
    for other, said in (
        (gateway("sms_aliyun", access_key_secret="another"), "SignatureDoesNotMatch"),
        (gateway("sms_aliyun", access_key_id="LTAI2"), "InvalidAccessKeyId.NotFound"),
    ):
        assert await send(other, aliyun.application, _message("a" + said)) == Busy(said, 30.0)
    assert await send(made, aliyun.application, now=NOW - 901) == Busy("InvalidTimeStamp.Expired", 30.0)
    assert isinstance(await send(made, aliyun.application, _message("once")), Sent)
    assert await send(made, aliyun.application, _message("once")) == Busy("SignatureNonceUsed", 30.0)
    assert len(aliyun.sent) == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("isv.MOBILE_NUMBER_ILLEGAL", Refused("isv.MOBILE_NUMBER_ILLEGAL")),
        ("isv.BLACK_KEY_CONTROL_LIMIT", Refused("isv.BLACK_KEY_CONTROL_LIMIT")),
        ("isv.BUSINESS_LIMIT_CONTROL", Busy("isv.BUSINESS_LIMIT_CONTROL", 3600.0)),
        ("isv.AMOUNT_NOT_ENOUGH", Busy("isv.AMOUNT_NOT_ENOUGH", 30.0)),
        ("isv.SMS_TEMPLATE_ILLEGAL", Busy("isv.SMS_TEMPLATE_ILLEGAL", 30.0)),
        ("isp.SYSTEM_ERROR", Busy("isp.SYSTEM_ERROR", 30.0)),
        ("isv.OF_TOMORROW", Busy("isv.OF_TOMORROW", 30.0)),
    ],
)
async def test_aliyuns_errors_are_understood_though_the_status_is_200(said: str, expected: Any) -> None:
    aliyun = AliyunStandIn("LTAI1", SECRET, lambda: NOW)
    aliyun.said = said
    assert await send(gateway("sms_aliyun"), aliyun.application) == expected


async def test_aliyun_at_another_address_is_signed_for_it() -> None:
    aliyun = AliyunStandIn("LTAI1", SECRET, lambda: NOW)
    made = gateway("sms_aliyun", api_url="http://localhost:8080")
    assert isinstance(await send(made, aliyun.application), Sent)


def _with(request: Request, **changed: Any) -> Request:
    fields = {"headers": request.headers, "body": request.body} | changed
    return Request(request.method, request.url, request.query, fields["headers"], fields["body"])


def _message(number: str) -> Message:
    return Message(MESSAGE.to, MESSAGE.text, MESSAGE.code, MESSAGE.language, number)
