import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from histoweak.data.manifest import Manifest, Record
from histoweak.export.png import write_index_png
from histoweak.inference.model import TissueModel
from histoweak.metrics.classification import classification_scores
from histoweak.pipeline import StageContext
from histoweak.refine.chain import refine
from histoweak.refine.config import WhiteRefinerConfig
from histoweak.refine.crf_config import CrfConfig
from histoweak.refine.white import WhiteConfig
from histoweak.stages import view as views
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.evidence import (
    EOSIN,
    HAEMATOXYLIN,
    TISSUE,
    EvidenceSums,
    stain_statistics,
)
from histoweak.stages.faithfulness import Faithfulness
from histoweak.stages.pseudo_masks import PseudoMaskConfig, enlarge
from histoweak.stages.scores import ScoresConfig, read_scores
from histoweak.stages.view import Patch, Viewer
from histoweak.training.config import RuntimeConfig
from tests.inference.models import CLASSES, classifier, picture, segmenter, write_picture

CAM = ScoresConfig(tta="flips")
PSEUDO = PseudoMaskConfig(threshold=0.6, white=None, min_area=0.0)
SIZE = (44, 50)


def decisive() -> TissueModel:
    """A random classifier whose scores spread over the whole range."""
    model = classifier(gain=1500.0)
    with torch.no_grad():
        means = model.maps(picture(*SIZE)).mean((1, 2))
        model.network.head.bias -= torch.from_numpy(means)
    return model


def truth_of(index: int) -> np.ndarray:
    """Patches of patient p0 hold classes 0 and 1 and white, those of p1 all three classes."""
    random = np.random.default_rng(index)
    coarse = random.choice([0, 1, 255] if index % 2 == 0 else [0, 1, 2], (6, 7))
    return np.kron(coarse, np.ones((8, 8)))[: SIZE[0], : SIZE[1]].astype(np.uint8)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("held-out")
    records = []
    for index in range(4):
        image, mask = folder / f"{index}.png", folder / f"truth-{index}.png"
        write_picture(image, *SIZE, seed=index)
        write_index_png(mask, truth_of(index), CLASSES)
        label = ((1, 1, 0), (1, 1, 1), (1, 0, 0), ())[index]
        own = {"patient": f"p{index % 2}", "split": "test", "mpp": 0.5 if index < 3 else None}
        records.append(Record(image, label, mask, **own))
    return Manifest(CLASSES, tuple(records))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    known = {"classifier": decisive(), "segmenter": segmenter()}
    for name, model in known.items():
        model.save(folder / name / "model")
    return {name: folder / name for name in known}


def evaluate(manifest, models, out, *, cam=CAM, pseudo=PSEUDO, **settings):
    config = EvaluationConfig(samples=3, tile=64, faithfulness=2, boundary="all", **settings)
    stage = evaluation_stage(
        config,
        RuntimeConfig(accelerator="cpu"),
        segmenters=["segmenter"],
        cam=cam,
        selection="last",
        pseudo=pseudo,
    )
    out.mkdir(exist_ok=True)
    stage.run(StageContext(out, models, seed=3, manifest=manifest))
    return json.loads((out / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def done(manifest, models, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluation") / "out"
    evaluate(manifest, models, out)
    return out


@pytest.fixture(scope="module")
def figures(done) -> dict:
    return json.loads((done / "evaluation.json").read_text())


def scores_of(index: int) -> np.ndarray:
    """(K, H, W) by the functions that training uses."""
    image = picture(*SIZE, seed=index)
    model = decisive()
    maps = model.maps(image, tta="flips", tile=64)
    shifted = np.exp(maps - maps.max(0))
    return enlarge(shifted / shifted.sum(0), model.stride, SIZE)


def iou_of(pred, truth, k):
    both = (pred == k) & (truth == k)
    either = ((pred == k) | (truth == k)) & (truth != 255)
    return both.sum() / either.sum() if either.any() else np.nan


def test_every_rung_equals_what_its_model_predicts_alone(figures, done):
    by_name = {rung["name"]: rung for rung in figures["ladder"]}
    assert list(by_name) == ["CAM", "pseudo-mask", "segmenter"]
    known = {
        "CAM": (decisive(), "none"),
        "pseudo-mask": (decisive(), "flips"),
        "segmenter": (segmenter(), "none"),
    }
    for name, (model, tta) in known.items():
        assert by_name[name]["tta"] == tta
        masks = [model.predict(picture(*SIZE, seed=i), tta=tta, tile=64).array for i in range(4)]
        joined, truth = np.stack(masks), np.stack([truth_of(i) for i in range(4)])
        for k, label in enumerate(CLASSES.names):
            assert by_name[name]["classes"][label]["iou"] == pytest.approx(iou_of(joined, truth, k))
        averages = [
            np.nanmean([iou_of(m, t, k) for k in range(3)])
            for m, t in zip(masks, truth, strict=True)
        ]
        assert by_name[name]["image_averaged_miou"] == pytest.approx(np.mean(averages))
        own = by_name[name]["by_patient"]["p1"]
        assert own["image_averaged_miou"] == pytest.approx(np.mean(averages[1::2]))
    for i, mask in enumerate(masks):
        assert (np.asarray(Image.open(done / "predictions" / f"{i:06d}.png")) == mask).all()


def test_boundaries_are_compared_only_where_the_scale_is_known(figures):
    boundary = figures["ladder"][-1]["boundary"]
    assert boundary["images"] == 3 and boundary["tolerance_um"] == 5.0
    assert 0 <= boundary["mean_f"] <= 1 and set(boundary["classes"]) == set(CLASSES.names)
    assert np.shape(figures["ladder"][0]["by_patient"]["p0"]["boundary"]) == (3, 6)


def test_pixels_larger_than_the_tolerance_make_no_boundary(manifest, models, tmp_path):
    settings = {"tolerance_um": 0.4, "evidence": False}
    figures = evaluate(manifest, models, tmp_path / "out", pseudo=None, **settings)
    assert [rung["boundary"] for rung in figures["ladder"]] == [None] * 2
    assert figures["evidence"] is figures["classification"] is figures["pseudo_masks"] is None
    assert not (tmp_path / "out" / "patches.csv").exists()


def test_pixel_measures_equal_those_of_scikit_learn(figures):
    truth = np.concatenate([truth_of(i).ravel() for i in range(4)])
    scores = np.concatenate([scores_of(i).reshape(3, -1) for i in range(4)], 1)
    valid = truth != 255
    for k, name in enumerate(CLASSES.names):
        found = figures["evidence"]["pixels"]["classes"][name]
        # Scores are counted in 4096 bins; within one they are ties.
        true, score = truth[valid] == k, np.floor(scores[k][valid] * 4096) / 4096
        area, precision = roc_auc_score(true, score), average_precision_score(true, score)
        assert found["auroc"]["estimate"] == pytest.approx(area, abs=2e-3)
        assert found["average_precision"]["estimate"] == pytest.approx(precision, abs=2e-3)
        overlap = (true & (score >= 0.5)).sum() / max(1, (true | (score >= 0.5)).sum())
        assert found["iou_at_half"]["estimate"] == pytest.approx(overlap, abs=2e-3)
        assert found["auroc"]["low"] <= found["auroc"]["high"]


def test_pseudo_masks_are_made_at_the_threshold_of_the_method(figures):
    kept = right = scored = 0
    for i in range(4):
        scores, truth = scores_of(i), truth_of(i)
        sure = (scores.max(0) >= PSEUDO.threshold) & (truth != 255)
        scored += (truth != 255).sum()
        kept += sure.sum()
        right += (sure & (scores.argmax(0) == truth)).sum()
    quality = figures["pseudo_masks"]
    assert 0 < kept < scored
    assert quality["threshold"] == 0.6 and quality["tta"] == "flips"
    assert quality["coverage"] == pytest.approx(kept / scored, abs=2e-3)
    assert quality["accuracy"] == pytest.approx(right / kept, abs=2e-3)


def test_refiners_act_on_what_becomes_pseudo_masks_and_on_nothing_else(
    manifest, models, figures, tmp_path
):
    chain = (CrfConfig(), WhiteRefinerConfig(gray=150, min_pixels=0))
    pseudo = PSEUDO.model_copy(update={"refine": chain, "threshold": 0.8})
    found = evaluate(manifest, models, tmp_path / "out", pseudo=pseudo)
    refined = [refine(picture(*SIZE, seed=i), scores_of(i), chain) for i in range(4)]
    masks = np.stack([np.where(r.max(0) > 0, r.argmax(0), 255) for r in refined])
    truth = np.stack([truth_of(i) for i in range(4)])
    assert (masks == 255).any() and found["ladder"][1]["name"] == "pseudo-mask"
    for k, label in enumerate(CLASSES.names):
        iou = found["ladder"][1]["classes"][label]["iou"]
        assert iou == pytest.approx(iou_of(masks, truth, k), abs=2e-3)
    sure = (np.stack(refined).max(1) >= 0.8) & (truth != 255)
    quality = found["pseudo_masks"]
    assert quality["coverage"] == pytest.approx(sure.sum() / (truth != 255).sum(), abs=2e-3)
    for part in ("evidence", "classification"):
        assert found[part] == figures[part]
    assert found["ladder"][0] == figures["ladder"][0]
    assert found["ladder"][2] == figures["ladder"][2]


def test_white_is_no_part_of_a_pseudo_mask(manifest, models, tmp_path):
    white = WhiteConfig(gray=0, min_pixels=0)  # every pixel is white
    pseudo = PSEUDO.model_copy(update={"white": white})
    quality = evaluate(manifest, models, tmp_path / "out", pseudo=pseudo)["pseudo_masks"]
    assert quality["coverage"] == 0 and quality["accuracy"] is None


def test_classification_counts_labelled_patches_only(figures, manifest):
    labels = np.array([r.labels for r in manifest.records if r.labels])
    model = decisive()
    probs = np.array(
        [model.patch_probs(picture(*SIZE, seed=i), tta="flips", tile=64) for i in range(3)]
    )
    expected = classification_scores(probs, labels).to_dict(CLASSES.names)
    found = figures["classification"]
    assert found["patches"] == 3
    for name in CLASSES.names:
        assert found["classes"][name] == pytest.approx(expected["classes"][name], nan_ok=True)
        assert len(found["intervals"][name]["f1"]) == 2


def test_the_four_cells_hold_every_patch_once(figures, done):
    counts: dict[str, int] = {}
    for cell in figures["evidence"]["cells"]:
        for patient, patches in cell["patients"].items():
            counts[patient] = counts.get(patient, 0) + patches
    assert counts == {"p0": 2, "p1": 2}
    with (done / "patches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for index, row in enumerate(rows):
        truth, scores = truth_of(index), scores_of(index)
        valid, right = truth != 255, True
        for k in np.unique(truth[valid]):
            mass = scores[k][(truth == k)].sum() / scores[k][valid].sum()
            called = (scores[k] >= 0.5) & valid
            overlap = (called & (truth == k)).sum() / (called | (truth == k)).sum()
            right &= bool(mass >= 0.5 and overlap >= 0.3)
        assert row["evidence_right"].lower() in (str(right).lower(), str(int(right)))
        share = (truth == 0).sum() / valid.sum()
        assert float(row[f"area of {CLASSES.names[0]}"]) == pytest.approx(share, abs=1e-5)


def test_evidence_is_right_where_the_map_is_the_truth(manifest):
    config = EvaluationConfig()
    record, truth = manifest.records[1], truth_of(1)
    labels = np.isin(np.arange(3), truth)
    perfect = (truth == np.arange(3)[:, None, None]).astype(np.float32)
    for scores, called, cell in (
        (perfect, labels, (True, True)),
        (perfect, ~labels, (False, True)),
        (np.roll(perfect, 1, 0), labels, (True, False)),
        (np.roll(perfect, 1, 0), ~labels, (False, False)),
    ):
        view = views.View(SIZE, SIZE, 1, scores, scores, scores, np.full(3, 0.5), called)
        patch = Patch(record, view, 1, picture(*SIZE), truth, scores, scores)
        sums = EvidenceSums(
            CLASSES.names, config.evidence_energy, config.evidence_iou, WhiteConfig()
        )
        sums.update(patch)
        judged = sums.judged[0]
        assert (judged.class_right, judged.evidence_right) == cell


def test_stains_are_measured_on_tissue():
    image = np.full((20, 30, 3), 255, np.uint8)
    image[:, :15] = np.round(255 * np.exp(-0.5 * np.array([0.65, 0.70, 0.29])))
    found = stain_statistics(image, WhiteConfig(min_pixels=0))
    assert found[HAEMATOXYLIN] == pytest.approx(0.5, abs=0.02)
    assert found[EOSIN] == pytest.approx(0, abs=0.02)
    assert found[TISSUE] == 0.5
    assert stain_statistics(image[:, 15:], WhiteConfig(min_pixels=0))[HAEMATOXYLIN] == 0


def test_the_same_run_writes_the_same_files(manifest, models, done, tmp_path):
    evaluate(manifest, models, tmp_path / "again")
    files = sorted(p.relative_to(done) for p in done.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    for name in files:
        assert (done / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_faithfulness_follows_the_answer(figures):
    found = figures["faithfulness"]
    assert found["images"] == 2 and len(found["per_image"]) == 2
    for one in found["per_image"]:
        assert 0 <= one["deletion"] <= 1 and 0 <= one["insertion"] <= 1
    model = decisive()
    viewer = Viewer(model, CAM, 64)
    chosen = {Faithfulness(viewer, 2, 50, seed).chosen for seed in (3, 3, 4)}
    assert len(chosen) == 2 and all(len(c) == 2 for c in chosen)
    image = picture(*SIZE)
    one = Faithfulness(viewer, 1, 1, 0)
    one.update(0, "x", image, None, viewer(image, None))
    first = model.patch_probs(image, tile=64)
    k = CLASSES.names.index(one.found[0]["class"])
    assert one.found[0]["probability"] == pytest.approx(float(first[k]), abs=1e-5)


def test_large_images_are_thinned(monkeypatch, manifest):
    monkeypatch.setattr(views, "MOST_PIXELS", 1000)
    image, truth = picture(*SIZE, seed=1), truth_of(1)
    patch = Patch.of(manifest.records[1], image, truth, Viewer(decisive(), CAM, 64)(image, None))
    assert patch.step == 2 and patch.truth.size <= 1000
    assert np.allclose(patch.scores, scores_of(1)[:, ::2, ::2], atol=1e-5)
    assert patch.zoom == 0.5


def test_scores_of_a_model_at_another_scale_lie_where_the_tissue_is(monkeypatch):
    model = classifier(mpp=1.0, gain=8.0)
    image = picture(*SIZE, seed=2)
    view = Viewer(model, CAM, 64)(image, 0.5)
    assert view.working == (22, 25)
    assert (view.cam() == model.predict(image, 0.5, tile=64).array).all()
    strongest = view.scores_at(np.arange(SIZE[0]), np.arange(SIZE[1])).argmax(0)
    assert (strongest == view.refined()).mean() > 0.9


def test_an_exclusive_classifier_names_one_class():
    model = classifier(exclusive=True)
    view = Viewer(model, ScoresConfig(tta="none"), 64)(picture(*SIZE), None)
    assert view.called.sum() == 1 and view.plain is view.maps


def test_samples_hold_what_the_report_shows(done, figures):
    groups = sorted(p.name for p in (done / "samples").iterdir())
    assert groups == ["best-0", "median-0", "worst-0"]
    best = json.loads((done / "samples" / "best-0" / "sample.json").read_text())
    assert best["miou"] == max(p["miou"] for p in figures["per_image"])
    assert read_scores(done / "samples" / "best-0" / "scores.tif").shape[0] == 3
    assert (done / "samples" / "best-0" / "pseudo_mask.png").exists()


def test_without_a_classifier_only_the_segmenter_is_scored(manifest, models, tmp_path):
    figures = evaluate(manifest, models, tmp_path / "out", cam=None, pseudo=None)
    assert [rung["name"] for rung in figures["ladder"]] == ["segmenter"]
    assert "evidence" not in figures


@pytest.mark.parametrize("form", ["exclude", "multiply"])
def test_a_gate_keeps_segmenters_to_what_the_classifier_finds(manifest, models, tmp_path, form):
    viewer = Viewer(decisive(), CAM, 64)
    images = [picture(*SIZE, seed=i) for i in range(4)]
    probs = np.stack([viewer(image, None).probs for image in images])
    threshold = float(np.sort(probs.ravel())[6])  # one class is just not found
    present = probs > threshold
    assert len({tuple(row) for row in present}) > 1
    settings = {"gate": "predicted", "gate_threshold": threshold, "gate_form": form}
    model, out = segmenter(), tmp_path / "out"
    with torch.no_grad():
        model.network.network.segmentation_head[0].bias -= 5.0  # all logits are negative
    model.save(tmp_path / "segmenter" / "model")
    folders = {**models, "segmenter": tmp_path / "segmenter"}
    figures = evaluate(manifest, folders, out, pseudo=None, evidence=False, **settings)
    network, changed = model.network.eval(), 0
    for i, image in enumerate(images):
        with torch.no_grad():
            pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
            logits = network(pixels)[0].numpy()
        found = present[i][:, None, None]
        cut = np.where(found, logits, -np.inf) if found.any() else logits
        expected = (logits * found if form == "multiply" else cut).argmax(0)
        assert (np.asarray(Image.open(out / "predictions" / f"{i:06d}.png")) == expected).all()
        changed += int((expected != logits.argmax(0)).sum())
    assert changed > 0
    assert [rung["gate"] == "none" for rung in figures["ladder"]] == [True, False]


def test_what_decides_the_figures_decides_the_key():
    def config(**parts):
        usual = {"segmenters": [], "cam": CAM, "selection": "last", "pseudo": PSEUDO}
        runtime = RuntimeConfig()
        return evaluation_stage(EvaluationConfig(), runtime, **(usual | parts)).config

    assert config() == config()
    assert config() != config(pseudo=PseudoMaskConfig(threshold=0.9))
    assert config() != config(cam=ScoresConfig(reading="min-max"))
