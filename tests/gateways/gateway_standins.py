"""Twilio and Aliyun as their documents say that they behave: every request is checked, signatures included.

Rule: nothing of the gateways under test is used to check them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mailauth.demo.providers.asgi import Application, Call, Reply, as_json


class TwilioStandIn:
    """The Messages resource of one account. fault: (status, code) instead; None for none."""

    def __init__(self, sid: str, user: str, password: str) -> None:
        self.sid = sid
        self.login = f"{user}:{password}"
        self.sent: list[dict[str, str]] = []
        self.fault: tuple[int, int] | None = None
        self.status = "queued"
        self.application = Application(self.handle)

    def handle(self, call: Call) -> Reply:
        if call.headers.get("authorization") != "Basic " + base64.b64encode(self.login.encode()).decode():
            return self._error(401, 20003)
        if (call.method, call.path) != ("POST", f"/2010-04-01/Accounts/{self.sid}/Messages.json"):
            return self._error(404, 20404)
        if call.headers.get("content-type") != "application/x-www-form-urlencoded":
            return self._error(400, 21602)
        if self.fault is not None:
            return self._error(*self.fault)
        form = call.form()
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", form.get("To", "")):
            return self._error(400, 21211)
        if ("From" in form) == ("MessagingServiceSid" in form):
            return self._error(400, 21603)
        if not form.get("Body"):
            return self._error(400, 21602)
        self.sent.append(form)
        fields = {"sid": "SM" + "0" * 32, "status": self.status, "error_code": None, "to": form["To"]}
        return as_json(fields, 201)

    def _error(self, status: int, code: int) -> Reply:
        info = f"https://www.twilio.com/docs/errors/{code}"
        return as_json({"code": code, "message": "said so", "more_info": info, "status": status}, status)


class AliyunStandIn:
    """SendSms of one AccessKey. said: the Code of the body; OK when all is well."""

    def __init__(self, key_id: str, key_secret: str, clock: Callable[[], float]) -> None:
        self.key_id = key_id
        self.key_secret = key_secret
        self.clock = clock
        self.said = "OK"
        self.sent: list[dict[str, Any]] = []
        self.nonces: set[str] = set()
        self.application = Application(self.handle)

    def handle(self, call: Call) -> Reply:
        problem = self._problem(call)
        if problem is not None:
            return as_json({"Code": problem, "Message": problem, "RequestId": "R", "HostId": call.headers["host"]}, 400)
        if self.said != "OK":
            return as_json({"Code": self.said, "Message": self.said, "RequestId": "R"})
        query = call.query
        if set(query) != {"PhoneNumbers", "SignName", "TemplateCode", "TemplateParam"}:
            return as_json({"Code": "isv.INVALID_PARAMETERS", "Message": "", "RequestId": "R"})
        if not re.fullmatch(r"1[0-9]{10}|[1-9][0-9]{6,14}", query["PhoneNumbers"]):
            return as_json({"Code": "isv.MOBILE_NUMBER_ILLEGAL", "Message": "", "RequestId": "R"})
        self.sent.append({**query, "TemplateParam": json.loads(query["TemplateParam"])})
        return as_json({"Code": "OK", "Message": "OK", "RequestId": "R", "BizId": "900619746936498440^0"})

    def _problem(self, call: Call) -> str | None:
        """The checks of signature method V3, in words of its document."""
        if (call.method, call.path) != ("POST", "/"):
            return "InvalidAction.NotFound"
        headers = call.headers
        if (headers.get("x-acs-action"), headers.get("x-acs-version")) != ("SendSms", "2017-05-25"):
            return "InvalidVersion"
        pattern = r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})"
        found = re.fullmatch(pattern, headers.get("authorization", ""))
        if found is None:
            return "MissingAuthorization"
        if found[1] != self.key_id:
            return "InvalidAccessKeyId.NotFound"
        at = datetime.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        if abs(self.clock() - at) > 900:
            return "InvalidTimeStamp.Expired"
        if headers["x-acs-signature-nonce"] in self.nonces:
            return "SignatureNonceUsed"
        self.nonces.add(headers["x-acs-signature-nonce"])
        names = found[2].split(";")
        wanted = sorted(name for name in headers if name.startswith("x-acs-") or name == "host")
        if names != wanted or headers["x-acs-content-sha256"] != hashlib.sha256(call.body).hexdigest():
            return "IncompleteSignature"
        pairs = sorted(pair.partition("=") for pair in call.raw_query.split("&"))
        request = "POST\n/\n" + "&".join(name + "=" + value for name, _, value in pairs) + "\n"
        request += "".join(f"{name}:{headers[name]}\n" for name in names) + "\n"
        request += found[2] + "\n" + headers["x-acs-content-sha256"]
        text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(request.encode()).hexdigest()
        ours = hmac.new(self.key_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return None if ours == found[3] else "SignatureDoesNotMatch"
