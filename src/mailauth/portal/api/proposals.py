"""Acts that a program begins for an owner, who gives the proof for them on the portal's own pages.

Rule: the answer is the address of such a page, and the same whether the owner ever goes there or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mailauth.accounts.proposing import Proposed, Proposing
from mailauth.accounts.terms import MAX_NETWORKS, networks_from
from mailauth.accounts.tokens import Scope
from mailauth.attempt import Service
from mailauth.portal.api.own import ACCOUNT, LABEL, owner
from mailauth.portal.api.shapes import LOGIN, Choice, Field, Flag, Many, Moment, OrNull, Text
from mailauth.portal.api.table import OWN_ASK, Answer, Call, Operation
from mailauth.portal.pages.proof import PROOF

KIND = Field("kind", Text(most=40, pattern="[a-z0-9-]+"), "Such as totp.", required=True, example="totp")
PART = Field("part", Text(least=0, most=200), "Which one, where there are several: its id in `factors`.")
EXPIRES = Field("expires_at", OrNull(Moment()), "When it ends; null or nothing: never.", example="2099-12-31T00:00:00Z")
NETWORK = Text(most=60, check=lambda text: networks_from([text])[0])


@dataclass(frozen=True, slots=True)
class Begun:
    """An act that waits for its owner. url: to be opened in the owner's browser, as a page of its own; good once, until
    expires_at, and for nobody but the owner."""

    url: str
    expires_at: float


Propose = Callable[..., Proposed]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One act. use: of Proposing; takes what the fields are called."""

    path: str
    summary: str
    use: Propose
    fields: tuple[Field, ...] = field(default=())

    def begin(self, call: Call) -> Answer:
        """Begin it."""
        terms = {name: value for name, value in call.body.items() if name != ACCOUNT.name}
        proposed = self.use(Proposing(call.means, owner(call, call.body), call.now), **terms)
        url = f"{call.house.origin}{PROOF}/" + proposed.token
        return Answer(Begun(url, proposed.expires_at), location=url)

    def operation(self) -> Operation:
        """For the table."""
        about = "The owner proves it in a browser, on the portal; a token never does."
        name, path = f"begin-{self.path}", f"/own/acts/{self.path}"
        body = (ACCOUNT, *self.fields)
        return Operation(
            "POST", path, name, self.summary, OWN_ASK, self.begin, answers=Begun, status=202, body=body, about=about
        )


PROPOSALS = (
    Proposal(
        *("app-password", "Begin a new app password", Proposing.app_password),
        (
            Field("label", LABEL, "The name of the device; nothing: its owner is asked for it.", example="My iPhone"),
            Field("services", Many(Choice(Service), least=1), "What it opens; nothing: all.", example=["imap", "smtp"]),
            Field("networks", Many(NETWORK, most=MAX_NETWORKS), "Only from these.", example=["192.0.2.0/24"]),
            EXPIRES,
        ),
    ),
    Proposal(
        *("mode-off", "Begin to let mail programs in with the web password again", Proposing.mode_off),
        (Field("delete_all", Flag(), "Whether all app passwords go too.", example=False),),
    ),
    Proposal("factor", "Begin to set up a second factor, or new recovery codes", Proposing.factor, (KIND,)),
    Proposal("factor-removed", "Begin to remove a second factor", Proposing.factor_removed, (KIND, PART)),
    Proposal(
        *("factor-renamed", "Begin to rename a second factor", Proposing.factor_renamed),
        (KIND, PART, Field("name", Text(most=64), "The new name.", required=True, example="Work phone")),
    ),
    Proposal(
        *("recovery-address", "Begin another recovery address", Proposing.recovery_address),
        (Field("address", OrNull(LOGIN), "null: none.", required=True, example="alice@example.org"),),
    ),
    Proposal("export", "Begin to show the owner everything that is kept", Proposing.export),
    Proposal(
        *("api-token", "Begin an API token of the owner's own", Proposing.api_token),
        (
            Field("label", LABEL, "What it is for.", required=True, example="Calendar"),
            Field("scopes", Many(Choice(Scope), least=1), "For what.", required=True, example=["own:read"]),
            EXPIRES,
        ),
    ),
)
OPERATIONS = tuple([proposal.operation() for proposal in PROPOSALS])
