"""The documents against the code: links, commands, settings, recipes, arrows between packages."""

import ast
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from histoweak import errors
from histoweak.methods import METHODS
from histoweak.recipes import list_recipes

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "histoweak"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda path: path.as_posix()
)
MADE = ("configuration", "recipes", "cli")
OTHER_PROGRAMS = {"--logdir"}
"""Options named in the documents that belong to other programs."""


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return _load(ROOT / "docs" / "make_reference.py")


@pytest.fixture(scope="module")
def options(reference: ModuleType) -> dict[str, set[str]]:
    """Options of every command, by its full name."""
    return {
        name: {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
        for name, command in reference.commands()
    }


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", _text(page))


def _inline(page: Path) -> list[str]:
    prose = re.sub(r"(?ms)^```.*?^```", "", _text(page))
    return re.findall(r"`([^`\n]+)`", prose)


def _rows(page: Path) -> Iterator[list[str]]:
    """Cells of every table row."""
    for line in _text(page).splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip()[1:-1].split(" |")]


@pytest.mark.parametrize("name", MADE)
def test_reference_pages_are_up_to_date(reference: ModuleType, name: str) -> None:
    path = ROOT / "docs" / "reference" / f"{name}.md"
    assert _text(path) == reference.pages()[path], "run `python docs/make_reference.py`"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.+)$", _text(page))
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _text(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def _commands(page: Path) -> Iterator[list[str]]:
    """Words of every histoweak command in shell blocks and in inline code."""
    lines = [line for block in _blocks(page, "bash") for line in block.splitlines()]
    for text in (*lines, *_inline(page)):
        if text.startswith("histoweak "):
            yield shlex.split(text, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path, options: dict[str, set[str]]) -> None:
    for words in _commands(page):
        name = words.pop(0)
        while words and f"{name} {words[0]}" in options:
            name = f"{name} {words.pop(0)}"
        is_group = any(other.startswith(f"{name} ") for other in options)
        is_place_holder = not words or words[0].isupper() or words[0].startswith("-")
        assert not is_group or is_place_holder, f"no command {name} {words[0]}"
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = set().union(*options.values()) if is_group else options[name]
        assert used <= known, f"{name}: {sorted(used - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_to_be_run_name_what_is_required(page: Path, reference: ModuleType) -> None:
    required = {
        name: [p.opts[-1] for p in command.params if p.required and p.param_type_name == "option"]
        for name, command in reference.commands()
    }
    for block in _blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            name = next((n for n in sorted(required, key=len)[::-1] if line.startswith(n)), None)
            missing = [option for option in required.get(name or "", []) if option not in line]
            assert not missing or "--help" in line, f"{line}: {missing}"


def _options_of_benchmarks() -> set[str]:
    scripts = (script.read_text() for script in (ROOT / "benchmarks").glob("*.py"))
    return {name for text in scripts for name in re.findall(r'"(--[a-z][\w-]*)"', text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_options_named_in_prose_exist(page: Path, options: dict[str, set[str]]) -> None:
    known = set().union(*options.values()) | OTHER_PROGRAMS | _options_of_benchmarks()
    for code in _inline(page):
        named = re.findall(r"(?<!\S)--[a-z][\w-]*", code)
        assert set(named) <= known, code


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_settings_and_recipes_in_commands_exist(page: Path, reference: ModuleType) -> None:
    for words in _commands(page):
        if words[1:2] != ["run"] or len(words) < 3 or words[2] not in METHODS:
            continue
        keys = {key for key, _, _ in reference.leaves(METHODS[words[2]].load().Config)}
        keys |= {key.rpartition(".")[0] for key in keys}
        for option, value in itertools.pairwise(words):
            assert option != "--set" or value.partition("=")[0] in keys, value
            assert option != "--recipe" or value in list_recipes(words[2]), value


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_compile(page: Path) -> None:
    for block in _blocks(page, "python"):
        compile(block, str(page), "exec")


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", _text(ROOT / "Makefile")))
    for page in PAGES:
        lines = [line for block in _blocks(page, "bash") for line in block.splitlines()]
        named = [
            t for line in (*lines, *_inline(page)) for t in re.findall(r"^make ([a-z]+)", line)
        ]
        assert set(named) <= targets, page


PUBLISHED = [method for method in METHODS if "published" in list_recipes(method)]


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_differs_from_default_as_the_page_says(
    reference: ModuleType, method: str
) -> None:
    rows = list(_rows(ROOT / "docs" / "methods" / f"{method}.md"))
    start = rows.index(["key", "`published`", "`default`", "why"])
    said = {row[0].strip("`"): (row[1], row[2]) for row in rows[start + 2 :] if len(row) == 4}
    text = reference.value_text
    found = reference.differences(method, "published")
    assert said == {key: (text(own), text(default)) for key, own, default in found}


def test_exit_codes_are_those_of_the_errors() -> None:
    kinds = [errors.HistoweakError, *errors.HistoweakError.__subclasses__()]
    rows = {row[1]: row[0] for row in _rows(ROOT / "docs" / "reference" / "exit-codes.md")}
    listed = {name.strip("`"): int(code) for name, code in rows.items() if name.startswith("`")}
    in_module = {k.__name__: k.exit_code for k in kinds if k.__module__ == errors.__name__}
    assert listed == in_module


def _imported(file: Path) -> Iterator[str]:
    """Packages of histoweak that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "histoweak":
            names = [f"histoweak.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            continue
        yield from (n.split(".")[1] for n in names if n.startswith("histoweak."))


def test_packages_import_only_what_architecture_allows() -> None:
    rows = [row for row in _rows(ROOT / "docs" / "architecture.md") if len(row) == 3]
    table = {row[0].strip("`"): row[2] for row in rows if row[0].startswith("`")}
    seen: list[str] = []
    for package, text in table.items():
        words = set(re.findall(r"`(\w+)`", text))
        if text.startswith("everything"):
            allowed = set(table) - words
        elif text.startswith("all of the above"):
            allowed = set(seen) - words
        else:
            allowed = words
        seen.append(package)
        files = (SOURCE / package).rglob("*.py")
        for file in [SOURCE / f"{package}.py"] if (SOURCE / f"{package}.py").exists() else files:
            own = set(_imported(file)) - {package, "__version__"}
            assert own <= allowed, f"{file.relative_to(SOURCE)} imports {sorted(own - allowed)}"
    packages = {p.name.removesuffix(".py") for p in SOURCE.iterdir() if not p.name.startswith("_")}
    assert {p for p in packages if p.isidentifier()} <= set(table)


def test_tests_that_pages_of_methods_name_exist() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    known = {n for f in files for n in re.findall(r"(?m)^ *(?:def|class) (\w+)", _text(f))}
    tester = _text(ROOT / "tests" / "method_tester.py")
    known |= set(re.findall(r"(?m)^    def (test_\w+)", tester))
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        named = {code for code in _inline(page) if re.fullmatch(r"test_\w+|Test\w+", code)}
        assert named <= known, f"{page.name}: {sorted(named - known)}"
