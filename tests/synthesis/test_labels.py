import numpy as np
import torch

from histoweak.classes import IGNORE_INDEX
from histoweak.synthesis.both import synthesise
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.labels import classes_in, near_single
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
