"""DingTalk: proof by scanning, with the website login of DingTalk's open platform.

Source: DingTalk Open Platform, "log in to third-party websites": oauth2/auth, v1.0/oauth2/userAccessToken,
v1.0/contact/users/me. The code comes back as `authCode`, on older pages as `code`; errors have a status and `code`.
Rule: with an organisation set, the user logs in as its member and DingTalk says so each time, at enrolment and at every
verification: whoever has left it is refused from then on.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mailauth.factors import parts, redirect, section
from mailauth.factors.factor import Factor, Fetch, Nature, Occasion, Reason, Record, Step, Wrong
from mailauth.factors.fetch import Answer, Request, with_query, word
from mailauth.factors.redirect import Identity, Proven

MAX_TOKEN = 4096
STALE = (
    "40078"  # "no such temporary code" of the older interfaces; the newer ones say invalidParameter.authCode.notFound
)
JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class DingTalk:
    """A DingTalk account, of anybody or of the members of one organisation."""

    name: ClassVar[str] = "dingtalk"
    nature: ClassVar[Nature] = Nature(outside=True)
    Enrolled: ClassVar[type] = redirect.Enrolled
    Pending: ClassVar[type] = redirect.Pending
    code_fields: ClassVar[tuple[str, ...]] = ("authCode", "code")
    enrol = redirect.enrol
    confirm = redirect.confirm
    challenge = redirect.challenge
    check = redirect.check
    listed = parts.sole
    renamed = parts.renamed
    without = parts.emptied

    app_id: str = section.option(doc="Client ID (AppKey) of the application", check=section.filled)
    app_secret: str = section.option(doc="its Client Secret (AppSecret)", check=section.filled, secret=True)
    redirect_uri: str = section.option(doc="where the browser comes back to", check=section.filled, wired=True)
    organisation: str = section.option(
        "", doc="CorpId of the organisation whose members only are let in; empty: anybody"
    )
    one_account: bool = section.option(True, doc="a DingTalk account serves one account only")
    login_url: str = section.option("https://login.dingtalk.com", doc="where the browser goes", check=section.base_url)
    api_url: str = section.option("https://api.dingtalk.com", doc="where codes are exchanged", check=section.base_url)

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:  # noqa: ARG002
        """As Factor: `url`, where the browser is to go."""
        query: tuple[tuple[str, str], ...] = (
            ("client_id", self.app_id),
            ("redirect_uri", self.redirect_uri),
            ("response_type", "code"),
            ("scope", "openid corpid" if self.organisation else "openid"),
            ("state", pending.ticket.id),
            ("prompt", "consent"),
        )
        if self.organisation:
            query += (("corpId", self.organisation),)
        return {"url": with_query(f"{self.login_url}/oauth2/auth", query)}

    def exchange(self, code: str, state: Record, proven: Proven) -> Step:
        """As redirect.Provider."""
        body = {
            "clientId": self.app_id,
            "clientSecret": self.app_secret,
            "code": code,
            "grantType": "authorization_code",
        }
        url = f"{self.api_url}/v1.0/oauth2/userAccessToken"
        request = Request("POST", url, headers=(JSON,), body=json.dumps(body).encode())
        return Fetch(request, lambda answer: self._read_token(answer, state, proven), state, None)

    def _read_token(self, answer: Answer | None, state: Record, proven: Proven) -> Step:
        fields = answer.fields() if answer else {}
        issued = word(fields, "accessToken", MAX_TOKEN)
        if answer is None or answer.status != 200 or not issued:
            return _trouble(answer, state)
        organisation = word(fields, "corpId")
        if self.organisation and not hmac.compare_digest(organisation.encode(), self.organisation.encode()):
            return Wrong(Reason.NOT_A_MEMBER, state, None)
        headers = (("x-acs-dingtalk-access-token", issued),)
        request = Request("GET", f"{self.api_url}/v1.0/contact/users/me", headers=headers, repeatable=True)
        return Fetch(request, lambda answer: self._read_user(answer, state, proven), state, None)

    def _read_user(self, answer: Answer | None, state: Record, proven: Proven) -> Step:
        fields = answer.fields() if answer else {}
        open_id = word(fields, "openId")
        if answer is None or answer.status != 200 or not open_id:
            return _trouble(answer, state)
        return proven(Identity(self.app_id, open_id, word(fields, "unionId")))


def _trouble(answer: Answer | None, state: Record) -> Step:
    """What went wrong: a code that is used or too old is the user's to begin again, everything else is not."""
    fields = answer.fields() if answer else {}
    fault = word(fields, "code", 128) or str(fields.get("errcode", ""))[:16]
    if answer is not None and not answer.busy and ("authcode" in fault.lower() or fault == STALE):
        return Wrong(Reason.EXPIRED, state, None, detail=fault)
    return redirect.unclear(answer, state, f"status {answer.status if answer else 'none'}, {fault or 'no code'}")


def build(options: Mapping[str, object]) -> Factor:
    """The plug-in's entry."""
    factor: DingTalk = section.read(DingTalk, options)
    return factor
