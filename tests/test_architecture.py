"""Data flows one way: which parts may import which, read from the sources themselves."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import histoweak

SOURCE = Path(histoweak.__file__).parent
LOW = ("cams", "refine", "objectives", "metrics", "nets", "synthesis")
HIGH = ("training", "methods", "stages", "pipeline", "inference", "api", "cli", "report", "viewer")


def imports(path: Path) -> set[str]:
    """Parts of histoweak that a file imports, also within functions: `data`, `classes`, ..."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "histoweak" and len(part) > 1}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


GRAPH = {
    str(path.relative_to(SOURCE)): (part_of(path), imports(path)) for path in SOURCE.rglob("*.py")
}


def offenders(parts: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{name} imports {sorted(found & set(forbidden))}"
        for name, (part, found) in sorted(GRAPH.items())
        if part in parts and found & set(forbidden)
    ]


def test_the_sources_are_read() -> None:
    assert {"data", "cams", "nets", "cli", "methods"} <= {part for part, _ in GRAPH.values()}
    assert "cams" in GRAPH["stages/scores.py"][1] and "errors" in GRAPH["classes.py"][1]


@pytest.mark.parametrize("part", LOW)
def test_formulas_and_networks_know_nothing_of_runs(part) -> None:
    assert offenders((part,), HIGH) == []


def test_data_knows_nothing_of_networks_and_runs() -> None:
    assert offenders(("data",), ("cams", "objectives", "nets", *HIGH)) == []


def test_only_the_command_line_makes_reports_and_viewers() -> None:
    everyone = {part for part, _ in GRAPH.values()} - {"cli", "report", "viewer"}
    assert offenders(tuple(everyone), ("report", "viewer")) == []


def test_nothing_but_its_entry_imports_the_command_line() -> None:
    everyone = {part for part, _ in GRAPH.values()} - {"cli", "__main__"}
    assert offenders(tuple(everyone), ("cli",)) == []


def test_the_ground_floor_stands_alone() -> None:
    for name in ("errors.py", "classes.py", "labelmap.py", "config.py"):
        assert GRAPH[name][1] <= {"errors", "classes"}, name


HEAVY = "('torch', 'torchvision', 'timm', 'lightning', 'scipy', 'skimage')"


@pytest.mark.parametrize(
    "code",
    [
        "import histoweak; dir(histoweak); histoweak.ClassSet; histoweak.HistoweakError",
        "from histoweak.cli import main; sys.argv[:] = ['histoweak', '--help']; main()",
        "from histoweak.cli import main; sys.argv[:] = ['histoweak', '--version']; main()",
        "from histoweak.cli import main; sys.argv[:] = ['histoweak', 'run', '--help']; main()",
    ],
)
def test_importing_and_help_load_no_torch(code) -> None:
    leave = f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    program = f"import atexit, sys; atexit.register(lambda: {leave}); {code}"
    begun = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    print(f"{time.perf_counter() - begun:.2f} s: {code}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in histoweak.__all__:
        assert getattr(histoweak, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        histoweak.no_such_name  # noqa: B018
