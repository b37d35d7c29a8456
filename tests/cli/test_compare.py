import itertools
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from histoweak.cli.compare import compare
from histoweak.errors import ManifestError, OutputError
from histoweak.metrics.scores import dice, iou, mean_dice, miou_present
from tests.report.fake_run import CLASSES, PATIENTS, masks, tally, total, write_run

app = typer.Typer()
app.command()(compare)


def call(*arguments):
    """Run the command; errors come out as they reach the program's main function."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    return write_run(tmp_path / "a", 0.8, seed=1), write_run(tmp_path / "b", 0.7, seed=2)


def figures_of(tmp_path, *arguments):
    call(*arguments, "--json", tmp_path / "f.json")
    return json.loads((tmp_path / "f.json").read_text())


def test_scores_and_differences_are_those_of_the_last_rungs(runs, tmp_path):
    found = figures_of(tmp_path, *runs)["scores"]
    left, right = total(masks(0.8, 1)), total(masks(0.7, 2))
    assert found["mean IoU"]["a"] == pytest.approx(float(miou_present(left)))
    assert found["mean Dice"]["b"] == pytest.approx(float(mean_dice(right)))
    for k, name in enumerate(CLASSES.names):
        for kind, score in (("IoU", iou), ("Dice", dice)):
            one = found[f"{kind} {name}"]
            assert one["difference"] == pytest.approx(float(score(left)[k] - score(right)[k]))
            assert one["low"] <= one["difference"] <= one["high"]


def test_p_is_that_of_all_swaps_of_patients(runs, tmp_path):
    found = figures_of(tmp_path, *runs)["scores"]["mean IoU"]
    a = tally(masks(0.8, 1)).pixels.stacked()
    b = tally(masks(0.7, 2)).pixels.stacked()
    observed = float(miou_present(a.sum(0)) - miou_present(b.sum(0)))
    extreme = 0
    for swapped in itertools.product((False, True), repeat=len(PATIENTS)):
        which = np.array(swapped)[:, None, None]
        one, two = np.where(which, b, a).sum(0), np.where(which, a, b).sum(0)
        difference = float(miou_present(one) - miou_present(two))
        extreme += abs(difference) >= abs(observed) - 1e-12
    assert found["p_value"] == pytest.approx(extreme / 2 ** len(PATIENTS))


def test_a_run_does_not_differ_from_itself(runs, tmp_path):
    for one in figures_of(tmp_path, runs[0], runs[0])["scores"].values():
        assert one["difference"] == one["low"] == one["high"] == 0 and one["p_value"] == 1


def test_the_table_says_how_both_sides_came_about(runs):
    said = " ".join(call(*runs).stdout.split())
    for words in (
        "gate none, test-time augmentation flips, checkpoint last, split test, seed 1",
        "seed 2", "7 patients", "IoU necrosis", "One training each",
    ):  # fmt: skip
        assert words in said


def test_different_protocols_and_few_patients_are_named(tmp_path):
    few = {"patients": PATIENTS[:4]}
    a = write_run(tmp_path / "a", selection="val-mask", **few)
    b = write_run(tmp_path / "b", seed=1, **few)
    notes = figures_of(tmp_path, a, b)["notes"]
    assert any("cannot fall below 0.125" in note for note in notes)
    assert any("selection is val-mask in A and last in B" in note for note in notes)


def test_runs_on_other_data_are_refused(runs, tmp_path):
    for number, other in enumerate(({"split": "val"}, {"truth_seed": 3})):
        with pytest.raises(ManifestError, match="not scored on the same data"):
            call(runs[0], write_run(tmp_path / f"other{number}", **other))
    with pytest.raises(OutputError, match="no finished run"):
        call(runs[0], tmp_path / "missing")
