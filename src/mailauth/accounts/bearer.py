"""Tokens that open something for whoever bears them: 256 random bits, of which the store has a digest only.

Source: NIST SP 800-63B-4 section 5.1 (session secrets), FIPS 180-4 (SHA-256). So many random bits need no slow hash.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

TOKEN_BYTES = 32


def new() -> str:
    """A new one, as it stands in a cookie or an address: 43 letters, digits, hyphens and underscores."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(bearer: str) -> str:
    """What is stored of it: hex text. Anything may be given; what no browser of ours sends finds nothing."""
    return sha256(bearer.encode("utf-8", "surrogatepass")).hexdigest()
