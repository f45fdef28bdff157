"""Makes and revokes app passwords of one account and tells what was done, until it is killed: `told.py CONFIG`.

Each line `LOGIN` on standard input begins another process that does so. They write lines `LOGIN WORD ...`: what is
about to be done, and, once the function has returned, what a user would be told.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from mailauth import config
from mailauth.accounts import apppasswords
from mailauth.cli.opening import store_of
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import KeyRing

QUICK = Argon2id(1, 8, 1)
FEW, MANY = 2, 8


def work(settings: config.Settings, ring: KeyRing, login: str) -> None:
    """Never returns."""
    store = store_of(settings)

    def tell(*words: object) -> None:
        os.write(1, f"{' '.join(map(str, [login, *words]))}\n".encode())  # in one piece: short lines into a pipe

    tell("pid", os.getpid())
    live = [view.id for view in apppasswords.listed(store, login)]
    while True:
        if len(live) < FEW or (len(live) < MANY and random.random() < 0.5):
            minted = apppasswords.mint(store, ring, QUICK, login, label="x", actor="test")
            tell("minted", minted.id, minted.password)
            live.append(minted.id)
        else:
            doomed = live.pop(random.randrange(len(live)))
            tell("revoking", doomed)
            apppasswords.revoke(store, login, ids=[doomed], actor="test")
            tell("revoked", doomed)


def main() -> None:
    """Fork a worker for each line, and say when one has ended."""
    settings = config.load(Path(sys.argv[1]))
    ring = KeyRing.load(settings.key.file)
    for line in sys.stdin:
        logins = line.split()
        workers = {}
        for login in logins:
            pid = os.fork()
            if not pid:
                random.seed()
                work(settings, ring, login)
            workers[pid] = login
        for _ in logins:
            pid, status = os.wait()
            os.write(1, f"{workers[pid]} ended {status}\n".encode())


if __name__ == "__main__":
    main()
