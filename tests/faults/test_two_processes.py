"""Two processes serve one SQLite store while a third one writes to it all the time: no user notices."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faulty_site import ALICE, secrets_of

from mailauth.attempt import Service
from site_of_tests import ACCEPTED, Site, free_ports

WRITES, WRITES_PER_S = 400, 50
CLIENTS = 6
LOCKED = ("database is locked", "locked by another process", "verdict=defer", "kept in memory", "cannot be read")

WRITER = """
import sys, time
from mailauth.accounts import mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.store.engine import open_store

url, writes, per_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = open_store(url)
began = time.monotonic()
for number in range(writes):
    mailboxes.set_account(store, "busy@example.test", AccountChange(client_logon=bool(number % 2)), actor="test")
    time.sleep(max(0.0, began + number / per_s - time.monotonic()))
print(writes / (time.monotonic() - began))
"""


class Twin(Site):
    """Another process on the store of a site."""

    def __init__(self, site: Site) -> None:
        self.folder, self.sections, self.url, self.tls_off = site.folder, site.sections, site.url, False
        self.timeout_s, self.launcher = site.timeout_s, ()
        self.ports = dict(zip(site.ports, free_ports(len(site.ports)), strict=True))
        self.ring, self.store = site.ring, site.store
        self.config.write_text(self._toml())

    @property
    def config(self) -> Path:
        return self.folder / "twin.toml"

    @property
    def _log_file(self) -> Path:
        return self.folder / "twin.log"


def test_fifty_writes_a_second_hold_up_nobody(tmp_path):
    one = Site(tmp_path)
    password = secrets_of(one)["app"]
    one.add("busy@example.test")
    two = Twin(one)
    over = threading.Event()

    def log_in_again_and_again(number: int) -> int:
        site, service = (one, two)[number % 2], tuple(Service)[number % 3]
        logins = 0
        while not over.is_set():
            reply = site.ask(service, ALICE, password)
            assert reply.startswith(ACCEPTED[service]), reply
            logins += 1
        return logins

    with one.serving(), two.serving(), ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(log_in_again_and_again, number) for number in range(CLIENTS)]
        writer = subprocess.run(
            [sys.executable, "-c", WRITER, one.url, str(WRITES), str(WRITES_PER_S)],
            capture_output=True,
            text=True,
            check=False,
        )
        over.set()
        logins = sum(client.result() for client in clients)
    assert writer.returncode == 0, writer.stderr
    assert logins > WRITES / 10
    for words in LOCKED:
        assert words not in one.log + two.log
    with one.store.reading() as tx:
        row = tx.row(one.store.sql.CHANGE_NUMBER)
    assert row is not None and row["number"] >= WRITES
