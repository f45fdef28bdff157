"""Who guesses, and who does not: a throttle with a clock of its own, and attempts in one line."""

from __future__ import annotations

from ipaddress import ip_network

from mailauth.attempt import Attempt, Credential, Service
from mailauth.verdict import Accept, Principal, Reason, Reject
from mailauth.verify.throttle import GuessThrottle

ALICE, HERS = "alice@example.test", 1
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"
WRONG = Reject(Reason.WRONG_PASSWORD)
RIGHT = Accept(Principal(HERS, ALICE, None))


class Guessing:
    """One process. now: its monotonic clock."""

    def __init__(self, trusted=(), now=1000.0):
        self.now = now
        self.throttle = GuessThrottle([ip_network(network) for network in trusted], lambda: self.now)

    def claim(self, secret, peer=HOME, login=ALICE, account=HERS, *, web=False, device="", typed=None, on=Service.IMAP):
        attempt = Attempt(Credential(typed or login, str(secret)), on, peer, True)
        return self.throttle.claim(attempt, login, account, web=web, device=device)

    def guess(self, secret, outcome=WRONG, **how):
        """True: admitted (and settled); otherwise the seconds to wait."""
        claim = self.claim(secret, **how)
        if isinstance(claim, float):
            assert claim > 0
            return claim
        if outcome is not None:
            claim.settle(outcome)
        return True

    def admitted(self, secrets, **how):
        return sum(self.guess(secret, **how) is True for secret in secrets)

    def exchange(self, shared):
        """One exchange with what all processes have counted together."""
        told = self.throttle.exchange_out()
        self.throttle.merge(shared.exchange(told), told)
