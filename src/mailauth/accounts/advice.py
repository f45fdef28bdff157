"""What an account's owner should see to: programs that do not log in as they should, and the one that does so by half.

Rule: pure. A program that has been put right since is not brought up again, as far as last uses can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never

from mailauth.accounts.observations import ObservationView
from mailauth.accounts.views import AppPasswordView
from mailauth.store.networks import coarse
from mailauth.store.observations import MAX_CLIENT_CHARACTERS, Kind

FRESH_S = 14 * 86400.0  # what was not seen for so long has stopped, or is in a drawer
SENDING = frozenset({"smtp"})


class Need(StrEnum):
    """What is the matter."""

    SENDS_WITH_OLD = "half"  # it receives with an app password, and sends with something else
    RECEIVES_WITH_OLD = "half_out"
    DELETED = "deleted"
    DELETED_FORGOTTEN = "deleted_forgotten"  # nobody knows any more which one it was
    REFUSED = "refused"
    WOULD_BREAK = "would_break"
    USES_WEB = "uses_web"  # it may, and it would be better if it did not


@dataclass(frozen=True, slots=True)
class Advice:
    """One program. client: what it calls itself, "" for nothing. label: of the app password concerned. last_at: epoch
    seconds. network: CIDR, "" when it came without an address."""

    need: Need
    client: str
    service: str
    network: str
    label: str
    last_at: float


@dataclass(frozen=True, slots=True)
class WebPasswordUse:
    """A program that got in with the web password. As in ObservationView; last_at: epoch seconds."""

    client: str
    service: str
    network: str
    last_at: float


Seen: TypeAlias = ObservationView | WebPasswordUse


def advised(
    observations: Sequence[ObservationView],
    passwords: Sequence[AppPasswordView],
    now: float,
    uses: Sequence[WebPasswordUse] = (),
) -> list[Advice]:
    """What to bring up, the latest first, each program once. uses: where nothing is observed."""
    found: dict[tuple[Need, str, str, str, str], Advice] = {}
    everything: list[Seen] = [*observations, *uses]
    for seen in sorted(everything, key=lambda seen: seen.last_at, reverse=True):
        if now - seen.last_at > FRESH_S or any(_is_mended(seen, used) for used in passwords):
            continue
        half = next((used for used in passwords if _is_half(seen, used, everything)), None)
        advice = _told(seen) if half is None else _told_half(seen, half)
        key = (advice.need, advice.client, advice.service, advice.network, advice.label)
        found.setdefault(key, advice)
    return list(found.values())


def _told_half(seen: Seen, half: AppPasswordView) -> Advice:
    need = Need.SENDS_WITH_OLD if seen.service in SENDING else Need.RECEIVES_WITH_OLD
    client = half.last_used_client or seen.client
    return Advice(need, client, seen.service, seen.network, half.label, seen.last_at)


def _told(seen: Seen) -> Advice:
    if isinstance(seen, WebPasswordUse):
        return Advice(Need.USES_WEB, seen.client, seen.service, seen.network, "", seen.last_at)
    return Advice(_need(seen), seen.client, seen.service, seen.network, seen.label or "", seen.last_at)


def _need(seen: ObservationView) -> Need:
    match seen.kind:
        case Kind.DELETED_APP_PASSWORD:
            return Need.DELETED if seen.label else Need.DELETED_FORGOTTEN
        case Kind.WEB_PASSWORD_REFUSED:
            return Need.REFUSED
        case Kind.WOULD_BREAK:
            return Need.WOULD_BREAK
        case _:
            assert_never(seen.kind)


def _is_half(seen: Seen, used: AppPasswordView, all_seen: Sequence[Seen]) -> bool:
    """Whether an app password is used from there in the other direction, while this one was tried since it was made.

    Not if the old one is tried from there in both directions: then that is another program, which was not changed yet.
    """
    sends = seen.service in SENDING
    if not _is_near(seen, used) or seen.last_at < used.created_at or (used.last_used_service in SENDING) == sends:
        return False
    return not any(
        other.network == seen.network and other.last_at >= used.created_at and (other.service in SENDING) != sends
        for other in all_seen
    )


def _is_mended(seen: Seen, used: AppPasswordView) -> bool:
    """Whether the same program has got in to the same service since."""
    return (
        _is_near(seen, used)
        and used.last_used_service == seen.service
        and (used.last_used_client or "")[:MAX_CLIENT_CHARACTERS] == seen.client
        and (used.last_used_at or 0.0) > seen.last_at
    )


def _is_near(seen: Seen, used: AppPasswordView) -> bool:
    return used.last_used_at is not None and bool(seen.network) and coarse(used.last_used_peer or "") == seen.network
