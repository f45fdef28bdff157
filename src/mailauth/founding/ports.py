"""Where a new site listens: the usual ports, moved out of the range that only root may use.

Source: contract 5; RFC 8314 section 7 (993, 995, 465), RFC 9051 (143), RFC 1939 (110), RFC 6409 (587).
"""

from __future__ import annotations

LOOPBACK = "127.0.0.1"
LISTENERS = (  # service, tls, port without offset
    ("imap", "implicit", 1993),
    ("imap", "starttls", 1143),
    ("pop3", "implicit", 1995),
    ("pop3", "starttls", 1110),
    ("smtp", "implicit", 1465),
    ("smtp", "starttls", 1587),
)
PORTAL = 8080
MAX_PORT_OFFSET = 65535 - max(PORTAL, *[port for _, _, port in LISTENERS])
