"""What a change did to open mail connections, said with the sentence that tells that it was made.

Rule: what a mail server that asks us has said of its own is told in plain words; its name and its errors are not.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.portal.visit import Visit
from mailauth.store.changes import Effect


def went(visit: Visit, path: str, effect: Effect, key: str, **values: object) -> Response:
    """There, with the sentence of this key; it may say `ended`, how many connections were. effect: of the change."""
    said = {"ended": effect.ended, **values}
    text = visit.text(key, **said)
    if effect.ended_elsewhere:
        text = visit.text("closing.elsewhere", done=text)
    if effect.open_elsewhere:
        text = visit.text("closing.open_elsewhere", done=text)
    if effect.without_answer:
        text = visit.text("closing.silent", done=text)
    if text == visit.text(key, **said):
        return visit.go(path, key, **said)
    return visit.go(path, "closing.said", text=text.unescape())
