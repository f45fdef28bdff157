"""Dovecot's own files, in the syntax of 2.3 and of 2.4.

Source: Dovecot's documentation, 2.3 and 2.4 (passdb lua, passdb oauth2 of 2.3, doveadm_api_key).
"""

from __future__ import annotations

from pathlib import Path

HEAD = """\
# Written by `mailauth setup dovecot`: who may come in is asked of mailauth, and of nothing else.

auth_mechanisms = plain login
# A password that is remembered here goes on opening after it was revoked.
auth_cache_size = 0
# Wrong passwords are counted by mailauth, which knows them from faults.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
"""


def passdb(kind: str, address: str, folder: Path, *, is_new: bool) -> str:
    """The passdb of this kind. folder: of Dovecot's configuration; is_new: for 2.4."""
    if kind == "dovecot-lua":
        return _new_lua(address, folder) if is_new else _block("passdb", _lua(folder))
    return _block("passdb", _grant(folder))


def lua_settings(address: str, folder: Path) -> str:
    """What 2.3 has no other way to tell the script."""
    return (
        f'mailauth = {{ url = "http://{address}/login", token_file = "{folder}/mailauth.token" }}\n'
        f'dofile("{folder}/mailauth.lua")\n'
    )


def grant(address: str, shown: str) -> str:
    """mailauth-grant.conf.ext of 2.3. shown: the secret."""
    return (
        f"grant_url = http://{address}/grant\nclient_id = dovecot\nclient_secret = " + shown + "\n"
        "use_grant_password = yes\nsend_auth_headers = yes\nusername_attribute = username\nactive_attribute = active\n"
        "active_value = true\ntimeout_msecs = 9000\nmax_parallel_connections = 100\n"
        "pass_attrs = user_app=%{oauth2:app}\n"
    )


def doveadm(address: str, folder: Path, *, is_new: bool) -> str:
    """The listener by which sessions are ended."""
    host, _, port = address.rpartition(":")
    listen = "listen" if is_new else "address"
    return (
        f"doveadm_api_key = <{folder}/mailauth-doveadm.key\n"
        f"service doveadm {{\n  inet_listener http {{\n    {listen} = {host}\n    port = {port}\n  }}\n}}\n"
    )


def _block(name: str, lines: list[str]) -> str:
    return "\n".join([f"{name} {{", *[f"  {line}" for line in lines], "}"]) + "\n"


def _lua(folder: Path) -> list[str]:
    return ["driver = lua", f"args = file={folder}/mailauth-settings.lua blocking=yes"]


def _grant(folder: Path) -> list[str]:
    return ["driver = oauth2", "mechanisms = plain login", f"args = {folder}/mailauth-grant.conf.ext"]


def _new_lua(address: str, folder: Path) -> str:
    return (
        f"passdb lua {{\n  lua_file = {folder}/mailauth.lua\n  lua_settings {{\n"
        f"    url = http://{address}/login\n    token_file = {folder}/mailauth.token\n  }}\n}}\n"
    )
