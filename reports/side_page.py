"""Pages beside the leaderboard, in its style: everything is in the HTML, and no script runs."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_FOLDER = Path(__file__).parent


def render_side_page(template: str, title: str, **values: Any) -> str:
    """The page as HTML text, from a template that extends side_page.html."""
    style = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "side_page.css"))
    return (
        _environment()
        .get_template(template)
        .render(title=title, style=Markup(style), created=datetime.now(UTC), **values)
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _points(value: float | None) -> str:
    """A difference in percentage points, with its sign."""
    return "–" if value is None else f"{100 * value:+.2f}".replace("-", "−")


def _p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "points": _points, "p_value": _p_value}
    return environment
