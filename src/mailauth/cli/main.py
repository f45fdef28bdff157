"""`mailauth`: finds the command that was asked for, and turns whatever goes wrong into one line and an exit code.

Rule: nothing of the product is imported here; a command pays for what it uses and for nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from mailauth.cli import exits

PURPOSES = {
    "Try it on this machine": ("demo",),
    "Set up a server": ("init", "serve", "keeper", "setup", "config", "db", "key"),
    "Say who has mail here": ("account", "domain", "site", "import"),
    "Let mail programs in": ("app-password",),
    "Let people in at the web portal": ("factor", "api-token"),
    "Find out why": ("doctor", "verify", "audit", "sessions", "throttle"),
    "For mail servers that start a program for each login": ("checkpassword", "helper"),
    "In your shell": ("completion",),
}
MODULES = {"import": "importing", "helper": "exitcode"}  # words that no module can be named
EPILOG = """\b
New here?       mailauth demo
One command:    mailauth account add --help
Exit codes:     0 done, 64 usage, 65 refused by the data, 66 no such domain,
                account or app password, 69 store unavailable, 75 deferred,
                77 password refused, 78 configuration
"""


class Commands(click.Group):
    """The commands by purpose, each in `mailauth.cli.<name>` (or MODULES) as `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, in the order of the overview."""
        return [name for names in PURPOSES.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = importlib.import_module(f"mailauth.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, in one column over all purposes."""
        longest = max(map(len, self.list_commands(ctx)))
        for purpose, names in PURPOSES.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name.ljust(longest), command.get_short_help_str(90)) for name, command in commands if command]
            with formatter.section(purpose):
                formatter.write_dl(rows, col_max=20)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line and exit. Whatever goes wrong is one line on standard error."""
        extra |= {"standalone_mode": False, "prog_name": "mailauth"}
        with _told():
            if sys.stdout is None:  # closed by whoever started us: what is printed once would be lost
                raise click.UsageError("standard output is closed; give it a file or a terminal")
            outcome = super().main(*args, **extra)
            sys.stdout.flush()
            sys.exit(outcome if type(outcome) is int else exits.DONE)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Names only: a shell that completes need not wait for the help texts."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError as error:  # a group of commands alone
        click.echo(error.ctx.get_help())
        sys.exit(exits.DONE)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "mailauth"
        _fail(exits.USAGE, f"{path}: {_sentence(error.format_message())} (`{path} --help` shows how)")
    except (click.Abort, KeyboardInterrupt):
        _fail(exits.INTERRUPTED, "mailauth: interrupted")
    except OSError as error:  # files and sockets have errors of their own kinds: this is the output
        _fail(exits.UNAVAILABLE, f"mailauth: the output cannot be written: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001  the one place where a bug may end
        _explain(error)


def _explain(error: Exception) -> NoReturn:
    if os.environ.get("MAILAUTH_DEBUG") == "1":
        traceback.print_exception(error)  # Python's own exit code is 1, which `helper` says of a wrong password alone
    _fail(*exits.explained(error))


def _fail(code: int, line: str) -> NoReturn:
    click.echo(" ".join(line.splitlines()), err=True)
    sys.exit(code)


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mailauth", message="mailauth %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """App passwords for your own mail: IMAP, POP3 and SMTP clients get passwords of their own.

    A password for each device, shown once, revoked alone; the account's web password stays out of mail programs.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run() -> NoReturn:
    """The entry point of a process of our own."""
    from mailauth.serving.hardening import keep_memory_private  # noqa: PLC0415  not where the commands are only tried

    keep_memory_private()
    cli.main()
    raise AssertionError("main exits")
