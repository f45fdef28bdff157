"""Text messages through Aliyun (Alibaba Cloud Short Message Service): SendSms of its API of 2017-05-25.

Source: Alibaba Cloud, "Request syntax and signature method V3" (ACS3-HMAC-SHA256) and "SendSms".
Rule: only approved templates are sent, so the code goes as a parameter, and the text stays here. `Code` in the body
says what came of it, whatever the status.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import quote

from mailauth.factors import section
from mailauth.factors.fetch import RETRY_S, Answer, Request, word
from mailauth.factors.message import Busy, Gateway, Message, Outcome, Refused, Sent

ALGORITHM = "ACS3-HMAC-SHA256"
VERSION = "2017-05-25"
ACTION = "SendSms"
MAINLAND = "+86"
HOUR_S = 3600.0

REFUSALS = frozenset(
    {
        "isv.MOBILE_NUMBER_ILLEGAL",
        "MOBILE_NUMBER_ILLEGAL",
        "isv.BLACK_KEY_CONTROL_LIMIT",
        "isv.DOMESTIC_NUMBER_NOT_SUPPORTED",
        "MOBILE_IN_BLACK",
    }
)
LIMITS = frozenset({"isv.BUSINESS_LIMIT_CONTROL", "isv.DAY_LIMIT_CONTROL"})  # so many to one number, or in all


@dataclass(frozen=True, slots=True)
class Aliyun:
    """An account at Alibaba Cloud."""

    name: ClassVar[str] = "sms_aliyun"

    access_key_id: str = section.option(doc="the AccessKey's id", check=section.word)
    access_key_secret: str = section.option(doc="the AccessKey's secret", check=section.filled, secret=True)
    sign_name: str = section.option(doc="the approved signature", check=section.filled)
    template_zh: str = section.option(doc="the approved template in Chinese: SMS_...", check=section.word)
    template_en: str = section.option("", doc="the one in English; empty: the Chinese one")
    parameter: str = section.option("code", doc="what the template calls the code", check=section.word)
    api_url: str = section.option("https://dysmsapi.aliyuncs.com", doc="where the API is", check=section.base_url)

    def request(self, message: Message, now: float) -> Request:
        """As Gateway."""
        english = message.language != "zh" and self.template_en
        number = message.to.removeprefix(MAINLAND)  # mainland numbers go without +86, others without the +
        query = {
            "PhoneNumbers": number.removeprefix("+"),
            "SignName": self.sign_name,
            "TemplateCode": self.template_en if english else self.template_zh,
            "TemplateParam": json.dumps({self.parameter: message.code}),
        }
        bare = Request("POST", self.api_url + "/", tuple(sorted(query.items())))
        signed = {
            "host": bare.host,
            "x-acs-action": ACTION,
            "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
            "x-acs-date": datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": message.id,
            "x-acs-version": VERSION,
        }
        proof = authorization(self.access_key_id, self.access_key_secret, query, signed)
        return Request(bare.method, bare.url, bare.query, (*signed.items(), ("Authorization", proof)))

    def read(self, answer: Answer | None) -> Outcome:
        """As Gateway."""
        if answer is None:
            return Busy("no answer", RETRY_S)
        fields = answer.fields()
        said = word(fields, "Code", 128)
        if said == "OK" and answer.status == 200:
            return Sent(word(fields, "BizId"))
        if said in REFUSALS:
            return Refused(said)
        return Busy(said or f"status {answer.status}", answer.retry_after_s or (HOUR_S if said in LIMITS else RETRY_S))


def authorization(key_id: str, key_secret: str, query: Mapping[str, str], signed: Mapping[str, str]) -> str:
    """The value of the field Authorization, for a POST to / with an empty body. signed: fields, names in lower case."""
    names = sorted(signed)
    canonical = "\n".join(
        (
            "POST",
            "/",
            "&".join([f"{_percent(name)}={_percent(query[name])}" for name in sorted(query)]),
            "".join([f"{name}:{signed[name].strip()}\n" for name in names]),
            ";".join(names),
            signed["x-acs-content-sha256"],
        )
    )
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    proof = hmac.digest(key_secret.encode(), to_sign.encode(), "sha256").hex()
    return f"{ALGORITHM} Credential={key_id},SignedHeaders={';'.join(names)},Signature={proof}"


def _percent(text: str) -> str:
    return quote(text, safe="")  # RFC 3986 section 2.3: letters, digits, - . _ ~ stay


def build(options: Mapping[str, object]) -> Gateway:
    """The plug-in's entry."""
    gateway: Aliyun = section.read(Aliyun, options)
    return gateway
