"""Cyrus IMAP: the socket of saslauthd that its imapd.conf names. Its ports are to be named by who examines."""

from __future__ import annotations

from pathlib import Path

from mailauth.doctor.hosts.host import Asking, CannotRead, Host
from mailauth.doctor.rights import user_named

USUAL = Path("/etc/imapd.conf")


def read(place: str) -> Host | None:
    """place: imapd.conf. None: there is none. Raises CannotRead."""
    file = Path(place) if place else USUAL
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        if place:
            raise CannotRead(f"{file} is not there; name the right file") from None
        return None
    except OSError as error:
        raise CannotRead(f"{file} cannot be read: {error.strerror}; run this as root") from None
    lines = [line.partition(":") for line in text.splitlines() if not line.startswith("#")]
    told = {name.strip(): value.strip() for name, _, value in lines}
    user, path = user_named("cyrus"), told.get("sasl_saslauthd_path", "")
    if user is None or not path or told.get("sasl_pwcheck_method") != "saslauthd":
        return Host("Cyrus IMAP", str(file))
    return Host("Cyrus IMAP", str(file), asking=(Asking("Cyrus imapd", user, path, "sasl_saslauthd_path"),))
