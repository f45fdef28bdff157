"""What several sources share: where a service is, how TLS to it is made, and what a template makes of a login.

Rule: certificates are verified, always. A password goes in clear to this machine itself only, if at all.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path

from mailauth.factors.section import BadSection

PLACEHOLDER = re.compile(r"\{(login|local|domain)\}")


def client_tls(authorities: str, folder: Path | str) -> ssl.SSLContext:
    """A context that verifies name and certificate, TLS 1.2 at least. authorities: a PEM file; "": the system's.

    Raises BadSection.
    """
    try:
        context = ssl.create_default_context(
            cafile=Path(folder) / Path(authorities).expanduser() if authorities else None
        )
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror if type(error) is not ssl.SSLError else None
        reason = reason or "is no PEM file of certificates"
        raise BadSection("ca", f"{authorities}: {reason}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def parts_of(login: str) -> dict[str, str]:
    """What may stand in a template: login, local (before the @), domain."""
    local, _, domain = login.rpartition("@")
    return {"login": login, "local": local, "domain": domain}


def filled(template: str, login: str, escape: Callable[[str], str] = str) -> str:
    """The template with {login}, {local} and {domain} replaced, each escaped."""
    values = parts_of(login)
    return PLACEHOLDER.sub(lambda match: escape(values[match[1]]), template)


def names_user(template: str) -> str | None:
    """A check: the template says whom it is about, and has no placeholder that there is not."""
    known = set(PLACEHOLDER.findall(template))
    if re.sub(PLACEHOLDER, "", template).count("{"):
        return "has a { that begins none of {login}, {local} and {domain}"
    return None if known & {"login", "local"} else "must hold {login} or {local}"
