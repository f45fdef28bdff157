"""Small stand-ins with real behaviour: a Passdb in memory, a quick hash, an Authenticator with a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mailauth.attempt import Attempt, Service
from mailauth.interfaces import Account, BadRecord, Demand, Lane, PolicyLevel, Selectors, StoredAppPassword
from mailauth.verdict import Accept, Outcome, Principal, Reason, Reject

ALL_SERVICES = frozenset(Service)
NO_DEMAND = Demand(PolicyLevel.OPTIONAL, None, False, False, None, False)


class PlainHashes:
    """Records are `plain:SECRET`, `weak:SECRET` (legacy) and `dear:SECRET` (of another cost); else BadRecord.

    Counts what it computes.
    """

    def __init__(self) -> None:
        self.computed = 0
        self.full = False
        self.fault: Exception | None = None
        self.lanes: list[Lane] = []

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        self.lanes.append(lane)
        self.computed += 1
        if self.fault is not None:
            raise self.fault
        kind, _, stored = record.partition(":")
        if kind not in {"plain", "weak", "dear"}:
            raise BadRecord("unreadable")
        return stored.encode() == secret

    async def hash(self, secret: bytes, lane: Lane = Lane.ORDINARY) -> str:
        return "plain:" + secret.decode()

    def outdated(self, record: str) -> bool:
        return record.startswith(("weak:", "dear:"))

    def is_legacy(self, record: str) -> bool:
        return record.startswith("weak:")

    def saturated(self, delay_s: float) -> bool:
        return self.full


class LengthKeys:
    """One server key whose selectors are easy to foresee: the sum of the password's bytes."""

    newest = 1

    def selectors(self, login: str, cleaned: str) -> Selectors:
        return ((1, sum(cleaned.encode())),)


class MemoryPassdb:
    """Accounts in a dict. app_passwords: (selector, stored) per login."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.app_passwords: dict[str, list[tuple[int, StoredAppPassword]]] = {}
        self.on_record: dict[tuple[str, Service, str], tuple[float, int | None]] = {}
        self.aliases: dict[str, str] = {}
        self.fault: Exception | None = None
        self.replaced: list[tuple[int, str, str]] = []
        self.moved: list[tuple[int, int, int, int]] = []
        self.lookups = 0

    def add(self, login: str, web: str | None = None, **changes: object) -> Account:
        account = Account(
            id=len(self.accounts) + 1,
            login=login,
            domain_id=1,
            enabled=True,
            domain_enabled=True,
            client_logon=True,
            services=ALL_SERVICES,
            mode_on=False,
            demands=(NO_DEMAND, NO_DEMAND, NO_DEMAND),
            web_record=None if web is None else f"plain:{web}",
            web_changed_at=None,
            hits=(),
        )
        self.accounts[login] = account._replace(**changes)  # type: ignore[arg-type]
        return self.accounts[login]

    def mint(self, login: str, password: str, **changes: object) -> StoredAppPassword:
        stored = StoredAppPassword(
            id=100 + sum(len(minted) for minted in self.app_passwords.values()),
            key_id=1,
            record=f"plain:{password}",
            services=ALL_SERVICES,
            networks=(),
            expires_at=None,
            suspended=False,
            revoked=False,
        )
        stored = stored._replace(**changes)  # type: ignore[arg-type]
        self.app_passwords.setdefault(login, []).append((sum(password.encode()), stored))
        return stored

    def revoke(self, login: str, password: str) -> None:
        """Make tombstones of this app password."""
        minted = self.app_passwords[login]
        at = sum(password.encode())
        self.app_passwords[login] = [(s, stored._replace(revoked=s == at)) for s, stored in minted]

    async def lookup(self, login: str, selectors: Selectors) -> Account | None:
        self.lookups += 1
        if self.fault is not None:
            raise self.fault
        account = self.accounts.get(login)
        if account is None:
            return None
        wanted = {selector for _, selector in selectors}
        hits = tuple(stored for selector, stored in self.app_passwords.get(login, []) if selector in wanted)
        return account._replace(hits=hits)

    async def session(self, account_id: int, credential_id: int | None) -> Account | None:
        if self.fault is not None:
            raise self.fault
        account = next((account for account in self.accounts.values() if account.id == account_id), None)
        if account is None:
            return None
        hits = tuple(stored for _, stored in self.app_passwords.get(account.login, []) if stored.id == credential_id)
        return account._replace(hits=hits)

    async def let_in(
        self, account: Account, service: Service, peer: str, since: float
    ) -> tuple[float, int | None] | None:
        if self.fault is not None:
            raise self.fault
        found = self.on_record.get((account.login, service, peer))
        return None if found is None or found[0] < since else found

    async def canonical(self, alias: str) -> str | None:
        if self.fault is not None:
            raise self.fault
        return self.aliases.get(alias)

    async def replace_web_record(self, account_id: int, old: str, new: str) -> None:
        self.replaced.append((account_id, old, new))

    async def reselect(self, credential_id: int, old_key: int, new_key: int, selector: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.moved.append((credential_id, old_key, new_key, selector))


class Doorman:
    """An Authenticator with a list of (login, password) that get in; `outcome` answers everybody, if set."""

    def __init__(self, known: Iterable[tuple[str, str]] = (("alice@example.test", "secret"),)) -> None:
        self.known = set(known)
        self.outcome: Outcome | Callable[[Attempt], Outcome] | Exception | None = None
        self.attempts: list[Attempt] = []

    async def authenticate(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if callable(self.outcome):
            return self.outcome(attempt)
        if self.outcome is not None:
            return self.outcome
        credential = attempt.credential
        if (credential.authcid, credential.password) in self.known:
            return Accept(Principal(1, credential.authcid, 7))
        return Reject(Reason.WRONG_PASSWORD)
