"""Dovecot: the addresses of its login services, and its cache of passwords, as `doveconf` tells of them."""

from __future__ import annotations

from typing import Any

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import USUAL_PORTS, Cache, Door, Host, is_loopback, output, program, reachable

LOGIN = {"imap": Service.IMAP, "pop3": Service.POP3, "submission": Service.SMTP}
Block = dict[str, Any]  # name -> a text, or the blocks of a name


def read(place: str) -> Host | None:
    """place: dovecot.conf. None: Dovecot is not installed. Raises CannotRead."""
    doveconf = program("doveconf")
    if doveconf is None:
        return None
    where = ["-c", place] if place else []
    told = parsed(output(doveconf, *where, "-a"))
    protocols = str(told.get("protocols", "")).split()
    blocks = {name.removeprefix("service ").strip('"'): block for name, block in told["blocks"]}
    doors = [
        door
        for protocol, service in LOGIN.items()
        if protocol in protocols
        for door in _doors(protocol, service, blocks.get(f"{protocol}-login", {"blocks": []}), told)
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


def _doors(protocol: str, service: Service, block: Block, told: Block) -> list[Door]:
    """block: of its login service. What is built in need not be told (2.4)."""
    plain, implicit = USUAL_PORTS[service]
    listeners: dict[str, Block] = {protocol: {"port": plain}, f"{protocol}s": {"port": implicit, "ssl": "yes"}}
    for words, listener in block["blocks"]:
        kind, _, name = words.partition(" ")
        if kind == "inet_listener":
            name = name.strip('"')
            listeners[name] = listeners.get(name, {}) | listener
    return [
        door
        for listener in listeners.values()
        if (door := _door(service, listener, str(told.get("listen") or "*"))) is not None
        and not (door.implicit and told.get("ssl") == "no")
    ]


def _door(service: Service, listener: Block, everywhere: str) -> Door | None:
    """None: it is switched off. everywhere: where it listens unless it says so, as address (2.3) or listen (2.4)."""
    port = str(listener.get("port") or "0")
    if not port.isdigit() or port == "0":
        return None
    address = str(listener.get("address") or listener.get("listen") or everywhere).replace(",", " ").split()[0]
    return Door(
        "Dovecot",
        service,
        reachable(address),
        int(port),
        implicit=listener.get("ssl") == "yes",
        proxied=listener.get("haproxy") == "yes",
        everywhere=not is_loopback(address),
    )


def _caches(told: Block) -> list[Cache]:
    size = str(told.get("auth_cache_size", "0"))
    if size.split(maxsplit=1)[0].rstrip("BkMGT") in {"", "0"}:
        return []
    ttl = told.get("auth_cache_ttl", "1 hours")
    return [
        Cache(f"remembers passwords for {ttl} (auth_cache_size = {size})", "auth_cache_size = 0, then `doveadm reload`")
    ]
