"""Quality of pseudo-masks on held-out images, made from the scores alone.

The thresholds and rules are those of the training masks. The patch labels, which decide in
training which classes may appear, are not used: held-out images are taken to have none.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.classes import ClassSet
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_to_dict
from histoweak.metrics.ratio import plain, ratio
from histoweak.metrics.scores import pixel_accuracy, summary
from histoweak.stages.pseudo_masks import PseudoMaskConfig, make_mask
from histoweak.stages.scores import Reading
from histoweak.stages.view import Patch


def quality(counts: ConfusionMatrix, names: tuple[str, ...]) -> dict[str, Any]:
    """Scores of masks that leave pixels without a class.

    Returns:
        `metrics.scores.summary`, and `coverage`, the share of the scored pixels that carry a
        class, and `accuracy`, the share of those whose class is right (0..1 or None).
    """
    kept = counts.matrix
    return {
        **summary(counts, names),
        "coverage": plain(ratio(kept.sum(), counts.tallies.sum())),
        "accuracy": plain(pixel_accuracy(kept)),
    }


class PseudoMaskTally:
    """Makes and counts pseudo-masks of held-out images.

    Args:
        config: the settings that the training masks were made with.
        reading: what the scores mean.
        classes: the K classes.
    """

    def __init__(self, config: PseudoMaskConfig, reading: Reading, classes: ClassSet) -> None:
        self.config, self.reading, self.classes = config, reading, classes
        self.pixels = Grouped(lambda: ConfusionMatrix(len(classes)))

    def mask(self, patch: Patch) -> npt.NDArray[np.uint8]:
        """(h, w) uint8 pseudo-mask, 255 where no class is sure enough."""
        config = self.config
        if config.white is not None:
            # The smallest white area is meant at the scale of the model.
            area = round(config.white.min_pixels * patch.zoom**2)
            white = config.white.model_copy(update={"min_pixels": area})
            config = config.model_copy(update={"white": white})
        if config.background is not None:
            sigma = config.background.sigma * patch.zoom
            background = config.background.model_copy(update={"sigma": sigma})
            config = config.model_copy(update={"background": background})
        allowed = np.ones(patch.refined.shape, bool)
        return make_mask(patch.refined, allowed, patch.image, config, self.reading, self.classes)

    def update(self, patch: Patch) -> None:
        """Count one image."""
        self.pixels[patch.record.patient].update(self.mask(patch), patch.truth)

    def figures(self) -> dict[str, Any]:
        """Plain data for JSON, described in `histoweak.stages.evaluation`."""
        return {
            "threshold": self.config.threshold,
            "reading": self.reading,
            **quality(self.pixels.total(), self.classes.names),
            "patients": confusions_to_dict(self.pixels),
        }
