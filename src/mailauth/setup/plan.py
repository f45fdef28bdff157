"""What setting up a host means: files as they are to be, the [[bridge]] that answers it, and what is left to do.

Rule: values. What is secret is named in each file that holds it, so that nothing shows it.
"""

from __future__ import annotations

import difflib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailauth.config import Settings
from mailauth.config.bridge import Bridge

SHOWN_AS = "TOKEN"
TOKEN_BYTES = 32
MIN_TOKEN_CHARACTERS = 16  # shorter lines of a token file are none
PRIVATE = 0o600


class CannotSetUp(Exception):
    """The host is not there, or not as it must be. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What every host is asked by. version: "" means the installed one; folder: of its configuration; None: the usual.

    address: of the bridge, as in mailauth.toml; "": the host's usual.
    """

    settings: Settings
    version: str = ""
    folder: Path | None = None
    address: str = ""

    def beside(self, name: str) -> Path:
        """A file beside mailauth.toml."""
        return self.settings.source.parent / name

    def bridge(self, kind: str, address: str) -> Bridge | None:
        """The [[bridge]] that is there already. Raises CannotSetUp when another kind is at the address."""
        for bridge in self.settings.bridge:
            if str(bridge.address) != address:
                continue
            if bridge.kind != kind:
                raise CannotSetUp(
                    f"{self.settings.source}: {address} is that of another [[bridge]], {bridge.kind}; name another "
                    "with --address, or take that table out"
                )
            return bridge
        return None


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is to be. mode and group: of one that is not there yet; one that is keeps its own.

    like: a new one gets the owner of this file; None: who writes it. secret: never shown; "": there is none.
    copy_of: where a file that comes with mailauth is; "": it is no such.
    """

    path: Path
    text: str = field(repr=False)
    mode: int = 0o644
    group: int | None = None
    like: Path | None = None
    secret: str = field(default="", repr=False)
    copy_of: str = ""

    @property
    def before(self) -> str | None:
        """What is there; None: nothing. Raises CannotSetUp."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise CannotSetUp(f"{self.path}: cannot be read: {why}") from None

    @property
    def is_there(self) -> bool:
        """Whether nothing is to be changed."""
        return self.before == self.text

    def shown(self) -> str:
        """What changes, as a diff; a new file whole. Of one with a secret only what is to be there, without it."""
        before = self.before
        if self.copy_of:
            return f"+++ {self.path} (mode {self.mode:04o})\nas it comes with mailauth: {self.copy_of}\n"
        if before is None or self.secret:
            return f"+++ {self.path} (mode {self.mode:04o})\n" + self._masked()
        lines = difflib.unified_diff(
            before.splitlines(keepends=True), self.text.splitlines(keepends=True), str(self.path), str(self.path)
        )
        return "".join([line if line.endswith("\n") else line + "\n" for line in lines])

    def _masked(self) -> str:
        return self.text.replace(self.secret, SHOWN_AS) if self.secret else self.text


@dataclass(frozen=True, slots=True)
class Table:
    """A [[bridge]] of mailauth.toml. keys: its own, in order, as TOML values."""

    kind: str
    address: str
    keys: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As it stands in the file."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in self._whole.items()]
        return "\n".join(["[[bridge]]", *lines]) + "\n"

    @property
    def _whole(self) -> dict[str, object]:
        tcp = {} if self.address.startswith("unix:") else {"allow_tcp": True}
        return {"kind": self.kind, "address": self.address, **tcp, **self.keys}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for one host. host: its name, version and place, for people; table: None, where it needs none;
    beside: other tables that go with it.

    ours: mailauth's own files; files: the host's. commands: for a host elsewhere, in place of files.
    to_do: what nobody but the administrator can do. check: the host's own judgement of its configuration;
    require: raises CannotSetUp when it is not what it was to be; reload: how the host learns of it; afterwards: what is
    to be done once it has.
    """

    host: str
    table: Table | None = None
    beside: Sequence[Table] = ()
    ours: Sequence[File] = ()
    files: Sequence[File] = ()
    commands: Sequence[str] = ()
    to_do: Sequence[str] = ()
    check: Sequence[str] = ()
    require: Callable[[], object] | None = None
    reload: Sequence[str] = ()
    afterwards: Sequence[str] = ()
    is_elsewhere: bool = False


def table_file(asked: Asked, *tables: Table) -> File:
    """mailauth.toml with these tables at its end, but for those that are there."""
    source = asked.settings.source
    text = File(source, "").before or ""
    for table in tables:
        if asked.bridge(table.kind, table.address) is None:
            gap = "" if text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
            text += gap + table.text
    return File(source, text)


@dataclass(frozen=True, slots=True)
class Shared:
    """A secret of a bridge and its host. name: as mailauth.toml has it; text: the secret; file: mailauth's own copy."""

    name: str
    text: str = field(repr=False)
    file: File = field(repr=False)


def shared(asked: Asked, name: str, written: str = "") -> Shared:
    """The secret in the file that mailauth.toml names (written), else in `name` beside it; made, where there is none.

    The last line counts: of a token that is being replaced, the new one. Raises CannotSetUp.
    """
    if written.startswith("env:"):
        raise CannotSetUp(
            f"{asked.settings.source}: {written} cannot be read here; name a file instead, which {name} would be"
        )
    path = Path(written) if written else asked.beside(name)
    there = File(path, "").before or ""
    known = [line.strip() for line in there.splitlines() if len(line.strip()) >= MIN_TOKEN_CHARACTERS]
    text = known[-1] if known else secrets.token_hex(TOKEN_BYTES)
    whole = there if known else text + "\n"
    return Shared(name, text, File(path, whole, PRIVATE, like=asked.settings.key.file, secret=text))
