"""The bar of long readings: on a terminal alone."""

import pytest

from adbench.datasets.progress import progress


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar(terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1" if terminal else "")
    monkeypatch.setenv("COLUMNS", "200")
    with progress("unpacking [odd] name.zip", 2 * 2**20) as moved:
        moved(2**20)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("unpacking [odd] name.zip" in shown.err and "1.0/2.0 MiB" in shown.err) == terminal
    assert terminal or shown.err == ""
