"""A simulated DingTalk: the website login of its open platform, as `factors.dingtalk` uses it.

Source: DingTalk Open Platform, "log in to third-party websites". The code comes back as `authCode` and as `code`; with
the scope `corpid` the user chooses one of his organisations; errors have a status and `code`, `message`, `requestid`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlencode

from mailauth.demo.providers.asgi import Application, Call, Reply, as_json, found, link, page
from mailauth.demo.providers.grants import Grant, Grants, Stale, identifier, returning

TITLE = "钉钉 DingTalk"


class DingTalk:
    """One application at a simulated DingTalk.

    people: who is a member of which organisations. fault: (status, code) that the API says instead; None for none.
    """

    def __init__(
        self, app_id: str, app_secret: str, redirect_uri: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.app_id = app_id
        self.app_secret = app_secret
        self.redirect_uri = redirect_uri
        self.people = {"alice": ["ding-example"], "bob": ["ding-elsewhere"]}
        self.fault: tuple[int, str] | None = None
        self.application = Application(self.handle)
        self._grants = Grants(clock)

    def handle(self, call: Call) -> Reply:
        """Answer one request."""
        match call.method, call.path:
            case "GET", "/oauth2/auth":
                return self._consent(call)
            case "GET", "/oauth2/decision":
                return self._decided(call)
            case "POST", "/v1.0/oauth2/userAccessToken":
                return self._exchange(call)
            case "GET", "/v1.0/contact/users/me":
                return self._me(call)
            case _:
                return page(TITLE, ["404"], 404)

    def _problem(self, call: Call) -> str | None:
        if call.query.get("client_id") != self.app_id:
            return "client_id 不合法"
        if call.query.get("redirect_uri") != self.redirect_uri:
            return "redirect_uri 不合法"
        if call.query.get("response_type") != "code" or call.query.get("scope") not in {"openid", "openid corpid"}:
            return "scope 不合法"
        return None

    def _organisations(self, call: Call, person: str) -> list[str]:
        """Which the person can choose; of one who logs in without an organisation, none."""
        if call.query.get("scope") != "openid corpid":
            return [""]
        only = call.query.get("corpId")
        return [each for each in self.people[person] if only in {None, each}]

    def _consent(self, call: Call) -> Reply:
        if (problem := self._problem(call)) is not None:
            return page(TITLE, [problem])
        lines = ["扫码后，请选择组织并确认授权。 After scanning, choose an organisation and agree."]
        for person in self.people:
            for organisation in self._organisations(call, person):
                decision = urlencode({**call.query, "person": person, "organisation": organisation})
                lines.append(link(f"decision?{decision}", f"同意 Agree: {person} {organisation}"))
        lines.append(link(f"decision?{urlencode(call.query)}", "拒绝 Decline"))
        return page(TITLE, lines)

    def _decided(self, call: Call) -> Reply:
        if (problem := self._problem(call)) is not None:
            return page(TITLE, [problem])
        state, person = call.query.get("state", ""), call.query.get("person", "")
        organisation = call.query.get("organisation", "")
        if person not in self.people or organisation not in self._organisations(call, person):
            return found(returning(self.redirect_uri, error="access_denied", state=state))
        issued = self._grants.code(Grant(person, organisation))
        return found(returning(self.redirect_uri, authCode=issued, code=issued, state=state))

    def _exchange(self, call: Call) -> Reply:
        if self.fault is not None:
            return _fault(*self.fault)
        fields = call.fields()
        if fields.get("clientId") != self.app_id or fields.get("clientSecret") != self.app_secret:
            return _fault(400, "invalidClientIdOrSecret")
        if fields.get("grantType") != "authorization_code":
            return _fault(400, "invalidParameter.grantType")
        grant = self._grants.spend(str(fields.get("code", "")))
        if isinstance(grant, Stale):
            return _fault(400, "invalidParameter.authCode.notFound")
        answer = {
            "accessToken": self._grants.token(grant),
            "refreshToken": self._grants.token(grant),
            "expireIn": 7200,
        }
        return as_json({**answer, "corpId": grant.organisation} if grant.organisation else answer)

    def _me(self, call: Call) -> Reply:
        grant = self._grants.of(call.headers.get("x-acs-dingtalk-access-token", ""))
        if grant is None:
            return _fault(400, "InvalidAuthentication")
        return as_json(
            {
                "nick": grant.person,
                "mobile": "13800138000",
                "stateCode": "86",
                "openId": identifier("openId", self.app_id, grant.person),
                "unionId": identifier("unionId", grant.person),
            }
        )


def _fault(status: int, fault: str) -> Reply:
    return as_json({"code": fault, "message": fault, "requestid": identifier(fault)}, status)
