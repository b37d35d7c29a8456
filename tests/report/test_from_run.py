import json

import numpy as np
import pytest

from histoweak.errors import ManifestError, OutputError
from histoweak.metrics.intervals import bootstrap
from histoweak.metrics.scores import miou_present
from histoweak.report import from_run
from histoweak.report.scored import read_scored
from tests.report.fake_run import CLASSES, PATIENTS, masks, tally, total, write_log, write_run

QUALITY = {
    "threshold": 0.6,
    "reading": "posterior",
    "tta": "d4",
    "miou_present": 0.4,
    "coverage": 0.5,
    "accuracy": 0.8,
    "classes": {
        name: {"iou": 0.1 * k, "precision": 0.5, "recall": None}
        for k, name in enumerate(CLASSES.names)
    },
}
EVIDENCE = {
    "tta": "d4",
    "patches": 3,
    "rule": "the scores lie on the tissue",
    "cells": [
        {
            "class_right": right,
            "evidence_right": True,
            "patients": {"P0": 1, "P1": 1} if right else {"P1": 1},
            "statistics": {"eosin": {"median": 0.2, "low": 0.1, "high": 0.3}},
        }
        for right in (True, False)
    ],
}


def collect(folder, reference=None):
    other = None if reference is None else read_scored(reference)
    return from_run._collect(read_scored(folder), other)


def test_steps_carry_coverage_intervals_and_their_own_protocol(tmp_path):
    data = collect(write_run(tmp_path / "run", skill=0.7))
    assert [row.name for row in data.ladder] == ["CAM", "segmenter"]
    assert data.protocol.tta == "flips" and data.ladder[1].protocol is None
    assert data.ladder[0].protocol is not None and data.ladder[0].protocol.tta == "none"
    items = masks(0.7, 0)
    expected = bootstrap(tally(items).pixels.stacked(), miou_present)
    assert data.ladder[1].interval == (float(expected.low), float(expected.high))
    assert data.ladder[1].coverage == 1.0
    assert (data.confusion == total(items).tallies).all()
    assert [row.patient for row in data.patients] == list(PATIENTS)


def test_coverage_is_the_share_of_pixels_that_were_given_a_class(tmp_path):
    run = write_run(tmp_path / "run")
    path = run / "stages" / "evaluation-1" / "evaluation.json"
    figures = json.loads(path.read_text())
    for one in figures["ladder"][1]["patients"].values():
        one["matrix"] = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
        one["unpredicted"] = [2, 0, 0]
    path.write_text(json.dumps(figures))
    assert collect(run).ladder[1].coverage == 0.75


def test_pseudo_masks_and_evidence_come_from_the_evaluation(tmp_path):
    data = collect(write_run(tmp_path / "run", pseudo_masks=QUALITY, evidence=EVIDENCE))
    quality, table = data.pseudo_masks, data.evidence
    assert quality is not None and table is not None
    assert (quality.miou, quality.coverage, quality.accuracy) == (0.4, 0.5, 0.8)
    assert list(quality.iou) == [0.0, 0.1, 0.2] and list(quality.recall) == [None] * 3
    assert quality.protocol is not None and quality.protocol.tta == "d4"
    assert table.rule == EVIDENCE["rule"] and table.cell(True, True).patches == 2
    assert table.cell(False, False).patches == 0
    assert table.cell(False, True).statistics["eosin"].median == 0.2
    assert any("made from the scores alone" in note for note in data.notes)
    bare = collect(write_run(tmp_path / "bare"))
    assert not bare.notes
    assert bare.pseudo_masks is None and bare.evidence is None


def test_losses_and_scores_have_panels_of_their_own(tmp_path):
    run = write_run(tmp_path / "run")
    entries = [{"stage": "classifier", "step": s, "loss": 1 / (s + 1), "lr": 9} for s in range(4)]
    scores = {1: 0.5, 2: 0.7, 3: 0.7}
    entries += [{"stage": "classifier", "step": s, "validation": v} for s, v in scores.items()]
    entries += [{"stage": "segmenter", "step": s, "loss": None} for s in (0, 9)]
    entries += [{"stage": "segmenter", "key": "other", "step": 50, "loss": 1.0}]
    write_log(run, entries)
    curves = {(c.panel, c.name): c for c in collect(run).curves}
    assert set(curves) == {
        ("classifier: loss", "loss"),
        ("classifier: validation score", "validation"),
        ("segmenter: loss", "loss"),
    }
    chosen = curves["classifier: validation score", "validation"]
    assert list(chosen.steps) == [1, 2, 3] and chosen.chosen == 2  # the first of the best
    assert curves["classifier: loss", "loss"].chosen == 2
    last = curves["segmenter: loss", "loss"]
    assert list(last.steps) == [0, 9] and last.chosen == 9 and np.isnan(last.values).all()


def test_a_reference_is_the_last_row_and_no_step(tmp_path):
    run, other = write_run(tmp_path / "a", 0.6), write_run(tmp_path / "b", 0.9, seed=4)
    data = collect(run, other)
    row = data.ladder[-1]
    assert row.reference and row.name == "vgg-cam: segmenter"
    assert row.miou == pytest.approx(float(miou_present(total(masks(0.9, 4)))))
    assert row.protocol is not None and row.protocol.seeds == (4,)
    assert any("no step of this method" in note for note in data.notes)
    assert "reference" in data.provenance


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"split": "val"}, "split"),
        ({"patients": PATIENTS[:5]}, "images"),
        ({"truth_seed": 1}, "other masks"),
        ({"truth_seed": 1, "truth_digest": None}, "different true pixels"),
    ],
)
def test_a_reference_on_other_data_is_refused(tmp_path, other, said):
    run, reference = write_run(tmp_path / "a"), write_run(tmp_path / "b", **other)
    with pytest.raises(ManifestError, match=said):
        from_run.report_run(run, reference)
    assert not (run / "report.html").exists()


def test_the_page_shows_all_parts(tmp_path):
    run = write_run(tmp_path / "run", pseudo_masks=QUALITY, evidence=EVIDENCE, skipped=1)
    write_log(run, [{"stage": "segmenter", "step": s, "loss": 1.0} for s in range(3)])
    reference = write_run(tmp_path / "ref", 0.9)
    page = from_run.report_run(run, reference).read_text(encoding="utf-8")
    for said in (
        "vgg-cam on phantom", "Pseudo-masks before the segmenter", "Right answer, right reason?",
        "segmenter: loss", "1 images could not be used", "test-time augmentation: d4",
        "checkpoint selection: last",
    ):  # fmt: skip
        assert said in page


@pytest.mark.parametrize("content", ["", "[]", '{"stages": 3}', '{"stages": []}'])
def test_what_is_no_finished_run_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OutputError, match="no finished run"):
        from_run.report_run(tmp_path)


def test_a_ladder_without_what_the_report_needs_is_refused(tmp_path):
    run = write_run(tmp_path / "run", ladder=[{"name": "CAM"}])
    with pytest.raises(OutputError, match="patients"):
        from_run.report_run(run)
