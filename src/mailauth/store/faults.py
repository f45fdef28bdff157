"""What can come of a change besides its being made and StoreUnavailable."""

from __future__ import annotations

from mailauth.interfaces import StoreUnavailable


class CommitUnknown(StoreUnavailable):
    """The connection was lost during COMMIT: the change may have been made or not. Look before doing it again."""


class Clash(Exception):
    """A row like this is there already, or one it needs is gone: somebody else was quicker. Nothing was changed."""
