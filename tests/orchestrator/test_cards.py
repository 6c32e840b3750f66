"""Cards: what `adbench show` prints of methods and datasets reaches the page by way of the store."""

import base64
import gzip
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from adbench.methods.registry import method_class
from adbench.orchestrator.cards import dataset_card, method_card
from adbench.orchestrator.cli import main
from adbench.reports.store import ResultStore


def show(*arguments: str) -> str:
    found = CliRunner().invoke(main, ["show", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.parametrize("name", ["ckaad", "recon", "padim"])
def test_method_card_holds_what_show_prints(name: str) -> None:
    card, printed = method_card(name), show("method", name)
    for word in (*dict(card.facts).values(), card.text, *(cell for row in card.rows for cell in row)):
        assert all(line.strip() in printed for line in word.splitlines())
    assert [row[0] for row in card.rows] == list(method_class(name).config_class.model_fields)
    assert dict(card.facts)["version"] == method_class(name).version


def test_dataset_card_holds_what_show_prints() -> None:
    card, printed = dataset_card("mvtec_ad", "bottle (industrial)"), show("dataset", "mvtec_ad")
    facts = dict(card.facts)
    assert {"home page", "licence", "splits", "masks", "known problems"} <= set(facts)
    assert facts.pop("categories") == "bottle (industrial)"
    assert all(text in printed for text in facts.values())
    assert all(cell in printed for row in card.rows for cell in row)


@pytest.mark.slow
def test_a_run_keeps_the_cards_of_its_methods_and_datasets(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["run", "suite=smoke", "method=padim", "category=weave", "launcher=inprocess", f"out={out}"]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    (plan,) = ResultStore(out).plans().values()
    assert plan.cards == (method_card("padim"), dataset_card("phantom", "weave (industrial)"))
    packed = re.search(r'id="packed">([^<]*)<', (out / "report" / "index.html").read_text(encoding="utf-8"))
    assert packed is not None
    cards = json.loads(gzip.decompress(base64.b64decode(packed[1])))["cards"]
    assert set(cards) == {"method padim", "dataset phantom"}
    assert cards["method padim"]["text"] == method_card("padim").text
