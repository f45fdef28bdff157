"""The opponent: private Dovecot 2.3 instances on loopback, with the same accounts and the same hashes.

`front`   Lua passdb, one hash an account, auth cache on: after the first login a digest in memory is compared.
`hashing` SQL passdb, no cache: each login verifies one Argon2id hash in a worker process.

Both answer a right password with `nologin`, so that no mailbox process is started: front and password work only.
Source: doc.dovecot.org 2.3, "Lua authentication", "Authentication caching", "nologin".
Rule: the opponent is at its best. Login processes are kept ("high-performance mode"), failures are not delayed, no
penalty is kept, and there are as many workers as cores.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from processes import Server, free_ports
from testsite import Running, Site

VERDICT = "nologin"  # what a right password comes to

CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
instance_name = {folder.name}
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
login_trusted_networks =
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
auth_worker_max_count = {cores}
auth_cache_size = {cache}
auth_cache_ttl = 1 hour
auth_cache_negative_ttl = 1 hour
default_client_limit = 4096
first_valid_uid = 1
ssl = yes
ssl_cert = <{site.layout.certificate}
ssl_key = <{site.layout.certificate_key}
ssl_min_protocol = TLSv1.2
passdb {{
  driver = {driver}
  args = {arguments}
  override_fields = nologin=y
}}
userdb {{
  driver = static
  args = uid=dovecot gid=dovecot home={folder}
}}
service auth {{
  unix_listener bench-auth {{
    mode = 0600
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  service_count = 0
  process_min_avail = {cores}
  process_limit = {cores}
  client_limit = 4000
  inet_listener imap {{
    port = {ports[imap]}
  }}
  inet_listener imaps {{
    port = {ports[imaps]}
    ssl = yes
  }}
}}
"""

LUA = """\
function auth_password_verify(request, password)
  local record = records[request.user]
  if record == nil then return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, "no such user" end
  if request:password_verify(record, password) == 1 then return dovecot.auth.PASSDB_RESULT_OK, "" end
  return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "mismatch"
end
function auth_passdb_lookup(request) return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "not supported" end
function script_init() return 0 end
function script_deinit() end
"""


def why_not() -> str | None:
    """Why there can be no opponent on this machine; None: there can."""
    program = shutil.which("dovecot")
    if program is None:
        return "not installed"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split()
    if not version or not version[0].startswith("2.3."):
        return f"version {' '.join(version[:1]) or 'unknown'}, 2.3 is wanted"
    return None if os.geteuid() == 0 else "needs root"


@contextmanager
def front(site: Site, folder: Path) -> Iterator[Running]:
    """The instance with the cache. Raises DidNotStart."""
    script = _folder(folder) / "passdb.lua"
    rows = "".join(f'["{account.login}"]="{{ARGON2ID}}{account.records[0]}",\n' for account in site.accounts)
    script.write_text(f"records = {{\n{rows}}}\n{LUA}")
    with _running(site, folder, driver="lua", arguments=f"file={script} blocking=yes", cache="64M") as running:
        yield running


def hashing(site: Site, folder: Path) -> AbstractContextManager[Running]:
    """The instance without it. Raises DidNotStart."""
    return _sql(site, folder, "0")


def remembering(site: Site, folder: Path) -> AbstractContextManager[Running]:
    """The same with it: what is remembered of an SQL passdb is the hash. Raises DidNotStart."""
    return _sql(site, folder, "64M")


@contextmanager
def _sql(site: Site, folder: Path, cache: str) -> Iterator[Running]:
    database, query = _folder(folder) / "users.sqlite", folder / "sql.conf"
    rows = [(account.login, f"{{ARGON2ID}}{account.records[0]}") for account in site.accounts]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE users (login TEXT PRIMARY KEY, password TEXT)")
        connection.executemany("INSERT INTO users VALUES (?, ?)", rows)
    query.write_text(
        f"driver = sqlite\nconnect = {database}\n"
        "password_query = SELECT login AS user, password FROM users WHERE login = '%u'\n"
    )
    with _running(site, folder, driver="sql", arguments=str(query), cache=cache) as running:
        yield running


def _folder(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)  # Dovecot's own users read in it
    return folder


@contextmanager
def _running(site: Site, folder: Path, **passdb: str) -> Iterator[Running]:
    ports = dict(zip(("imap", "imaps"), free_ports(2), strict=True))
    configuration = folder / "dovecot.conf"
    cores = len(os.sched_getaffinity(0))
    configuration.write_text(CONFIGURATION.format(site=site, folder=folder, cores=cores, ports=ports, **passdb))
    command = ("dovecot", "-F", "-c", configuration)
    with Server(command, list(ports.values()), folder / "dovecot.log") as server:
        yield Running(server, ports, folder / "run" / "bench-auth")
