"""Finding a plug-in by its name: the file's name is the configuration's name (hyphen there, underscore here).

Rule: no list to keep. Our own are modules `mailauth.<kind>.<name>`; somebody else's are entry points of the group
`mailauth.<kind>`. Either offers one function, `build(section)`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any


class NoSuchPlugin(LookupError):
    """Nothing of this kind has this name."""


def load(kind: str, name: str, section: Mapping[str, object] | None = None) -> Any:
    """Build the plug-in of this kind and name with its section of the configuration.

    Raises NoSuchPlugin, and whatever `build` raises about the section.
    """
    module = name.replace("-", "_")
    if not module.isascii() or not module.isidentifier() or module.startswith("_"):
        raise NoSuchPlugin(f"{name!r} cannot be the name of a {kind} plug-in")
    dotted = f"mailauth.{kind}.{module}"
    if importlib.util.find_spec(dotted) is not None:
        build = getattr(importlib.import_module(dotted), "build", None)
        if build is not None:
            return build({} if section is None else section)
    for entry in entry_points(group=f"mailauth.{kind}", name=name):
        return entry.load().build({} if section is None else section)
    raise NoSuchPlugin(f"there is no {kind} plug-in named {name!r}")
