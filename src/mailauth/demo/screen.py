"""What the demo prints once it can be logged in to: one screen of 24 lines and 80 columns.

Rule: pure text. It goes to the terminal, never to the log.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from mailauth.apppassword import grouped
from mailauth.demo.memory import Memory

SERVICES = {"imap": "IMAP (read)", "pop3": "POP3 (read)", "smtp": "SMTP (send)"}


CHANGED = "changed since; `mailauth account passwd` sets it"


def screen(memory: Memory, folder: Path, *, changed: frozenset[str] = frozenset()) -> str:
    """changed: whose web password is another by now than memory's."""
    web = CHANGED if memory.account in changed else memory.web_password
    administrator = CHANGED if memory.administrator in changed else memory.administrator_password
    return "\n".join(
        [
            f"mailauth demo is running on what is in {folder}/ (Ctrl-C ends it)",
            "",
            f"  Account       {memory.account}",
            f"  App password  {grouped(memory.app_password)}  (for mail programs; spaces do not matter)",
            f"  Web password  {web}",
            "                (for the portal; mail programs do not get in with it)",
            f"  Portal        {memory.portal}",
            "                (its telephone, WeChat, DingTalk are simulated: /simulated/)",
            f"  Administrator {memory.administrator}",
            f"  Web password  {administrator}",
            "",
            "Set up a mail program: host localhost, user name and password as above",
            *[f"  {name}   {_ports(memory.ports.get(service, {}))}" for service, name in SERVICES.items()],
            f"  and let it trust {memory.ca}",
            "",
            "Try it in another terminal:",
            *_logins(memory),
        ]
    )


def _logins(memory: Memory) -> list[str]:
    imaps = memory.ports.get("imap", {}).get("implicit")
    if imaps is None:  # taken out of the configuration
        return []
    return [
        f"  curl --cacert {quote(memory.ca)} -u {memory.account}:{memory.app_password} \\",
        f"    imaps://localhost:{imaps}/INBOX",
        f"  python3 -c \"import imaplib, ssl; print(imaplib.IMAP4_SSL('localhost', {imaps}, \\",
        f"    ssl_context=ssl.create_default_context(cafile='{memory.ca}')).login( \\",
        f"    '{memory.account}', '{memory.app_password}'))\"",
    ]


def _ports(ports: dict[str, int]) -> str:
    told = {"implicit": "SSL/TLS", "starttls": "STARTTLS"}
    return "  or  ".join([f"port {ports[tls]} {name}" for tls, name in told.items() if tls in ports]) or "not served"
