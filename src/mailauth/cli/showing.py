"""What commands print: aligned columns for people, JSON for programs.

Rule: times are ISO 8601 in UTC; whatever came from outside (labels, client names) is escaped, so that it cannot
steer a terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from mailauth.accounts.views import as_json as view_as_json


class Unprintable(Exception):
    """What must be printed could not be. The text says what was done about it."""


def printed(value: object) -> str:
    """One value for people: - for nothing, on and off, commas between several, control characters escaped."""
    if value is None or value in ("", (), []):
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(map(printed, value))
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)])


def plain(view: Any) -> dict[str, Any]:
    """One of the views of `accounts`, with its times in ISO 8601."""
    return view_as_json(view)


def print_json(data: object) -> None:
    """Plain data as JSON."""
    click.echo(json.dumps(data, indent=2))


def print_json_lines(views: Iterable[Any]) -> None:
    """Views of which there may be very many, as JSON, one on each line, each written as it comes."""
    for view in views:
        sys.stdout.write(json.dumps(plain(view)) + "\n")


def print_json_array(views: Iterable[Any]) -> None:
    """The same as one array, which too is written as it comes."""
    sys.stdout.write("[")
    for place, view in enumerate(views):
        sys.stdout.write(("," if place else "") + "\n  " + json.dumps(plain(view)))
    sys.stdout.write("\n]\n")


def print_view(view: Any, as_json: bool) -> None:
    """One view."""
    if as_json:
        print_json(plain(view))
    else:
        print_fields(plain(view))


def print_views(views: Iterable[Any], columns: Sequence[str], as_json: bool, nothing: str) -> None:
    """Many views: all of each as JSON, some columns of each for people. nothing: what to say if there are none."""
    rows = [plain(view) for view in views]
    if as_json:
        print_json(rows)
    else:
        print_table([{column: row[column] for column in columns} for row in rows], nothing)


def print_fields(fields: Mapping[str, object]) -> None:
    """One thing: a name and a value on each line."""
    longest = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name.replace('_', ' '):<{longest}}  {printed(value)}")


def print_table(rows: Sequence[Mapping[str, object]], nothing: str) -> None:
    """Many things of one kind: a line each, under a heading. nothing: what to say if there are none, on stderr."""
    if not rows:
        click.echo(nothing, err=True)
        return
    names = list(rows[0])
    lines = [
        [name.replace("_", " ").upper() for name in names],
        *[[printed(row[name]) for name in names] for row in rows],
    ]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _width(text: str) -> int:
    """Columns on a terminal (UAX 11)."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
