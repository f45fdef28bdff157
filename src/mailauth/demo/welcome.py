"""The first message in the demo's INBOX."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import formatdate, make_msgid

BODY = """\
Welcome to mailauth.

You read this with an app password. It opens mail programs and nothing else;
the web password of this account does not open them, because the account's
mode is on. Try it: the refusal does not say why, but the audit log does.

    mailauth audit {account} --config {config}

Make another app password for another device, use it, and revoke it: sign in
to the portal with the web password, or give the commands

    mailauth app-password add {account} --label Tablet --config {config}
    mailauth app-password revoke {account} --label Tablet --config {config}

You can send mail too: submission delivers to the accounts of this site.
"""


def message(account: str, config: str) -> bytes:
    """The message as RFC 5322 has it, without passwords. config: how commands name the configuration."""
    welcome = EmailMessage()
    welcome["From"] = f"mailauth <postmaster@{account.rpartition('@')[2]}>"
    welcome["To"] = account
    welcome["Subject"] = "Welcome"
    welcome["Date"] = formatdate()
    welcome["Message-ID"] = make_msgid(domain=account.rpartition("@")[2])
    welcome.set_content(BODY.format(account=account, config=config), cte="8bit")  # a long path stays in one piece
    return welcome.as_bytes()
