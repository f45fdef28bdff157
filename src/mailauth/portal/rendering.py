"""Templates become pages: one environment, everything escaped, nothing undefined.

Rule: a template decides how something looks, never whether somebody may see it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, tzinfo
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from mailauth.apppassword import grouped
from mailauth.portal.language import NAMES, Language

STATIC = ("portal.css", "portal.js", "icon.svg")
KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
DIGITS_OF_DIGEST = 16


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file that pages name. path: holds a digest of the content, so it may be kept for ever."""

    path: str
    content: bytes
    kind: str


class Rendering:
    """Makes pages. zone: an IANA name, in which times are shown. site_name: in the title and beside the mark."""

    def __init__(self, zone: str, site_name: str) -> None:
        self.zone: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)  # UTC needs no database
        self.static = {name: _static(name) for name in STATIC}
        self._environment = Environment(
            loader=PackageLoader("mailauth.portal"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters["grouped"] = grouped
        paths = {name.replace(".", "_"): file.path for name, file in self.static.items()}
        self._environment.globals.update(static=paths, site_name=site_name, language_names=NAMES, zone=_zone(zone))

    def page(self, template: str, language: Language, status: int = 200, **values: Any) -> HTMLResponse:
        """One page. template: its file name without `.html`."""
        text = self._environment.get_template(f"{template}.html").render(
            t=language.text,
            has_text=language.has,
            when=lambda at: language.moment(at, self.zone),
            wait=language.wait,
            language=language,
            **values,
        )
        return HTMLResponse(text, status_code=status)


def _zone(name: str) -> Markup:
    """The name of the zone, in an element that a script may put the browser's own into, with the times."""
    return Markup("<span data-zone>{}</span>").format(name)


def _static(name: str) -> StaticFile:
    content = resources.files("mailauth.portal").joinpath("static", name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:DIGITS_OF_DIGEST]
    return StaticFile(f"/static/{digest}/{name}", content, f"{KINDS[name.rpartition('.')[2]]}; charset=utf-8")
