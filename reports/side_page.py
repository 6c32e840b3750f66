"""Pages beside the leaderboard, in its style: everything is in the HTML, and no script runs."""

from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from adbench.reports.templates import FOLDER, templates


def render_side_page(template: str, title: str, **values: Any) -> str:
    """The page as HTML text, from a template that extends side_page.html."""
    style = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "side_page.css"))
    page = templates().get_template(template)
    return page.render(title=title, style=Markup(style), created=datetime.now(UTC), **values)
