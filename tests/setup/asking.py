"""How tests ask for a plan: see the fixture of that name."""

from __future__ import annotations

from collections.abc import Callable

from mailauth.setup.plan import Asked

Asking = Callable[..., Asked]
