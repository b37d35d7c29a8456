import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from histoweak.errors import ManifestError, OutputError
from histoweak.metrics.boundary import BoundaryTally, boundary_f, boundary_iou
from histoweak.metrics.intervals import bootstrap
from histoweak.metrics.scores import (
    fwiou,
    mean_dice,
    mean_recall,
    miou_present,
    miou_zero,
    pixel_accuracy,
)
from histoweak.refine.white import WhiteConfig
from histoweak.report import from_run
from histoweak.report.scored import read_scored
from histoweak.stages.evidence import EvidenceSums
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
    (quality,), table = data.pseudo_masks, data.evidence
    assert table is not None
    shown = [one.value for one in (quality.miou, quality.coverage, quality.accuracy)]
    assert shown == [0.4, 0.5, 0.8] and "test" in quality.title and "without" in quality.title
    assert list(quality.iou) == [0.0, 0.1, 0.2] and list(quality.recall) == [None] * 3
    assert quality.protocol is not None and quality.protocol.tta == "d4"
    assert table.rule == EVIDENCE["rule"] and table.cell(True, True).patches == 2
    assert table.cell(False, False).patches == 0
    assert table.cell(False, True).statistics["eosin"].median == 0.2
    assert "not the masks that the segmenter learned from" in quality.reading
    bare = collect(write_run(tmp_path / "bare"))
    assert not bare.notes
    assert not bare.pseudo_masks and bare.evidence is None and not bare.looks
    assert bare.labels is None and bare.faithfulness is None


def test_further_scores_of_the_steps_with_their_intervals(tmp_path):
    first, last = collect(write_run(tmp_path / "run", skill=0.7)).ladder
    items = masks(0.7, 0)
    whole = total(items)
    for shown, score in (
        (last.fwiou, fwiou), (last.dice, mean_dice), (last.accuracy, pixel_accuracy),
        (last.recall, mean_recall), (last.miou_zero, miou_zero),
    ):  # fmt: skip
        found = bootstrap(tally(items).pixels.stacked(), score)
        assert shown.value == pytest.approx(float(score(whole)))
        assert shown.interval == pytest.approx((float(found.low), float(found.high)))
    # One image for each patient: the average over images is that over patients.
    singles = [float(miou_present(total([item]))) for item in items]
    assert last.image_miou.value == pytest.approx(np.mean(singles))
    low, high = last.image_miou.interval
    assert min(singles) < low < np.mean(singles) < high < max(singles)
    assert first.boundary_f.value is None and last.boundary_f.value is not None


def test_boundaries_are_those_of_the_masks(tmp_path):
    data = collect(write_run(tmp_path / "run", skill=0.7))
    (table,) = data.boundaries
    counted = BoundaryTally(len(CLASSES), 2.0)
    for _, pred, truth in masks(0.7, 0):
        counted.update(pred, truth, 1.0)
    f, overlap = table.measures
    assert [one.value for one in f.classes] == pytest.approx(boundary_f(counted).tolist())
    assert [one.value for one in overlap.classes] == pytest.approx(boundary_iou(counted).tolist())
    assert (
        f.mean.value == data.ladder[1].boundary_f.value == pytest.approx(boundary_f(counted).mean())
    )
    assert all(one.interval[0] <= one.value <= one.interval[1] for one in (*f.classes, f.mean))
    assert table.title == "segmenter, within 2 microns" and table.patches == len(PATIENTS)
    assert table.protocol is not None and table.protocol.tta == "flips"


def judged() -> EvidenceSums:
    """A classifier's word on twenty patches of seven patients."""
    sums = EvidenceSums(CLASSES.names, 0.5, 0.3, WhiteConfig())
    rng = np.random.default_rng(3)
    for i in range(20):
        (_, _, truth), *_ = masks(0.5, 0, [f"P{i % 7}"], truth_seed=i)
        present = tuple(int((truth == k).any() and (i + k) % 3 > 0) for k in range(3))
        truth = np.where(np.isin(truth, np.flatnonzero(present)), truth, 255).astype(np.uint8)
        probs = (0.4 * np.array(present) + rng.uniform(0, 0.6, 3)).astype(np.float32)
        view = SimpleNamespace(probs=probs, called=probs >= 0.5)
        image = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        scores = rng.uniform(0, 1, (3, 16, 16)).astype(np.float32)
        record = SimpleNamespace(labels=present, patient=f"P{i % 7}", image=f"{i}.png")
        sums.update(
            SimpleNamespace(record=record, view=view, truth=truth, image=image, scores=scores)
        )
    return sums


def test_scores_of_the_classifier_come_with_intervals_counts_and_means(tmp_path, monkeypatch):
    monkeypatch.setattr("histoweak.stages.evidence.DRAWS", 50)
    sums = judged()
    labels, evidence = sums.classification(), sums.figures()
    run = write_run(
        tmp_path / "run",
        classification={"tta": "d4", **labels},
        evidence={"tta": "d4", **evidence},
        faithfulness={
            "images": 2, "probability": 0.9, "deletion": 0.3, "insertion": 0.7, "drop": 0.1,
        },
    )  # fmt: skip
    data = collect(run)
    probs = np.array([p for _, p, _ in sums.labelled])
    truth = np.array([label for _, _, label in sums.labelled])
    expected = [roc_auc_score(truth[:, k], probs[:, k]) for k in range(3)]
    auroc = data.labels.measures[0]
    assert [one.value for one in auroc.classes] == pytest.approx(expected)
    assert auroc.mean.value == pytest.approx(np.mean(expected))
    assert list(data.labels.counts) == truth.sum(0).tolist() and data.labels.patches == 20
    assert [m.name for m in data.labels.measures] == [
        "AUROC", "Average precision", "F1", "Calibration error",
    ]  # fmt: skip
    patch, pixel = data.looks
    assert [m.name for m in patch.measures] == ["Pointing game", "Energy lift", "Leakage", "EvAcc"]
    assert [m.name for m in pixel.measures] == ["Pixel AP", "Pixel AUROC", "IoU at 0.5", "Best IoU"]
    assert patch.measures[1].mean.value == evidence["mean"]["energy_lift"]["estimate"]
    assert (
        pixel.measures[1].classes[2].value
        == evidence["pixels"]["classes"]["necrosis"]["auroc"]["estimate"]
    )
    for table in (data.labels, patch, pixel):
        assert table.protocol is not None and table.protocol.tta == "d4"
        for one in (one for m in table.measures for one in (*m.classes, m.mean)):
            assert one.interval is not None and one.interval[0] <= one.value <= one.interval[1]
    assert (data.faithfulness.insertion, data.faithfulness.drop) == (0.7, 0.1)
    page = from_run.report_run(run).read_text(encoding="utf-8")
    assert "Which classes a patch is said to hold" in page and "Area under insertion" in page


def test_single_instances_have_a_table_of_their_own(tmp_path):
    run = write_run(tmp_path / "run")
    plain = collect(run)
    assert plain.instances is None
    names = plain.classes.names
    record = json.loads((run / "run.json").read_text())
    record["stages"].append({"name": "instance-evaluation", "folder": "stages/ie", "key": "k"})
    (run / "run.json").write_text(json.dumps(record))
    (run / "stages" / "ie").mkdir(parents=True)
    rates = {name: {"sensitivity": 0.2 * k, "specificity": 0.9} for k, name in enumerate(names)}
    rates[names[0]]["sensitivity"] = None
    found = {"split": "test", "gate": "none", "tta": "none", "instances": 1234, "accuracy": 0.5}
    path = run / "stages" / "ie" / "instances.json"
    path.write_text(json.dumps({**found, "classes": rates}))
    table = collect(run).instances
    sensitivity, specificity = table.measures
    assert [one.value for one in sensitivity.classes] == [None, 0.2, 0.4]
    assert sensitivity.mean.value == pytest.approx(0.3) and specificity.mean.value == 0.9
    page = from_run.report_run(run).read_text(encoding="utf-8")
    assert "1,234 instances, 50.0% named rightly" in page and 'href="#instances"' in page
    path.write_text(json.dumps({**found, "instances": 0}))
    assert collect(run).instances is None


def test_training_masks_are_shown_beside_the_held_out_ones(tmp_path):
    run = write_run(tmp_path / "run", pseudo_masks=QUALITY)
    audit = {
        **QUALITY, "artefact": "classifier-1", "gate": "truth", "split": "train", "images": 16,
        "selection": "last", "seed": 0, "contested": {"coverage": 0.2, "accuracy": 0.6},
    }  # fmt: skip
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({"classifier": audit}))
    page = from_run.report_run(run, masks=path).read_text(encoding="utf-8")
    assert "On held-out images (test), made without their labels" in page
    assert "On the training images (classifier), patch labels used" in page
    assert "Gate: truth · test-time augmentation: d4" in page and "20 % of the pixels" in page
    for other in ({"classifier": {**audit, "artefact": "classifier-2"}}, {"classifier": 3}):
        path.write_text(json.dumps(other))
        with pytest.raises(OutputError, match="does not tell how good"):
            from_run.report_run(run, masks=path)


def test_few_patients_are_named_in_the_summary(tmp_path):
    data = collect(write_run(tmp_path / "run", patients=PATIENTS[:1]))
    assert "1 patient was scored: intervals over so few are too narrow, or missing." in data.notes
    assert data.ladder[1].interval is None


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
