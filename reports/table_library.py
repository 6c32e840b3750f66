"""The library of the page's sortable tables, DataTables (https://datatables.net, MIT), from the package itables.

itables carries it in one file without a network, as a module with exports; a page opened from disk can only run
classic scripts. What the page needs of it is its default export, the class DataTable.
"""

import re
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from adbench.reports.errors import StoreError

GLOBAL_NAME = "DataTable"


@cache
def table_library() -> str:
    """A classic script that defines ``DataTable``, and nothing else, for all scripts of the page."""
    bundle = Path(str(distribution("itables").locate_file("itables/html/dt_bundle.js")))
    if not bundle.is_file():
        raise _changed("has no file html/dt_bundle.js")
    return as_classic_script(bundle.read_text(encoding="utf-8"))


def as_classic_script(module: str) -> str:
    """The module as a function that returns its default export instead of exporting it.

    Raises StoreError if it does not have the one list of exports that itables 2.9 has.
    """
    exports = list(re.finditer(r"\bexport\s*\{([^{}]*)\};", module))
    if len(exports) != 1 or re.search(r"(?:^|[;}\n])import\s*[\w{*\"']", module):
        raise _changed(f"has {len(exports)} lists of exports, or imports others: one list and no import is known")
    default = re.search(r"([\w$]+) as default\b", exports[0][1])
    if default is None:
        raise _changed(f"exports no default, but {exports[0][1]!r}")
    before, after = module[: exports[0].start()], module[exports[0].end() :]  # after it come the licences
    return f'globalThis.{GLOBAL_NAME} = (() => {{\n"use strict";\n{before}return {default[1]};{after}\n}})();\n'


def _changed(how: str) -> StoreError:
    return StoreError(
        f"The page's tables need DataTables as itables 2.9 carries it; the itables installed {how}.",
        "Install one that is known: pip install itables==2.9.1",
    )
