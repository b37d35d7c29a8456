"""The best, median and worst held-out images, kept with every picture that the report shows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from histoweak.classes import ClassSet
from histoweak.data.manifest import Record
from histoweak.export.png import write_index_png
from histoweak.inference.evaluate import read_pair
from histoweak.metrics.choice import choose_samples
from histoweak.stages.pseudo_quality import PseudoMaskTally
from histoweak.stages.scores import write_scores
from histoweak.stages.view import Patch, Viewer


def write_samples(
    out: Path,
    n: int,
    records: Sequence[Record],
    per_image: Sequence[dict[str, Any]],
    classes: ClassSet,
    viewer: Viewer | None,
    pseudo: PseudoMaskTally | None,
) -> None:
    """Write `samples/<group>-<place>/` with image, scores, pseudo-mask, prediction and truth.

    Args:
        out: the artefact, which holds `predictions/`.
        n: images in all, a third of them for each group.
        records: all rows that were to be scored.
        per_image: `index` into `records`, and `miou`, of each image that was scored.
        classes: the K classes.
        viewer: the classifier, if there is one.
        pseudo: how its scores become pseudo-masks, if they do.
    """
    if n == 0:
        return
    chosen = choose_samples([item["miou"] for item in per_image], max(1, n // 3))
    for group, places in chosen.items():
        for place, position in enumerate(places):
            item = per_image[position]
            record = records[item["index"]]
            folder = out / "samples" / f"{group}-{place}"
            folder.mkdir(parents=True, exist_ok=True)
            source = out / "predictions" / f"{item['index']:06d}.png"
            (folder / "prediction.png").write_bytes(source.read_bytes())
            _write_pictures(folder, record, classes, viewer, pseudo)
            about = {"image": record.image.stem, "patient": record.patient, "miou": item["miou"]}
            (folder / "sample.json").write_text(json.dumps({**about, "group": group}))


def _write_pictures(
    folder: Path,
    record: Record,
    classes: ClassSet,
    viewer: Viewer | None,
    pseudo: PseudoMaskTally | None,
) -> None:
    image, truth = read_pair(len(classes), record)
    Image.fromarray(image).save(folder / "image.png")
    write_index_png(folder / "truth.png", truth, classes)
    if viewer is None:
        return
    view = viewer(image, record.mpp)
    write_scores(folder / "scores.tif", view.scores)
    if pseudo is not None:
        mask = pseudo.mask(Patch.of(record, image, truth, view))
        write_index_png(folder / "pseudo_mask.png", mask, classes)
