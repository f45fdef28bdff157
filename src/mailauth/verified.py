"""Which servers are believed unverified: those of this machine itself, and no other.

Source: postgresql.org, libpq's "Parameter Key Words" and "SSL Support". Rule: whoever wants less for another machine
writes so.
"""

from __future__ import annotations

import ssl

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def for_libpq(url: str, authorities: str = "") -> dict[str, str]:
    """What libpq is to be told beside the URL: left to itself it verifies nobody, and goes on in clear where there is
    no TLS. authorities: a PEM file of those that a certificate may be from; "": the system's.

    Raises ImportError, and psycopg.ProgrammingError for a URL that is none.
    """
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - only where it is used

    written = conninfo_to_dict(url)
    hosts = str(written.get("hostaddr") or written.get("host") or "").split(",")
    if all(host in LOOPBACK or host.startswith("/") for host in hosts):
        return {}
    if "sslmode" in written and not authorities:
        return {}
    # What the driver's own OpenSSL takes for the system's may be a place where nothing is.
    wanted = {
        "sslmode": "verify-full",
        "sslrootcert": authorities or ssl.get_default_verify_paths().cafile or "system",
    }
    return {key: value for key, value in wanted.items() if key not in written}
