"""DataTables as the page carries it: a classic script made of the bundle in itables, or one clear error."""

import re

import pytest

from adbench.reports.errors import StoreError
from adbench.reports.table_library import as_classic_script, table_library

MODULE = "var fe=function(){},Tt=1;\nexport{Go as ITable,fe as default,Tt as jQuery};\n/*! licences\n*/\n"


def test_default_export_becomes_the_global_and_the_licences_stay() -> None:
    assert as_classic_script(MODULE) == (
        'globalThis.DataTable = (() => {\n"use strict";\nvar fe=function(){},Tt=1;\n'
        "return fe;\n/*! licences\n*/\n\n})();\n"
    )


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (MODULE.replace("fe as default,", ""), "exports no default, but 'Go as ITable,Tt as jQuery'"),
        (MODULE + "export{fe as DataTable};", "has 2 lists of exports"),
        ("export default function fe(){}", "has 0 lists of exports"),
        ('import{jQuery}from"./jquery.js";' + MODULE, "imports others"),
        ("var a=1;import './style.js';" + MODULE, "imports others"),
    ],
)
def test_bundle_of_another_shape_is_refused_with_the_remedy(module: str, told: str) -> None:
    with pytest.raises(StoreError, match="pip install itables==") as found:
        as_classic_script(module)
    assert told in str(found.value)


def test_bundle_installed_is_whole_and_names_its_licence() -> None:
    script = table_library()
    assert len(script) > 300_000
    assert "datatables.net/license" in script
    assert re.search(r"\bexport\s*\{", script) is None
