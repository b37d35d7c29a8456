"""`histoweak demo` in miniature: the whole way from no data to a report."""

from functools import partial
from pathlib import Path

from tests import program
from tests.conftest import TINY


def make_tiny() -> None:
    """Shrink data and training in the process of the program; the way stays the same."""
    import histoweak.api
    import histoweak.data.phantom as phantom
    import histoweak.demo

    def recipe(method: str, name: str) -> dict[str, object]:
        assert (method, name) == ("vgg-cam", "phantom-cpu")
        return {part: values for part, values in TINY[method].items() if part != "evaluation"}

    histoweak.api.read_recipe = recipe  # type: ignore[assignment]
    histoweak.demo.os.cpu_count = lambda: 1  # type: ignore[attr-defined]
    histoweak.demo.PATCHES, histoweak.demo.PATIENTS = 24, 6
    histoweak.demo.SPLITS = (0.6, 0.15, 0.25)
    smaller = partial(phantom.PhantomConfig, patch_size=64)
    phantom.PhantomConfig = smaller  # type: ignore[assignment, misc]


def test_demo_goes_from_nothing_to_a_report_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = program.run("demo", "--out", out, before=make_tiny)
    assert first.code == 0, first
    report = out / "run" / "report.html"
    assert f"report: {report}\n" in first.stdout
    assert 'src="http' not in report.read_text()
    again = program.run("demo", "--out", out, before=make_tiny)
    assert again.code == 0, again
    assert "begins" not in again.stderr


def test_demo_says_what_it_takes(tmp_path: Path) -> None:
    ended = program.run("demo", "--out", tmp_path / "demo", "--data", tmp_path)
    assert ended.code == 4
    assert ended.error == (
        f"error: {tmp_path}: is neither a manifest nor a GlaS folder (expected a .csv or .parquet "
        "file, or a folder with train/ and testA/). Make a manifest with `histoweak data tile`, or "
        "leave DATA out for synthetic tissue\n"
    )
