"""`mailauth completion`: the script that teaches a shell our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", short_help="Print a script that completes commands with Tab.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes mailauth's commands and options with Tab.

    \b
    bash   eval "$(mailauth completion bash)"      in ~/.bashrc
    zsh    eval "$(mailauth completion zsh)"       in ~/.zshrc
    fish   mailauth completion fish | source       in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  click.Choice lets no other through
    click.echo(kind(ctx.find_root().command, {}, "mailauth", "_MAILAUTH_COMPLETE").source())
