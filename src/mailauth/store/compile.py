"""Writes `sql_sqlite.py` and `sql_postgresql.py`: `python -m mailauth.store.compile`.

Rule: run by developers after a change of `schema` or of a file of statements; a test says when they are not current.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.dialects.sqlite import pysqlite

from mailauth.store import (
    change_statements,
    guess_statements,
    key_statements,
    login_statements,
    observation_statements,
    owner_statements,
    portal_statements,
    restore_statements,
    shown_statements,
    source_statements,
    statements,
)

SOURCES = (
    *(login_statements, statements, key_statements, change_statements, guess_statements, observation_statements),
    *(restore_statements, portal_statements, owner_statements, shown_statements, source_statements),
)

BY_PLACE = pysqlite.dialect(paramstyle="qmark")
AT_ONCE = ("AGAIN",)  # read without waiting, which is SQLite's alone: values are bound by place, as names take time
DIALECTS: dict[str, Dialect] = {
    "sqlite": pysqlite.dialect(paramstyle="named"),
    "postgresql": psycopg.dialect(),  # type: ignore[no-untyped-call]
}
PLACE = Path(__file__).parent
HEAD = '''"""Written by mailauth.store.compile from the *statements.py files: change those, not this."""

# ruff: noqa
'''


def module_text(dialect: Dialect) -> str:
    """The whole text of one of the two modules."""

    def text(statement: ClauseElement) -> str:
        return " ".join(str(statement.compile(dialect=dialect)).split())

    def by_place(statement: ClauseElement) -> tuple[str, tuple[str, ...]]:
        compiled: Any = statement.compile(dialect=BY_PLACE)
        return " ".join(str(compiled).split()), tuple(compiled.positiontup)

    lines = [HEAD]
    named = {name: value for source in SOURCES for name, value in vars(source).items()}
    for name, value in named.items():
        if name.startswith("_") or not name.isupper():
            continue
        if name in AT_ONCE:
            if dialect.name == "sqlite":
                lines.append(f"{name} = {by_place(value)!r}")
        elif isinstance(value, ClauseElement):
            lines.append(f"{name} = {text(value)!r}")
        elif isinstance(value, dict):
            entries: Any = {key: text(statement) for key, statement in value.items()}
            lines.append(f"{name} = {{")
            lines.extend(f"    {key!r}: {entry!r}," for key, entry in entries.items())
            lines.append("}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both modules beside this one."""
    for name, dialect in DIALECTS.items():
        PLACE.joinpath(f"sql_{name}.py").write_text(module_text(dialect), encoding="utf-8")


if __name__ == "__main__":
    main()
