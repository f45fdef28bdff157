"""demo.json: what the demo prints, kept so that a later start can print the same.

Rule: it holds passwords, so it is its owner's alone from its first byte on, and replaced whole or not at all.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self

NAME = "demo.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """ports: by service, then by tls ("implicit", "starttls"); ca: the path of the authority's certificate.

    administrator: the address of the one who has the pages of administration. portal: its URL.
    """

    account: str
    web_password: str = field(repr=False)
    app_password: str = field(repr=False)
    ports: dict[str, dict[str, int]]
    ca: str
    administrator: str
    administrator_password: str = field(repr=False)
    portal: str

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What an earlier start kept; None: nothing that can be used."""
        try:
            kept = json.loads((folder / NAME).read_text(encoding="utf-8"))
            return cls(**{name.name: kept[name.name] for name in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Keep this. Raises OSError."""
        draft = folder / f"{NAME}.new"
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
            file.write("\n")
        draft.replace(folder / NAME)
