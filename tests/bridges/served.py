"""A site that a process of its own serves, which tests stop, kill and start anew; and who has mail there."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field

from mailauth.accounts import apppasswords
from site_of_tests import ACTOR, Site

PATIENCE_S = 30.0
ALICE, CHINESE, LONG = "alice@example.test", "\u738b\u5c0f\u660e@example.test", "long@example.test"
WEB = "correct horse battery"


@dataclass
class Served:
    """process: None before it was started."""

    site: Site
    process: subprocess.Popen[bytes] | None = field(default=None, kw_only=True)

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """All that it has logged, from its first start on."""
        return self.site.log

    def start(self) -> None:
        """Until every bridge is there."""
        with (self.site.folder / "serve.log").open("a") as log:
            began = len(self.log)
            words = [sys.executable, "-m", "mailauth", "serve", "--config", self.site.config]
            self.process = subprocess.Popen(words, stderr=log)
        bridges = self.site.config.read_text().count("[[bridge]]")
        self.site.logged("listening bridge", count=bridges, since=began, process=self.process)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Its exit code; None: it does not run."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)  # if it was stopped; one that is killed never wakes
        return self.process.wait(PATIENCE_S)

    def restart(self) -> None:
        """A clean end, if it runs, and a new start."""
        self.end()
        self.start()


def secrets_of(site: Site, other_web: str, long_web: str) -> dict[str, str]:
    """Of three accounts: Alice has the mode on, and app passwords, one revoked; the others have web passwords."""
    site.add(ALICE, WEB, mode=True)
    revoked = site.mint(ALICE, label="revoked")
    apppasswords.revoke(site.store, ALICE, ids=[revoked.id], actor=ACTOR)
    site.add(CHINESE, other_web)
    site.add(LONG, long_web)
    return {"app": site.mint(ALICE).password, "revoked": revoked.password, "web": WEB, "other": other_web}


def nothing_to_catch_up_with(site: Site) -> None:
    """What was changed before it serves would have Dovecot end what is open, at some moment after both are there."""
    with contextlib.closing(sqlite3.connect(site.folder / "mailauth.db", isolation_level=None)) as connection:
        assert connection.execute("DELETE FROM changes").rowcount > 0
