"""Password files: Dovecot's passwd-file and Apache's htpasswd, line by line.

Source: Dovecot's passwd-file, `user:password:uid:gid:gecos:home:shell:extra`; Apache's htpasswd, `user:password`.
Rule: a line is read or named, never passed over. What a password is made by is not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

EXTRA_FIELDS = 7  # the place where Dovecot's extra fields begin


class BadLine(ValueError):
    """A line cannot be read. The text says why, and nothing of what stands in it. user: whose line it is, or ""."""

    def __init__(self, reason: str, user: str = "") -> None:
        super().__init__(reason)
        self.user = user


@dataclass(frozen=True, slots=True)
class Line:
    """One user. password: the hash, "" for none. extra: Dovecot's extra fields, "" for one without a value."""

    user: str
    password: str = field(repr=False)
    extra: dict[str, str] = field(default_factory=dict)


def lines(raw: bytes) -> Iterator[tuple[int, Line | BadLine]]:
    """Every line that is neither empty nor a comment, with its number, from 1; or why it cannot be read."""
    for number, text in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        stripped = text.rstrip(b"\r")
        if not stripped.strip() or stripped.startswith(b"#"):
            continue
        try:
            yield number, _line(stripped)
        except BadLine as bad:
            yield number, bad


def with_scheme(password: str, default_scheme: str) -> str:
    """The record of a password, `{SCHEME}` put before one that names none. default_scheme: "" puts nothing."""
    prefix = f"{{{default_scheme}}}" if default_scheme and not password.startswith("{") else ""
    return prefix + password


def _line(raw: bytes) -> Line:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8", raw.partition(b":")[0].decode("utf-8", "replace").strip()) from None
    user, colon, rest = text.partition(":")
    if not user.strip():
        raise BadLine("names no user")
    if not colon:
        raise BadLine("has no colon behind the user", user.strip())
    fields = [user.strip(), *rest.split(":", EXTRA_FIELDS - 1)]
    return Line(fields[0], fields[1], _extra(fields[EXTRA_FIELDS:]))


def _extra(fields: Iterable[str]) -> dict[str, str]:
    words = " ".join(fields).split()
    return {name: value for name, _, value in (word.partition("=") for word in words)}
