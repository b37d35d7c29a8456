import doctest
import importlib
import pkgutil

import pytest

from histoweak import metrics

MODULES = sorted(m.name for m in pkgutil.iter_modules(metrics.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"histoweak.metrics.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    modules = [importlib.import_module(f"histoweak.metrics.{n}") for n in MODULES]
    found = [t for m in modules for t in doctest.DocTestFinder().find(m) if t.examples]
    assert len(found) >= 8
