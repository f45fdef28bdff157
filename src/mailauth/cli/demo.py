"""`mailauth demo`: everything on this machine, to be tried."""

from __future__ import annotations

from pathlib import Path

import click

from mailauth.founding.ports import MAX_PORT_OFFSET


@click.command("demo", short_help="Run everything here, with an account to try it with.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Its folder."
)
@click.option("--port-offset", type=click.IntRange(0, MAX_PORT_OFFSET), help="Added to every port; default: 0.")
def command(folder: Path, port_offset: int | None) -> None:
    """Run a whole mail server with its portal on this machine, and print an account and its passwords to try it with.

    The first start makes what `mailauth init` makes, the account alice@example.test with its mode on, and the
    administrator admin@example.test. Later starts go on with what is there and print the same; an app password that
    was revoked is replaced. It listens on loopback alone: the portal on port 8080, IMAP on 1143 (STARTTLS) and 1993
    (TLS), POP3 on 1110 and 1995, submission on 1587 and 1465. The portal's telephone, WeChat and DingTalk are
    simulated. Ctrl-C ends it; removing the folder removes all of it.

    \b
    Examples:
      mailauth demo
      mailauth demo --dir /tmp/try --port-offset 10000
    """
    from mailauth.cli.running import run  # noqa: PLC0415  the overview need not load the servers
    from mailauth.demo.screen import screen  # noqa: PLC0415
    from mailauth.demo.simulated import Simulated  # noqa: PLC0415
    from mailauth.demo.site import prepare  # noqa: PLC0415
    from mailauth.serving.listen import CannotListen  # noqa: PLC0415

    demo = prepare(folder, port_offset)
    simulated = Simulated(demo.memory.portal)
    shown = screen(demo.memory, folder, changed=demo.changed)
    try:
        run(simulated.settings(demo.settings), lambda _: click.echo(shown), simulated.around)
    except CannotListen as error:
        raise CannotListen(f"{error}; or move all of them: mailauth demo --dir {folder} --port-offset 1000") from None
