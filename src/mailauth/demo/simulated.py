"""The world outside of the demo: a telephone, a WeChat and a DingTalk of its own, under /simulated/ of the portal.

Rule: made by `demo` and by nothing else; no configuration can name them. They are asked as the true ones are, by HTTP,
and only by who comes to this machine's own name for the portal.
"""

from __future__ import annotations

import html
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mailauth.config import Settings
from mailauth.config.plugged import Plugged
from mailauth.demo.providers.asgi import Application, Call, Reply, link, page
from mailauth.demo.providers.dingtalk import DingTalk
from mailauth.demo.providers.phone import Phone
from mailauth.demo.providers.wechat import WeChat
from mailauth.webportal import RETURN

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PLACE = "/simulated"
ORGANISATION = "ding-example"
SECRET_BYTES = 24
USUAL = ("totp", "sms", "wechat", "dingtalk", "webauthn", "recovery-codes")


class Simulated:
    """All of it, for a portal at this URL."""

    def __init__(self, public_url: str) -> None:
        self._url = public_url
        self._host = urlsplit(public_url).netloc
        self._secret = secrets.token_hex(SECRET_BYTES)
        self._providers: dict[str, Application] = {
            "phone": Phone(self._secret).application,
            "wechat": WeChat("wx-demo", self._secret, urlsplit(public_url).hostname or "").application,
            "dingtalk": DingTalk("ding-demo", self._secret, f"{public_url}{RETURN}/dingtalk").application,
            "": Application(self._index),
        }

    def settings(self, settings: Settings) -> Settings:
        """These settings, with every factor, those of the outside world being ours."""
        url = f"{self._url}{PLACE}"
        options: dict[str, dict[str, object]] = {
            "totp": {"issuer": "mailauth demo"},
            "sms": {"gateway": "sms_webhook"},
            "wechat": self._login("wx-demo", f"{url}/wechat"),
            "dingtalk": {**self._login("ding-demo", f"{url}/dingtalk"), "organisation": ORGANISATION},
        }
        gateway = Plugged("sms_webhook", "demo", {"url": f"{url}/phone/messages", "secret": self._secret})
        factors = tuple([Plugged(name, "demo", options.get(name, {})) for name in USUAL])
        return replace(settings, factors=factors, gateways=(gateway,))

    def _login(self, app_id: str, url: str) -> dict[str, object]:
        return {"app_id": app_id, "app_secret": self._secret, "login_url": url, "api_url": url}

    def around(self, app: ASGIApp) -> ASGIApp:
        """The portal's application, with these pages beside it."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            parts = scope.get("path", "").split("/", 3)  # "", "simulated", the provider, the rest
            is_ours = scope["type"] == "http" and parts[:2] == ["", PLACE[1:]] and self._is_named(scope)
            provider = self._providers.get(parts[2] if len(parts) > 2 else "") if is_ours else None
            if provider is None:
                await app(scope, receive, send)
            else:
                name = parts[2] if len(parts) > 2 else ""
                await provider({**scope, "root_path": f"{PLACE}/{name}" if name else PLACE}, receive, send)

        return serve

    def _is_named(self, scope: Any) -> bool:
        """Whether the browser came by our own name: a page of somebody else's cannot read what stands here."""
        return bytes(dict(scope["headers"]).get(b"host", b"")).decode("latin-1") == self._host

    def _index(self, call: Call) -> Reply:  # noqa: ARG002  there is one page
        told = "微信与钉钉在绑定和验证时出现。 WeChat and DingTalk come up where they are bound and asked."
        return page("模拟的世界 Simulated", [link(f"{PLACE}/phone/", "手机短信 Text messages"), html.escape(told)])
