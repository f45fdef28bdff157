"""Dovecot: the addresses of its login services, and its cache of passwords, as `doveconf` tells of them."""

from __future__ import annotations

from typing import Any

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import USUAL_PORTS, Cache, Door, Host, is_loopback, output, program, reachable

LOGIN = {f"{service}-login": service for service in (Service.IMAP, Service.POP3)} | {"submission-login": Service.SMTP}
Block = dict[str, Any]  # name -> a text, or the blocks of a name


def read(place: str) -> Host | None:
    """place: dovecot.conf. None: Dovecot is not installed. Raises CannotRead."""
    doveconf = program("doveconf")
    if doveconf is None:
        return None
    where = ["-c", place] if place else []
    told = parsed(output(doveconf, *where, "-a"))
    protocols = str(told.get("protocols", "")).split()
    doors = [
        door
        for name, block in told["blocks"]
        if (service := LOGIN.get(name.removeprefix("service ").strip('"'))) is not None
        and (str(service) in protocols or (name.endswith("submission-login") and "submission" in protocols))
        for door in _doors(service, block, str(told.get("listen", "*")), str(told.get("ssl", "yes")))
    ]
    return Host("Dovecot", place or "/etc/dovecot/dovecot.conf", tuple(doors), caches=tuple(_caches(told)))


def parsed(text: str) -> Block:
    """The settings of one level, and under "blocks" the named blocks of it, in their order."""
    top: Block = {"blocks": []}
    stack = [top]
    for line in text.splitlines():
        words = line.strip()
        if words.endswith("{"):
            inner: Block = {"blocks": []}
            stack[-1]["blocks"].append((words[:-1].strip(), inner))
            stack.append(inner)
        elif words == "}" and len(stack) > 1:
            stack.pop()
        elif "=" in words and not words.startswith("#"):
            name, _, value = words.partition("=")
            stack[-1][name.strip()] = value.strip().strip('"').strip()
    return top


def _doors(service: Service, block: Block, listen: str, ssl: str) -> list[Door]:
    doors = []
    for name, listener in block["blocks"]:
        kind, _, called = name.partition(" ")
        port = int(listener.get("port") or 0)
        implicit = listener.get("ssl") == "yes"
        if kind != "inet_listener" or port == 0 or (implicit and ssl == "no"):
            continue
        address = (listener.get("address") or listen or "*").replace(",", " ").split()[0]
        doors.append(
            Door(
                "Dovecot",
                service,
                reachable(address),
                port,
                implicit=implicit or (called.strip('"').endswith("s") and port == USUAL_PORTS[service][1]),
                proxied=listener.get("haproxy") == "yes",
                everywhere=not is_loopback(address),
            )
        )
    return doors


def _caches(told: Block) -> list[Cache]:
    size = str(told.get("auth_cache_size", "0"))
    if size.split(maxsplit=1)[0].rstrip("BkMGT") in {"", "0"}:
        return []
    ttl = told.get("auth_cache_ttl", "1 hours")
    return [
        Cache(f"remembers passwords for {ttl} (auth_cache_size = {size})", "auth_cache_size = 0, then `doveadm reload`")
    ]
