"""Dovecot's doveadm over HTTP: ending what is open there, and having it forget a password that it remembers.

Source: Dovecot's documentation, "Doveadm HTTP API". HTTP/1.0, so that an answer ends with its connection. Rule: one
command for each request, one deadline for everything; what is not a clear answer is NotReached, and may be tried again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MAX_ANSWER_BYTES = 65_536
NOBODY = 68  # EX_NOHOST of sysexits.h: there was nothing to end


class NotReached(Exception):
    """It did not do it, or did not say so. The text says why, and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Doveadm:
    """url: of the HTTP listener, such as http://127.0.0.1:8080; key: its doveadm_api_key."""

    url: str
    key: str = field(repr=False)

    async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool:
        """End what is open of the users of this mask; False: there was nothing. Raises NotReached.

        passdb_field: what the mask is compared with in place of the user name (Dovecot 2.4). address: of the client,
        if only what is open from there is to end; Dovecot takes one.
        """
        more = {"passdbField": passdb_field} if passdb_field else {}
        masks = [mask, address] if address else [mask]
        return await self._run("kick", {"mask": masks, **more}, timeout_s)

    async def forget(self, user: str, timeout_s: float) -> None:
        """Take this user's passwords out of the authentication cache. Raises NotReached."""
        await self._run("authCacheFlush", {"user": [user]}, timeout_s)

    async def _run(self, command: str, parameters: dict[str, object], timeout_s: float) -> bool:
        body = json.dumps([[command, parameters, "mailauth"]]).encode()
        try:
            async with asyncio.timeout(timeout_s):
                said = await self._post(body)
        except TimeoutError:
            raise NotReached("no answer in time; is it running, and is the key right?") from None
        except (OSError, ValueError) as fault:
            raise NotReached(f"no connection ({type(fault).__name__})") from None
        return _done(said)

    async def _post(self, body: bytes) -> bytes:
        parts = urlsplit(self.url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=MAX_ANSWER_BYTES)
        shown = base64.b64encode(self.key.encode())
        head = [
            b"POST %b/doveadm/v1 HTTP/1.0" % parts.path.encode(),
            b"Host: " + parts.netloc.encode(),
            b"Authorization: X-Dovecot-API " + shown,
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
        ]
        try:
            writer.write(b"\r\n".join([*head, b"", body]))
            said = bytearray()
            while len(said) < MAX_ANSWER_BYTES and (part := await reader.read(MAX_ANSWER_BYTES)):
                said += part
            return bytes(said)
        finally:
            writer.close()


def _done(said: bytes) -> bool:
    """What an answer means: True: something was done. Raises NotReached."""
    head, _, body = said.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].split(b" ")[1:2]
    if status != [b"200"]:
        raise NotReached("it refused" if status else "it ended the connection")
    try:
        ((word, result, _),) = json.loads(body)
        if word == "doveadmResponse":
            return result not in ([], [{"count": "0"}])  # 2.3, 2.4
        nobody = word == "error" and result["exitCode"] == NOBODY
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NotReached("it answered what cannot be understood") from None
    if not nobody:
        raise NotReached("it could not do it")
    return False
