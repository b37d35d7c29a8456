import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from histoweak.cli.evaluate import evaluate
from histoweak.data.frames import build_frames
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.errors import ManifestError
from histoweak.export.png import write_index_png
from histoweak.progress import Progress
from histoweak.stages.audit import audit_masks
from histoweak.stages.frames import FramesConfig
from tests.inference.models import CLASSES, write_picture

LABELS = ((1, 0, 0), (1, 1, 0), (0, 1, 1))
QUIET = Progress(quiet=True)


def mask_of(index: int) -> np.ndarray:
    random = np.random.default_rng(index)
    allowed = [k for k in range(3) if LABELS[index][k]] + [255]
    return random.choice(allowed, (20, 20)).astype(np.uint8)


@pytest.fixture
def place(tmp_path):
    """Three patches; the first two lie side by side on one larger image."""
    records = []
    for i, label in enumerate(LABELS):
        image, mask = tmp_path / f"{i}.png", tmp_path / f"truth-{i}.png"
        write_picture(image, 20, 20, seed=i)
        write_index_png(mask, mask_of(i), CLASSES)
        source, x = ("big", 20 * i) if i < 2 else ("", 0)
        records.append(
            Record(image, label, mask, f"p{i // 2}", "s", "train", 0.5, source=source, x=x)
        )
    manifest = Manifest(CLASSES, tuple(records))
    frames, masks = tmp_path / "frames", tmp_path / "masks"
    frames.mkdir()
    masks.mkdir()
    rows = manifest.without_masks().records
    options = {"mpp": None, "assemble": True, "with_masks": False}
    build_frames(rows, 3, frames, **options, skips=Skips(3), progress=QUIET)
    return manifest, frames, masks


def write_masks(masks, of):
    first = np.concatenate([of(0), of(1)], axis=1)
    for i, mask in enumerate((first, of(2))):
        write_index_png(masks / f"{i:06d}.png", mask, CLASSES)


def audit(manifest, frames, masks, **config):
    return audit_masks(frames, masks, FramesConfig(**config), manifest, QUIET)


def test_true_masks_are_laid_where_the_images_lie(place):
    write_masks(place[2], mask_of)
    found = audit(*place)
    assert found["accuracy"] == found["coverage"] == 1
    assert found["frames"] == 2 and found["images"] == 3 and set(found["patients"]) == {"p0", "p1"}


def test_what_the_labels_decide_is_counted_apart(place):
    """Right where a label names one class, wrong or silent elsewhere."""

    def pseudo(index):
        if index == 0:
            return np.zeros((20, 20), np.uint8)
        wrong = np.where(mask_of(index) == 1, LABELS[index].index(1) if index == 1 else 2, 1)
        wrong = wrong.astype(np.uint8)
        wrong[:5] = 255
        return wrong

    write_masks(place[2], pseudo)
    found = audit(*place)
    scored = [(mask_of(i) != 255).sum() for i in range(3)]
    kept = [(mask_of(i)[5:] != 255).sum() for i in (1, 2)]
    assert found["accuracy"] == pytest.approx(scored[0] / (scored[0] + sum(kept)))
    assert found["coverage"] == pytest.approx((scored[0] + sum(kept)) / sum(scored))
    contested = found["contested"]
    assert contested["accuracy"] == 0 and contested["pixels"] == scored[1] + scored[2]
    assert contested["coverage"] == pytest.approx(sum(kept) / (scored[1] + scored[2]))


def test_a_moved_data_set_is_found_by_name(place, tmp_path):
    manifest, frames, masks = place
    write_masks(masks, mask_of)
    moved = tmp_path / "moved"
    moved.mkdir()
    records = []
    for record in manifest.records:
        (moved / record.image.name).write_bytes(record.image.read_bytes())
        records.append(replace(record, image=moved / record.image.name))
    assert audit(Manifest(CLASSES, tuple(records)), frames, masks)["accuracy"] == 1


def test_another_manifest_is_refused(place):
    manifest, frames, masks = place
    write_masks(masks, mask_of)
    with pytest.raises(ManifestError, match="no train row"):
        audit(Manifest(CLASSES, manifest.records[:2]), frames, masks)
    other = replace(manifest.records[2], labels=(1, 1, 1))
    with pytest.raises(ManifestError, match="other labels"):
        audit(Manifest(CLASSES, (*manifest.records[:2], other)), frames, masks)
    with pytest.raises(ManifestError, match="has no mask"):
        audit(manifest.without_masks(), frames, masks)


def test_the_command_scores_the_masks_of_a_run(whole_run, phantom, tmp_path, capsys):
    """Counted again from the PNGs alone: every patch of the phantom is a frame of its own."""
    out = tmp_path / "audit.json"
    evaluate(phantom, pseudo_masks=whole_run, json_=out)
    shown = " ".join(capsys.readouterr().out.split())
    assert "gate truth" in shown and "split train" in shown and "labels leave a choice" in shown
    with phantom.open(newline="") as file:
        truths = {row["image"]: phantom.parent / row["mask"] for row in csv.DictReader(file)}
    folders = {p.name.rsplit("-", 1)[0]: p for p in (whole_run / "stages").iterdir()}
    kept = right = scored = 0
    for i, frame in enumerate(json.loads((folders["frames"] / "frames.json").read_text())):
        name = next(n for n in truths if frame["windows"][0].endswith(n))
        truth = np.asarray(Image.open(truths[name]))
        mask = np.asarray(Image.open(folders["pseudo-masks"] / f"{i:06d}.png"))
        scored += (truth != 255).sum()
        kept += ((truth != 255) & (mask != 255)).sum()
        right += ((truth != 255) & (mask == truth)).sum()
    found = json.loads(out.read_text())["pseudo-masks"]
    assert found["coverage"] == pytest.approx(kept / scored)
    assert found["accuracy"] == (pytest.approx(right / kept) if kept else None)
