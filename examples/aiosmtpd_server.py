"""A submission server on aiosmtpd, with mailauth judging: what it takes to put AUTH into a server of your own.

    python examples/aiosmtpd_server.py mailauth.toml server.pem server.key 9587

aiosmtpd's Controller serves in a thread with an event loop of its own; the logins are judged on the loop where the
authenticator was opened. After AUTH the session carries a Principal: account, login, and which app password it was.
"""

# ruff: noqa: ARG002, N802  (aiosmtpd calls its hooks so)

import asyncio
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailauth import open_authenticator
from mailauth.smtp import with_auth


class Inbox:
    """Your own handler; any of aiosmtpd's hooks will do."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Tell who sent what to whom."""
        login, recipients = session.auth_data.login, ", ".join(envelope.rcpt_tos)
        print(f"{login} sent {len(envelope.content)} octets to {recipients}", flush=True)
        return "250 2.0.0 Thank you"


async def main(config: str, certificate: str, key: str, port: str) -> None:
    """Serve on loopback, with STARTTLS, until interrupted."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    async with open_authenticator(config) as authenticator:
        controller = Controller(
            with_auth(Inbox(), authenticator),
            hostname="127.0.0.1",
            port=int(port),
            server_hostname="localhost",
            tls_context=tls,
            auth_required=True,
            command_call_limit={"AUTH": 5, "*": 1000},  # logins on one connection; of anything else
        )
        controller.start()
        print(f"listening on localhost:{port}", flush=True)
        await interrupted.wait()
        controller.stop()
        print("bye")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
