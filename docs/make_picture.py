"""Draw the picture of the README with histoweak's own export functions.

python docs/make_picture.py            # phantom patches: images above, truth below
python docs/make_picture.py demo/run   # samples of a finished run, one per row:
                                       # image | CAM | pseudo-mask | prediction | truth
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.data.phantom import TISSUES, PhantomConfig, render_field
from histoweak.data.phantom.plan import arrange, patient_sequence, plan_patches
from histoweak.data.phantom.stain import PatientStyle
from histoweak.export.png import heatmap, overlay

Pixels = npt.NDArray[np.uint8]
PICTURE = Path(__file__).parent / "images" / "demo.png"
SAMPLES, GAP = 3, 8


def phantom_rows() -> list[list[Pixels]]:
    """Synthetic patches of several tissues, each of another patient, and their truth below."""
    config = PhantomConfig(patches=60, patients=12, seed=3)
    plans = [p for p in plan_patches(config) if len(p.tissues) >= 3]
    chosen = {p.patient: p for p in plans}.values()
    images, truths = [], []
    for plan in list(chosen)[:SAMPLES]:
        seed, layout = arrange(plan, config)
        style = PatientStyle.draw(patient_sequence(config, plan.patient))
        size = config.patch_size
        image, mask = render_field(size, size, config.mpp, seed, style, layout)
        images.append(image)
        truths.append(overlay(image, mask, ClassSet(TISSUES)))
    return [images, truths]


def run_rows(run: Path) -> list[list[Pixels]]:
    """Median samples of a run; scores of the class that the prediction holds most of."""
    stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    evaluation = run / {stage["name"]: stage["folder"] for stage in stages}["evaluation"]
    figures = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    classes = ClassSet.from_dict(figures["classes"])
    rows = []
    for folder in sorted((evaluation / "samples").glob("median-*"))[:SAMPLES]:
        image, prediction, truth, pseudo = (
            np.asarray(Image.open(folder / f"{name}.png"))
            for name in ("image", "prediction", "truth", "pseudo_mask")
        )
        shown = int(np.bincount(prediction.ravel(), minlength=256)[: len(classes)].argmax())
        scores = tifffile.imread(folder / "scores.tif")[shown] / 65535
        drawn = [overlay(image, mask, classes) for mask in (pseudo, prediction, truth)]
        rows.append([image, heatmap(image, scores), *drawn])
    return rows


def joined(rows: list[list[Pixels]]) -> Pixels:
    """Lay pictures of one size out in rows, on white."""
    height, width = rows[0][0].shape[:2]
    shape = len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3
    canvas = np.full(shape, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = i * (height + GAP), j * (width + GAP)
            canvas[y : y + height, x : x + width] = picture[:height, :width]
    return canvas


if __name__ == "__main__":
    found = run_rows(Path(sys.argv[1])) if len(sys.argv) > 1 else phantom_rows()
    PICTURE.parent.mkdir(exist_ok=True)
    Image.fromarray(joined(found)).save(PICTURE, optimize=True)
    print(f"wrote {PICTURE}")
