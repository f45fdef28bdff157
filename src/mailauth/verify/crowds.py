"""Many accounts behind one private address: a proxy or webmail that hides its clients, and a setting that is missing.

Rule: nothing is trusted for being private; the operator is told once, by name of the settings. Bounded.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from ipaddress import ip_network

from mailauth.guessing import Address

CROWD = 20  # accounts: more than a household has
MOST_SOURCES = 256

# RFC 1918, RFC 4193, RFC 1122 section 3.2.1.3 (loopback), RFC 3927 and RFC 4291 section 2.5.6 (link-local).
PRIVATE = {
    4: [ip_network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16")],
    6: [ip_network(net) for net in ("fc00::/7", "::1/128", "fe80::/10")],
}

log = logging.getLogger(__name__)


def is_private(address: Address) -> bool:
    """Whether this is an address of somebody's own network or machine."""
    return any(address in network for network in PRIVATE[address.version])


class Crowds:
    """Who got in from each private source, until there are many from one."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, set[int]] | None = OrderedDict()  # None: the operator has been told

    def note(self, source: str, account_id: int) -> None:
        """Somebody got in from this private source that is not trusted."""
        if self._accounts is None:
            return
        accounts = self._accounts.setdefault(source, set())
        accounts.add(account_id)
        if len(accounts) >= CROWD:
            self._accounts = None
            log.warning(
                "%d accounts got in from %s, which is private: whoever guesses there slows all of them. If it is a "
                "proxy, name it in proxy_from of its [[listen]]; if it is a webmail, in [throttle] trusted_networks",
                CROWD,
                source,
            )
        elif len(self._accounts) > MOST_SOURCES:
            self._accounts.popitem(last=False)
