from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from histoweak.classes import IGNORE_INDEX
from histoweak.synthesis.both import synthesise
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.labels import classes_in, near_single
from tests.data.test_crops import frame, write_store
from tests.synthesis.fake import plain_cache, seeded


def test_labels_are_the_classes_of_the_mask() -> None:
    masks = torch.randint(0, 3, (20, 2, 2), generator=seeded()).to(torch.uint8)
    masks[0] = IGNORE_INDEX
    expected = [[float(k in np.unique(mask)) for k in range(4)] for mask in masks.numpy()]
    assert classes_in(masks, 4).tolist() == expected


def test_near_single_patches_are_those_the_classifier_is_sure_of() -> None:
    rows = [
        # probabilities, label, class
        ((0.1, 0.2, 0.1), (1, 0, 0), 0),  # one class alone: its label stands
        ((0.95, 0.05, 0.0), (1, 1, 0), 0),
        ((0.95, 0.2, 0.0), (1, 1, 0), -1),  # another class may be there
        ((0.95, 0.0, 0.2), (1, 1, 0), -1),  # even one that the label denies
        ((0.8, 0.05, 0.0), (1, 1, 0), -1),  # not sure
        ((0.05, 0.02, 0.99), (1, 1, 0), -1),  # the label denies it
        ((0.0, 0.0, 0.0), (0, 0, 0), -1),
    ]
    probs, labels, expected = (torch.tensor(column) for column in zip(*rows, strict=True))
    assert near_single(probs, labels).tolist() == expected.tolist()


class Stub:
    """A classifier that is sure of dark and of bright patches, by their mean grey."""

    def patch_probs(self, patch: np.ndarray) -> np.ndarray:
        bright = float(patch.mean() > 128)
        sure = 0.95 if patch.std() < 5 else 0.6
        return np.array([(1 - bright) * sure, bright * sure], np.float32)


def test_the_example_of_the_page_finds_patches_of_nearly_one_class(tmp_path, monkeypatch) -> None:
    boxes = [(0, 0, 32, 32), (32, 0, 64, 32), (64, 0, 96, 32)]
    image = np.full((32, 96, 3), 60, np.uint8)
    image[:, 32:64], image[:, 64:80] = 200, 250
    write_store(tmp_path, [frame(boxes, 32, 96, labels=[(1, 0), (1, 1), (1, 1)])], [image])
    done = SimpleNamespace(artefacts={"frames": tmp_path, "classifier": tmp_path})
    monkeypatch.setattr("histoweak.api.run_method", lambda *args: done)
    monkeypatch.setattr("histoweak.inference.model.load_model", lambda folder: Stub())
    page = Path(__file__).parents[2] / "docs" / "how-to" / "synthetic-images.md"
    block = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - our own page
    assert names["found"].tolist() == [0, 1, -1]
    assert names["cache"].classes.tolist() == [0, 1]
    assert names["images"].shape == (16, 3, 224, 224)
    assert set(names["masks"].unique().tolist()) == {0, 1}


def test_both_kinds_have_their_share_on_average() -> None:
    cache = plain_cache((2, 2), 8)
    config = SynthesisConfig(mosaic_share=0.3)
    images, masks = synthesise(cache, 5, 16, config, seeded())
    assert images.shape == (5, 3, 16, 16) and masks.shape == (5, 16, 16)
    for share in (0.0, 1.0):
        only = config.model_copy(update={"mosaic_share": share})
        assert len(synthesise(cache, 4, 16, only, seeded())[0]) == 4


def test_the_share_that_is_left_over_is_drawn(monkeypatch) -> None:
    counts = []

    def counted(cache, n, size, config, generator):
        counts.append(n)
        return torch.zeros(n, 3, 2, 2), torch.zeros(n, 2, 2)

    monkeypatch.setattr("histoweak.synthesis.both.mosaic", counted)
    monkeypatch.setattr("histoweak.synthesis.both.bezier", lambda c, n, *a: counted(c, 0, *a))
    generator = seeded()
    for _ in range(400):
        synthesise(plain_cache((1, 1), 8), 5, 8, SynthesisConfig(mosaic_share=0.3), generator)
    mosaics = [n for n in counts if n]
    assert set(mosaics) == {1, 2}
    assert np.mean(mosaics) == 1.5 or abs(np.mean(mosaics) - 1.5) < 0.08
