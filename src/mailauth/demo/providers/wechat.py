"""A simulated WeChat: the website login of its open platform, as `factors.wechat` uses it.

Source: WeChat Open Platform, "website application login". Errors of the API have status 200 and are labelled
text/plain; who declines comes back with the state and without a code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from mailauth.demo.providers.asgi import Application, Call, Reply, as_json, found, link, page
from mailauth.demo.providers.grants import Grant, Grants, Stale, identifier, returning

TITLE = "微信 WeChat"
PLAIN = "text/plain"
FAULTS = {
    -1: "system error",
    40001: "invalid credential",
    40013: "invalid appid",
    40029: "invalid code",
    40125: "invalid appsecret",
    40163: "code been used",
    41008: "missing code",
    42003: "oauth_code timeout",
    45011: "api minute-quota reach limit, must slower, retry next minute",
}
STALE = {Stale.UNKNOWN: 40029, Stale.USED: 40163, Stale.EXPIRED: 42003}


class WeChat:
    """One application at a simulated WeChat. fault: an errcode that the API says instead; union: it says unionid."""

    def __init__(self, app_id: str, app_secret: str, domain: str, *, clock: Callable[[], float] = time.time) -> None:
        self.app_id = app_id
        self.app_secret = app_secret
        self.domain = domain
        self.people = ["alice", "bob"]
        self.fault = 0
        self.union = True
        self.application = Application(self.handle)
        self._grants = Grants(clock)

    def handle(self, call: Call) -> Reply:
        """Answer one request."""
        match call.method, call.path:
            case "GET", "/connect/qrconnect":
                return self._consent(call)
            case "GET", "/connect/decision":
                return self._decided(call)
            case "GET", "/sns/oauth2/access_token":
                return self._exchange(call)
            case _:
                return page(TITLE, ["404"], 404)

    def _problem(self, call: Call) -> str | None:
        if call.query.get("appid") != self.app_id:
            return "AppID 参数错误"
        if urlsplit(call.query.get("redirect_uri", "")).hostname != self.domain:
            return "redirect_uri 参数错误"
        if call.query.get("scope") != "snsapi_login" or call.query.get("response_type") != "code":
            return "Scope 参数错误或没有 Scope 权限"
        return None

    def _consent(self, call: Call) -> Reply:
        if (problem := self._problem(call)) is not None:
            return page(TITLE, [problem])
        lines = ["扫码后，手机上会询问是否登录。 After scanning, the phone asks whether to log in."]
        for person in self.people:
            decision = urlencode({**call.query, "person": person})
            lines.append(link(f"decision?{decision}", f"允许 Allow: {person}"))
        lines.append(link(f"decision?{urlencode(call.query)}", "取消 Cancel"))
        return page(TITLE, lines)

    def _decided(self, call: Call) -> Reply:
        if (problem := self._problem(call)) is not None:
            return page(TITLE, [problem])
        state, person = call.query.get("state", ""), call.query.get("person", "")
        if person not in self.people:
            return found(returning(call.query["redirect_uri"], state=state))
        issued = self._grants.code(Grant(person))
        return found(returning(call.query["redirect_uri"], code=issued, state=state))

    def _exchange(self, call: Call) -> Reply:
        if self.fault:
            return _fault(self.fault)
        if call.query.get("appid") != self.app_id:
            return _fault(40013)
        if call.query.get("secret") != self.app_secret:
            return _fault(40125)
        if not call.query.get("code") or call.query.get("grant_type") != "authorization_code":
            return _fault(41008)
        grant = self._grants.spend(call.query["code"])
        if isinstance(grant, Stale):
            return _fault(STALE[grant])
        fields = {
            "access_token": self._grants.token(grant),
            "expires_in": 7200,
            "refresh_token": self._grants.token(grant),
            "openid": identifier("openid", self.app_id, grant.person),
            "scope": "snsapi_login",
        }
        if self.union:
            fields["unionid"] = identifier("unionid", grant.person)
        return as_json(fields, label=PLAIN)


def _fault(number: int) -> Reply:
    return as_json({"errcode": number, "errmsg": FAULTS.get(number, "error")}, label=PLAIN)
