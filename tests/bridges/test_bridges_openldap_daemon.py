"""OpenLDAP's slapd that hands simple binds on to us, by saslauthd's protocol: a private instance in a root of its own.

In a root of its own since slapd looks for libsasl's configuration below /etc, whatever it is told. What it makes of a
fault is written down here as it was found: it has one word for everything that is not accepted.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from mail_daemons import documented, missing, public_folder, wait_for_port
from served import ALICE, CHINESE, LONG, WEB, Served, secrets_of

from site_of_tests import Site, free_ports
from stores_in_trouble import store_away, store_locked

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

IN, WRONG = 0, 49  # RFC 4511 appendix A: success, invalidCredentials
PEOPLE = {"alice": ALICE, "chinese": CHINESE, "long": LONG, "nobody": "nobody@example.test", "star": "*@example.test"}
OTHER_WEB = "\u6b63\u786e\u7684\u5bc6\u7801 p\u00e4ss"
LONG_WEB = "x" * 1000
CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=test"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""


@dataclass
class World(Served):
    folder: Path
    port: int
    app: str
    revoked: str

    def bind(self, uid: str, password: str, number: int = 0) -> int:
        """One simple bind; the LDAP result code. number: of a file that nobody else uses meanwhile."""
        file = self.folder / f"password-{number}"
        file.touch(0o600)
        file.write_text(password)
        words = ["ldapwhoami", "-x", "-H", f"ldap://127.0.0.1:{self.port}", "-D", f"uid={uid},dc=example,dc=test"]
        done = subprocess.run([*words, "-y", file], capture_output=True, check=False, timeout=60)
        assert done.returncode != IN or f"dn:uid={uid}," in done.stdout.decode()
        return done.returncode


def root_of_its_own(folder: Path, mux: Path) -> None:
    """What slapd needs where it takes `folder` for the root."""
    for name in ("etc/ldap/sasl2", "usr/lib/ldap", "data", "run"):
        (folder / name).mkdir(parents=True)
    shutil.copytree("/etc/ldap/schema", folder / "etc/ldap/schema")
    for file in Path("/usr/lib/ldap").glob("back_mdb*"):
        shutil.copy(file, folder / "usr/lib/ldap")
    sasl = documented("pwcheck_method: saslauthd\nsaslauthd_path").replace("/run/mailauth/ldap", str(mux))
    (folder / "etc/ldap/sasl2/slapd.conf").write_text(sasl)
    (folder / "slapd.conf").write_text(CONFIG.format(folder=""))
    (folder / "slapadd.conf").write_text(CONFIG.format(folder=folder))
    (prefix,) = re.findall("^userPassword: (.*)" + re.escape(ALICE), documented("userPassword: "))
    entries = ["dn: dc=example,dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n"]
    for uid, login in PEOPLE.items():
        handed_on = base64.b64encode(f"{prefix}{login}".encode()).decode()
        entries.append(
            f"dn: uid={uid},dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n"
            f"userPassword:: {handed_on}\n"
        )
    words = ["slapadd", "-f", folder / "slapadd.conf"]
    subprocess.run(words, input="\n".join(entries).encode(), check=True, capture_output=True)


@contextlib.contextmanager
def slapd(folder: Path) -> Iterator[int]:
    """One instance; its port."""
    (port,) = free_ports(1)
    words = ["slapd", "-d", "0", "-r", folder, "-f", "/slapd.conf", "-h", f"ldap://127.0.0.1:{port}/"]
    with (folder / "slapd.log").open("w") as out:  # libgcc is looked for at the end, when there is none any more
        process = subprocess.Popen(words, stdout=out, stderr=out, env=os.environ | {"LD_PRELOAD": "libgcc_s.so.1"})
    try:
        wait_for_port(port, folder / "slapd.log")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if os.geteuid() != 0:
        missing("slapd gets a root of its own from root alone")
    for program in ("slapd", "slapadd", "ldapwhoami"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            missing(f"{program} is not installed")
    with public_folder() as folder, contextlib.ExitStack() as stack:
        root_of_its_own(folder / "root", Path("/run/ldap"))
        (folder / "site").mkdir()
        table = f'[[bridge]]\nkind = "saslauthd"\naddress = "unix:{folder}/root/run/ldap"\nother_service = "imap"\n'
        site = Site(folder / "site", sections=f"[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n{table}")
        secrets = secrets_of(site, OTHER_WEB, LONG_WEB)
        port = stack.enter_context(slapd(folder / "root"))
        world = World(site, folder, port, secrets["app"], secrets["revoked"])
        world.start()
        stack.callback(world.end)
        yield world
        for secret in (world.app, world.revoked, WEB, OTHER_WEB):
            assert secret not in site.log


def test_right_wrong_revoked_and_the_web_password_while_the_mode_is_on(world: World) -> None:
    assert world.bind("alice", world.app) == IN
    for password in ("wrong", world.revoked, WEB):
        assert world.bind("alice", password) == WRONG
    for uid in ("nobody", "star", "not there"):
        assert world.bind(uid, world.app) == WRONG
    world.site.logged(f"login service=imap login={ALICE} peer=bridge:saslauthd tls=no verdict=accept")


def test_what_is_not_ascii_and_what_is_long(world: World) -> None:
    for uid, password in (("chinese", OTHER_WEB), ("long", LONG_WEB)):
        assert world.bind(uid, password) == IN
        assert world.bind(uid, password[:-1] + "y") == WRONG


def test_forty_at_once_half_of_them_wrong(world: World) -> None:
    def one(number: int) -> int:
        return world.bind("alice", world.app if number % 2 else f"wrong {number}", number)

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(one, range(40))) == [WRONG, IN] * 20


def test_slapd_has_one_word_for_a_fault_and_a_wrong_password(world: World) -> None:
    """It gets no answer from us, which libsasl does tell apart, and slapd does not; the documentation says so."""
    assert "`49 Invalid credentials`" in (Path(__file__).parents[2] / "docs" / "bridges.md").read_text()
    for trouble in (store_away, store_locked):
        with trouble(world.site):
            assert world.bind("alice", world.app) == WRONG
    give_up_at = time.monotonic() + 30
    while world.bind("alice", world.app) != IN:
        assert time.monotonic() < give_up_at
    assert world.process is not None
    world.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(world.bind, "alice", world.app)
        time.sleep(0.5)  # so that it has asked; were it later, it would meet the second case
        assert not answer.done()
        world.end(signal.SIGKILL)
        assert answer.result(60) == WRONG
    assert world.bind("alice", world.app) == WRONG
    world.start()
    assert world.bind("alice", world.app) == IN
