"""What tells an open page that `adbench report --watch` has rendered a newer one: a small script beside it."""

import json
from datetime import datetime

from adbench.reports.files import Folder

NEWEST = "report/newest.js"


def announce(folder: Folder, rendered: datetime | None) -> None:
    """Write when the newest page was rendered; None ends the watch, and with it the looking of open pages."""
    stamp = None if rendered is None else rendered.isoformat()
    with folder.explained("write to the results folder"):
        folder.write(NEWEST, f"adbenchNewest({json.dumps(stamp)});\n".encode())
