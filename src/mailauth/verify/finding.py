"""The account that a login names, with the app passwords that the secret may be.

Rule: None is an account truly absent; all that is not known is an exception.
"""

from __future__ import annotations

from mailauth.interfaces import Account, Keys, Passdb, UnknownKey


class Finding:
    """Finds accounts by login. aliases_log_in: by alias too."""

    def __init__(self, passdb: Passdb, keys: Keys, *, aliases_log_in: bool) -> None:
        self._passdb = passdb
        self._keys = keys
        self._aliases_log_in = aliases_log_in

    async def account(self, login: str, cleaned: str | None) -> Account | None:
        """login: folded. cleaned: the app password that the secret may be. Raises StoreUnavailable, BadRecord."""
        account = await self._read(login, cleaned)
        if account is None and self._aliases_log_in and (owner := await self._passdb.canonical(login)) is not None:
            return await self._read(owner, cleaned)
        return account

    async def _read(self, login: str, cleaned: str | None) -> Account | None:
        selectors = () if cleaned is None else self._keys.selectors(login, cleaned)
        try:
            return await self._passdb.lookup(login, selectors)
        except UnknownKey:
            if cleaned is None or (now := self._keys.selectors(login, cleaned)) == selectors:
                raise
        return await self._passdb.lookup(login, now)  # a key came into use while the store was slow to answer
