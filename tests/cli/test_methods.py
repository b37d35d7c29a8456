"""The list of methods is for copying names from."""

import pytest

from histoweak.cli.methods import methods
from histoweak.methods import METHODS
from histoweak.recipes import list_recipes


def test_names_are_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    methods()
    words = capsys.readouterr().out.split()
    assert set(METHODS) <= set(words)
    assert {recipe for method in METHODS for recipe in list_recipes(method)} <= set(words)
