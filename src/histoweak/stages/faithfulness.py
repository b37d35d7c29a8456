"""Insertion and deletion on a few held-out images: does the answer rest on the evidence?"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.metrics.faithfulness import (
    area_under,
    deletion_curve,
    evidence_drop,
    insertion_curve,
)
from histoweak.stages.view import View, Viewer

UInt8 = npt.NDArray[np.uint8]

SIDE = 512
"""Longest side that is tried; of larger images the middle."""
STEPS = 10
"""Pictures on each curve: every one costs a pass of the classifier."""


class Faithfulness:
    """Follows the probability of the likeliest class while its evidence goes or comes.

    Args:
        viewer: the classifier.
        images: number of images that are to be tried.
        total: number of images there are.
        seed: decides which.
    """

    def __init__(self, viewer: Viewer, images: int, total: int, seed: int) -> None:
        rng = np.random.default_rng(np.random.SeedSequence((seed, *b"faithfulness")))
        self.chosen = frozenset(rng.permutation(total)[:images].tolist())
        self.viewer = viewer
        self.found: list[dict[str, Any]] = []

    def update(self, index: int, name: str, image: UInt8, mpp: float | None, view: View) -> None:
        """Try one image, if it is among the chosen ones.

        Args:
            index: its place among all images.
            name: what to call it.
            image: (H, W, 3).
            mpp: its microns per pixel, if known.
            view: what the classifier says of it.
        """
        if index not in self.chosen:
            return
        top, left = (max(0, (length - SIDE) // 2) for length in view.size)
        rows = np.arange(top, min(view.size[0], top + SIDE))
        columns = np.arange(left, min(view.size[1], left + SIDE))
        k = int(view.probs.argmax())
        evidence = torch.from_numpy(view.scores_at(rows, columns)[k])
        cut = np.array(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        picture = torch.from_numpy(cut).permute(2, 0, 1) / 255

        def classify(pictures: Tensor) -> Tensor:
            pixels = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            probs = [
                self.viewer.model.patch_probs(p.numpy(), mpp, tile=self.viewer.tile) for p in pixels
            ]
            return torch.from_numpy(np.stack(probs))

        deleted = deletion_curve(classify, picture, evidence, k, steps=STEPS)
        inserted = insertion_curve(classify, picture, evidence, k, steps=STEPS)
        self.found.append(
            {
                "image": name,
                "class": self.viewer.model.classes.names[k],
                "probability": float(deleted[0]),
                "deletion": area_under(deleted),
                "insertion": area_under(inserted),
                "drop": evidence_drop(classify, picture, evidence, k),
            }
        )

    def figures(self) -> dict[str, Any] | None:
        """Plain data for JSON, described in `histoweak.stages.evaluation`; None without images."""
        if not self.found:
            return None
        kinds = ("probability", "deletion", "insertion", "drop")
        means = {kind: float(np.mean([f[kind] for f in self.found])) for kind in kinds}
        return {"images": len(self.found), "steps": STEPS, **means, "per_image": self.found}
