"""WeChat: proof by scanning, with the website login of WeChat's open platform.

Source: WeChat Open Platform, "website application login": qrconnect, then sns/oauth2/access_token. Errors come with
status 200 and `errcode`; the answer is labelled text/plain; a refusal comes back without a code.
Rule: who it is, is the union id where WeChat gives one, else the open id of this app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mailauth.factors import parts, redirect, section
from mailauth.factors.factor import Factor, Fetch, Nature, Occasion, Reason, Record, Step, Wrong
from mailauth.factors.fetch import Answer, Request, with_query, word
from mailauth.factors.redirect import Identity, Proven

# 40029: no such code; 40163: used; 41008: none; 42003: too old. Every other error is not the user's.
STALE = frozenset({40029, 40163, 41008, 42003})


@dataclass(frozen=True, slots=True)
class WeChat:
    """A WeChat account."""

    name: ClassVar[str] = "wechat"
    nature: ClassVar[Nature] = Nature(outside=True)
    Enrolled: ClassVar[type] = redirect.Enrolled
    Pending: ClassVar[type] = redirect.Pending
    code_fields: ClassVar[tuple[str, ...]] = ("code",)
    enrol = redirect.enrol
    confirm = redirect.confirm
    challenge = redirect.challenge
    check = redirect.check
    listed = parts.sole
    renamed = parts.renamed
    without = parts.emptied

    app_id: str = section.option(doc="AppID of the website application", check=section.filled)
    app_secret: str = section.option(doc="its AppSecret", check=section.filled, secret=True)
    redirect_uri: str = section.option(doc="where the browser comes back to", check=section.filled, wired=True)
    one_account: bool = section.option(True, doc="a WeChat account serves one account only")
    login_url: str = section.option("https://open.weixin.qq.com", doc="where the browser goes", check=section.base_url)
    api_url: str = section.option("https://api.weixin.qq.com", doc="where codes are exchanged", check=section.base_url)

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:  # noqa: ARG002
        """As Factor: `url`, where the browser is to go."""
        query = (
            ("appid", self.app_id),
            ("redirect_uri", self.redirect_uri),
            ("response_type", "code"),
            ("scope", "snsapi_login"),
            ("state", pending.ticket.id),
        )
        return {"url": with_query(f"{self.login_url}/connect/qrconnect", query) + "#wechat_redirect"}

    def exchange(self, code: str, state: Record, proven: Proven) -> Step:
        """As redirect.Provider."""
        query = (
            ("appid", self.app_id),
            ("secret", self.app_secret),
            ("code", code),
            ("grant_type", "authorization_code"),
        )
        request = Request("GET", f"{self.api_url}/sns/oauth2/access_token", query)
        return Fetch(request, lambda answer: self._read(answer, state, proven), state, None)

    def _read(self, answer: Answer | None, state: Record, proven: Proven) -> Step:
        fields: dict[str, Any] = answer.fields() if answer else {}
        fault = fields.get("errcode", 0)
        if type(fault) is int and fault in STALE:
            return Wrong(Reason.EXPIRED, state, None, detail=f"errcode {fault}")
        open_id = word(fields, "openid")
        if (
            answer is None
            or answer.status != 200
            or fault != 0
            or not open_id
            or not word(fields, "access_token", 4096)
        ):
            status = answer.status if answer else "none"
            return redirect.unclear(answer, state, f"status {status}, errcode {str(fault)[:16]}")
        return proven(Identity(self.app_id, open_id, word(fields, "unionid")))


def build(options: Mapping[str, object]) -> Factor:
    """The plug-in's entry."""
    factor: WeChat = section.read(WeChat, options)
    return factor
