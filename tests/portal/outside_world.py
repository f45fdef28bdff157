"""Everything outside of the portal, simulated: a telephone, WeChat, DingTalk; and the factors that use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from mailauth import plugins
from mailauth.demo.providers.dingtalk import DingTalk
from mailauth.demo.providers.phone import Phone
from mailauth.demo.providers.wechat import WeChat
from mailauth.factors.factor import Factor
from mailauth.factors.fetch import Request
from mailauth.gateways.http import Http

SECRET = "shared-by-both-sides"
ORGANISATION = "ding-example"
KINDS = ("totp", "sms", "wechat", "dingtalk", "webauthn", "recovery-codes")


PLACES = {
    "phone": "https://phone.example.test",
    "wechat": "https://open.weixin.qq.com",
    "wechat_api": "https://api.weixin.qq.com",
    "dingtalk": "https://login.dingtalk.com",
    "dingtalk_api": "https://api.dingtalk.com",
}


class Outside:
    """All of it. places: the URL of each, by PLACES; those are asked without a network, any others with one."""

    def __init__(self, origin: str, clock: Callable[[], float], places: Mapping[str, str] = PLACES) -> None:
        self.origin = origin
        self.places = places
        back = f"{origin}/return"
        self.phone = Phone(SECRET, clock=clock)
        self.wechat = WeChat("wx-app", "wx-secret", urlsplit(origin).hostname or "", clock=clock)
        self.dingtalk = DingTalk("ding-app", "ding-secret", f"{back}/dingtalk", clock=clock)
        applications = {"phone": self.phone, "wechat": self.wechat, "dingtalk": self.dingtalk}
        self.hosts = {
            urlsplit(url).hostname: applications[name.removesuffix("_api")].application for name, url in PLACES.items()
        }
        self.asked: list[str] = []
        self._transport = httpx2.ASGITransport(self._application)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope["headers"])[b"host"].decode().partition(":")[0]
        await self.hosts[host](scope, receive, send)

    async def send(self, request: Request) -> Any:
        """As gateways.http.Http.send."""
        self.asked.append(request.host)
        async with Http(transport=self._transport if self.places is PLACES else None) as http:
            return await http.send(request)

    def factors(self, *kinds: str) -> dict[str, Factor]:
        """Those of these kinds, all if none is named."""
        sms = {"url": f"{self.places['phone']}/messages", "secret": SECRET}
        gateway = plugins.load("gateways", "sms_webhook", sms)
        back = f"{self.origin}/return"
        options: dict[str, dict[str, object]] = {
            "totp": {"issuer": "Example Mail"},
            "sms": {"gateway": gateway},
            "wechat": {
                "app_id": "wx-app",
                "app_secret": "wx-secret",
                "redirect_uri": f"{back}/wechat",
                "login_url": self.places["wechat"],
                "api_url": self.places["wechat_api"],
            },
            "dingtalk": {
                "app_id": "ding-app",
                "app_secret": "ding-secret",
                "redirect_uri": f"{back}/dingtalk",
                "organisation": ORGANISATION,
                "login_url": self.places["dingtalk"],
                "api_url": self.places["dingtalk_api"],
            },
            "webauthn": {"rp_id": urlsplit(self.origin).hostname, "origins": [self.origin]},
            "recovery-codes": {},
        }
        return {kind: plugins.load("factors", kind, options[kind]) for kind in kinds or KINDS}

    def texted(self) -> str:
        """The code of the latest text message."""
        found = re.search(r"\d{6}", self.phone.messages[-1].text)
        assert found
        return found[0]

    async def consent(self, url: str, person: str = "alice", **more: str) -> str:
        """Scan and agree: the address that the provider sends the browser back to. person: "" declines."""
        parts = urlsplit(url)
        decision = parts._replace(path=parts.path.rpartition("/")[0] + "/decision", fragment="").geturl()
        chosen = {"person": person, **more} if person else {}
        if "dingtalk" in url and person:
            chosen.setdefault("organisation", ORGANISATION)
        async with httpx2.AsyncClient(transport=self._transport) as browser:
            reply = await browser.get(httpx2.URL(decision).copy_merge_params(chosen))
        assert reply.status_code == 302, reply.text
        back = reply.headers["location"]
        assert back.startswith(self.origin), back
        return back.removeprefix(self.origin)


def state_of(path: str) -> str:
    """The state in the address that a provider sends back to."""
    return dict(parse_qsl(urlsplit(path).query))["state"]
