"""The statements of what sources and accounts have spent of their guesses; see `statements` for the rule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, bindparam, delete, func, literal_column, select, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mailauth.store.schema import accounts, guesses

_ZERO: Any = literal_column("0")  # in the text itself, where SQLAlchemy would otherwise make a parameter
_ONE: Any = literal_column("1")
_KNOWN: Any = literal_column("'known'")
_row = guesses.c
_key = (_row.kind, _row.subject)


class _Larger(FunctionElement[float]):
    """The larger of two values, neither of them NULL."""

    type = Double()
    inherit_cache = True


class _Smaller(FunctionElement[float]):
    """The smaller of two values, neither of them NULL."""

    type = Double()
    inherit_cache = True


@compiles(_Larger, "sqlite")
def _larger_sqlite(element: _Larger, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


@compiles(_Larger, "postgresql")
def _larger_postgresql(element: _Larger, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(_Smaller, "sqlite")
def _smaller_sqlite(element: _Smaller, compiler: SQLCompiler, **kw: Any) -> str:
    return f"min({compiler.process(element.clauses, **kw)})"


@compiles(_Smaller, "postgresql")
def _smaller_postgresql(element: _Smaller, compiler: SQLCompiler, **kw: Any) -> str:
    return f"least({compiler.process(element.clauses, **kw)})"


def _real(name: str) -> Any:
    return bindparam(name, type_=Double())


def _left() -> Any:
    """What is left of a count now. A clock that was set back takes nothing away."""
    return _Larger(_ZERO, _row.spent - _Larger(_ZERO, _real("now") - _row.at) / _real("refill_s"))


def _add() -> Any:
    """Add to a count what is left of it now; `at` is now, whatever was there, so that no clock freezes it.

    Both databases spell ON CONFLICT alike, so PostgreSQL's construct serves SQLite too.
    """
    new = (
        postgresql.insert(guesses)
        .inline()
        .values(kind=bindparam("kind"), subject=bindparam("subject"), spent=_real("added"), at=_real("now"))
    )
    spent = _Smaller(_real("most"), _left() + new.excluded.spent)
    return new.on_conflict_do_update(index_elements=_key, set_={"spent": spent, "at": new.excluded.at})


def _delete(which: Any) -> Any:
    """Delete these, in the order in which they are added to, so that nobody waits for another in a circle."""
    return delete(guesses).where(tuple_(*_key).in_(which.order_by(*_key).with_for_update()))


ADD_GUESSES = _add()
GUESSES_SINCE = (
    select(guesses)
    .where(_row.at >= _real("since"), _row.at <= _real("until"))
    .order_by(_row.at.desc())
    .limit(bindparam("page"))
    .offset(_ZERO)
)
GUESSES_ABOVE = (
    select(guesses).where(_row.kind == bindparam("kind"), _row.spent > _real("spent")).order_by(_row.subject)
)
GUESS_KEYS = select(*_key).where(_row.kind != _KNOWN)
ACCOUNT_LOGIN = select(accounts.c.login).where(accounts.c.id == bindparam("account_id"))

# A clock that was set back: what is of the future would not fall until it has come.
_of_the_future = select(*_key).where(_row.at > _real("horizon")).order_by(*_key).with_for_update()
THAW_GUESSES = update(guesses).where(tuple_(*_key).in_(_of_the_future)).values(at=_real("past"))
PRUNE_GUESSES = _delete(select(*_key).where(_row.kind == bindparam("kind"), _left() <= _ZERO))
PRUNE_KNOWN = _delete(select(*_key).where(_row.kind == _KNOWN, _row.at < _real("before")))
COUNT_GUESSES = select(
    func.count().filter(_row.kind == _KNOWN).label("known"), func.count().filter(_row.kind != _KNOWN).label("counted")
)


def _keep_newest(which: Any) -> Any:
    oldest_kept = select(_row.at).where(which).order_by(_row.at.desc()).limit(_ONE).offset(bindparam("keep"))
    return _delete(select(*_key).where(which, _row.at <= oldest_kept.scalar_subquery()))


BOUND_GUESSES = {"known": _keep_newest(_row.kind == _KNOWN), "counted": _keep_newest(_row.kind != _KNOWN)}

CLEAR_GUESS = delete(guesses).where(_row.kind == bindparam("kind"), _row.subject == bindparam("subject"))
CLEAR_GUESSES = _delete(select(*_key).where(_row.kind != _KNOWN))
