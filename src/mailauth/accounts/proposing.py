"""What a program may begin for the owner of an account: each of these acts is done by the owner's browser, with proof.

Rule: the terms are checked as on the portal's own pages, and what comes of it is the address of a page and nothing
more: a program never gives the proof, and never learns what was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailauth.accounts import apppasswords, freshproof
from mailauth.accounts.factorrows import factor_views
from mailauth.accounts.finding import folded
from mailauth.accounts.freshproof import VALID_S, Act
from mailauth.accounts.means import Means
from mailauth.accounts.onbehalf import Owner, row_of
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.roles import Role
from mailauth.accounts.terms import label_from, networks_from, services_from
from mailauth.accounts.tokens import OWN, scopes_from
from mailauth.accounts.unit import looking
from mailauth.accounts.views import locked_by
from mailauth.attempt import Service
from mailauth.factors import typed
from mailauth.store.engine import Row


@dataclass(frozen=True, slots=True)
class Proposed:
    """An act that waits for its owner. token: names it in the address of its page; opens nothing by itself."""

    token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Proposing:
    """One program's request. now: epoch seconds. Each method raises NoSuch, Refused, StoreUnavailable."""

    means: Means
    who: Owner
    now: float

    def app_password(
        self,
        *,
        label: str | None = None,
        services: Iterable[str] = tuple(Service),
        networks: Iterable[str] = (),
        expires_at: float | None = None,
    ) -> Proposed:
        """A new client password. label: None: its owner is asked for it."""
        apppasswords.terms_of(label or "unnamed", services, networks, expires_at, self.now)
        apppasswords.refuse_at_maximum(self._account())
        terms: dict[str, Any] = {
            "services": sorted([str(service) for service in services_from(services)]),
            "networks": list(networks_from(networks)),
            "expires_at": expires_at,
        }
        return self._begun(Act.APP_PASSWORD, terms if label is None else terms | {"label": label_from(label)})

    def mode_off(self, *, delete_all: bool = False) -> Proposed:
        """Letting mail programs in with the web password again."""
        if why := locked_by(self._account(), self.now):
            raise Refused(f"the mode cannot be switched off, it is locked by policy ({why})", "locked")
        return self._begun(Act.MODE_OFF, {"delete_all": delete_all})

    def factor(self, kind: str) -> Proposed:
        """Setting up a second factor, or new recovery codes."""
        alone = self.means.factor(kind).nature.alone
        if not alone and not self._account()["has_factor"]:
            raise Refused(f"{kind} help out where there is another second factor: enrol that first", "helper-alone")
        return self._begun(Act.FACTOR_ADD if alone else Act.RECOVERY_CODES, {"factor": kind})

    def factor_removed(self, kind: str, part: str = "") -> Proposed:
        """Removing a second factor, or one of its parts. Whether it may go is judged when it is done."""
        self._require_part(kind, part)
        return self._begun(Act.FACTOR_REMOVE, {"factor": kind, "part": part})

    def factor_renamed(self, kind: str, name: str, part: str = "") -> Proposed:
        """Calling a second factor otherwise."""
        self._require_part(kind, part)
        return self._begun(Act.FACTOR_RENAME, {"factor": kind, "part": part, "name": typed.name(name)})

    def recovery_address(self, address: str | None) -> Proposed:
        """Another recovery address, or none."""
        checked = folded(address) if address else None
        if checked == self._account()["login"]:
            raise Refused("a recovery address is another one than the account's own", "own-address")
        return self._begun(Act.RECOVERY_ADDRESS, {"address": checked})

    def api_token(self, label: str, scopes: Iterable[str], expires_at: float | None = None) -> Proposed:
        """An API token of the owner's own."""
        wanted = sorted(scopes_from(scopes))
        if not set(wanted) <= OWN and self._account()["role"] == Role.USER:
            raise Refused("a token to administrate with is for administrators", "no-role")
        if expires_at is not None and expires_at <= self.now:
            raise Refused("a token cannot expire in the past", "in-the-past")
        terms = {"label": label_from(label), "scopes": [str(scope) for scope in wanted], "expires_at": expires_at}
        return self._begun(Act.API_TOKEN, terms)

    def export(self) -> Proposed:
        """Everything that is kept about the owner, who gets it in the browser."""
        return self._begun(Act.EXPORT, {})

    def _account(self) -> Row:
        with looking(self.means.store, self.now) as unit:
            return row_of(unit, self.who)

    def _require_part(self, kind: str, part: str) -> None:
        with looking(self.means.store, self.now) as unit:
            views = factor_views(unit, row_of(unit, self.who)["id"], self.means.factors)
        if not any(view.kind == kind and each.id == part for view in views for each in view.parts):
            raise NoSuch("the account has no such second factor")

    def _begun(self, act: Act, params: Mapping[str, Any]) -> Proposed:
        account = {"id": self.who.account_id, "login": self.who.login}
        actor, peer = self.who.actor, self.who.peer
        token = freshproof.begin_for(self.means.store, account, act, params, actor=actor, peer=peer, now=self.now)
        return Proposed(token, self.now + VALID_S)
