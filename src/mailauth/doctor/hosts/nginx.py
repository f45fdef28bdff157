"""nginx's mail proxy: its servers, and the socket that its workers ask at, as `nginx -T` tells of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import Asking, CannotRead, Door, Host, is_loopback, output, program, reachable
from mailauth.doctor.rights import user_named

TOKEN = re.compile(r"""#[^\n]*|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([{};])|([^\s{};"'#][^\s{};]*)""")
COMPILED_USER = "nobody"  # unless the configuration, or whoever built it, names another
BY_PORT = {  # where a server names no protocol
    **dict.fromkeys(("143", "993"), "imap"),
    **dict.fromkeys(("110", "995"), "pop3"),
    **dict.fromkeys(("25", "587", "465"), "smtp"),
}


@dataclass(slots=True)
class Block:
    """directives: each a list of words; blocks: with the words before the brace."""

    directives: list[list[str]] = field(default_factory=list)
    blocks: list[tuple[list[str], Block]] = field(default_factory=list)

    def named(self, name: str) -> list[list[str]]:
        """The arguments of all directives of this name."""
        return [words[1:] for words in self.directives if words[0] == name]

    def value(self, name: str, default: str = "") -> str:
        """The first argument of the last one."""
        found = self.named(name)
        return found[-1][0] if found and found[-1] else default

    def inner(self, name: str) -> list[Block]:
        """The blocks of this name."""
        return [block for words, block in self.blocks if words[:1] == [name]]


def read(place: str) -> Host | None:
    """place: nginx.conf. None: nginx is not installed. Raises CannotRead."""
    nginx = program("nginx")
    if nginx is None:
        return None
    top = parsed(output(nginx, "-T", "-q", *(["-c", place] if place else [])))
    doors, asking = [], {}
    user = user_named(top.value("user", COMPILED_USER))
    if user is None:
        raise CannotRead(f"nginx's user {top.value('user', COMPILED_USER)!r} is no user of this machine; make it")
    for mail in top.inner("mail"):
        for server in mail.inner("server"):
            doors += _doors(server, mail.value("ssl"))
            url = server.value("auth_http") or mail.value("auth_http")
            path = _socket(url)
            if path:
                asking[path] = Asking("nginx worker", user, path, "auth_http")
    return Host("nginx", place or "nginx.conf", tuple(doors), tuple(asking.values()))


def parsed(text: str) -> Block:
    """The configuration, files and all, as `nginx -T` writes it one after the other."""
    top = Block()
    stack, words = [top], list[str]()
    for double, single, mark, word in TOKEN.findall(text):
        if mark == "{":
            inner = Block()
            stack[-1].blocks.append((words, inner))
            stack.append(inner)
            words = []
        elif mark:
            if words:
                stack[-1].directives.append(words)
            words = []
            if mark == "}" and len(stack) > 1:
                stack.pop()
        elif double or single or word:
            words.append(double or single or word)
    return top


def _doors(server: Block, ssl: str = "") -> list[Door]:
    """ssl: as the block around it says for all."""
    doors = []
    for words in server.named("listen"):
        host, _, port = words[0].rpartition(":")
        if not port.isdigit() or words[0].startswith("unix:"):
            continue
        protocol = server.value("protocol") or BY_PORT.get(port)
        if protocol not in set(Service):
            continue
        doors.append(
            Door(
                "nginx",
                Service(protocol),
                reachable(host),
                int(port),
                implicit="ssl" in words[1:] or server.value("ssl", ssl) == "on",
                proxied="proxy_protocol" in words[1:],
                everywhere=not is_loopback(host),
            )
        )
    return doors


def _socket(url: str) -> str:
    """The path of `unix:PATH:URI`, with http:// before it or not; "": it is another kind of address."""
    rest = url.removeprefix("http://")
    return rest.removeprefix("unix:").partition(":")[0] if rest.startswith("unix:") else ""
