"""Which classes may appear in an image, by the gate that a person chose."""

from dataclasses import dataclass
from typing import Unpack

import numpy as np
import numpy.typing as npt
import torch

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError, ManifestError
from histoweak.inference.config import Options
from histoweak.inference.gate import Gate, present_classes
from histoweak.inference.model import TissueModel


@dataclass(frozen=True)
class GateRule:
    """The gate and what it needs.

    Args:
        kind: `none`; `predicted`, classes that `classifier` finds in the image as a whole; or
            `truth`, classes that the image is labelled with, which no new image has.
        classifier: needed for `predicted`, and for nothing else.
        threshold: probability above which a class counts as found.

    Raises:
        ConfigError: a classifier is missing, or given where nothing asks it.
    """

    kind: Gate = "none"
    classifier: TissueModel | None = None
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if (self.kind == "predicted") != (self.classifier is not None):
            raise ConfigError(
                f"gate {self.kind!r} {'without' if self.classifier is None else 'with'} classifier",
                remedy="Give a classifier's model folder together with gate=predicted",
            )
        if self.classifier is not None and not self.classifier.has_maps:
            raise ConfigError(
                "the model that should gate is a segmenter",
                expected="a saved classifier",
                remedy="Give the folder `model` of the stage `classifier`",
            )

    def require_classes(self, classes: ClassSet) -> None:
        """Refuse a classifier of other classes.

        Raises:
            ConfigError: its classes are not those of the model.
        """
        if self.classifier is not None and self.classifier.classes.names != classes.names:
            raise ConfigError(
                f"the gate's classifier knows {list(self.classifier.classes.names)}",
                expected=str(list(classes.names)),
                remedy="Give a classifier that was trained on the classes of the model",
            )

    def present(
        self,
        image: npt.NDArray[np.uint8],
        mpp: float | None,
        labels: tuple[int, ...] = (),
        **options: Unpack[Options],
    ) -> npt.NDArray[np.bool_] | None:
        """Classes that may appear, (K,) bool, or None for any.

        Args:
            image: (H, W, 3) uint8.
            mpp: microns per pixel of `image`, if known.
            labels: true labels of the image, for `truth`.
            options: fields of `InferenceConfig`.

        Raises:
            ManifestError: gate `truth` and no label.
        """
        if self.classifier is not None:
            probs = self.classifier.patch_probs(image, mpp, **options)
            found: npt.NDArray[np.bool_] = present_classes(
                torch.from_numpy(probs), self.threshold
            ).numpy()
            return found
        if self.kind == "none":
            return None
        if not labels:
            raise ManifestError(
                "an image has no label",
                expected="labels on every row, since gate=truth",
                remedy="Fill the class columns, or choose another gate",
            )
        return np.asarray(labels) > 0

    def __str__(self) -> str:
        return f"predicted > {self.threshold:g}" if self.kind == "predicted" else self.kind
