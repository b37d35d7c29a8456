"""How the maps of a classifier become its own prediction: settings that a saved model carries.

They are validated plain data; nothing in them is code.
"""

from pydantic import Field

from histoweak.cams.gated import Peak
from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.errors import ConfigError
from histoweak.inference.tta import Tta
from histoweak.refine.adjust import AdjustConfig, require_names
from histoweak.refine.config import Chain
from histoweak.refine.crf_config import CrfConfig


class PostConfig(StrictConfig):
    """How maps become a prediction.

    The network sees tiles of `tile` pixels, and windows of `window` pixels in them are classified
    one by one; both share a quarter with their neighbours. Null takes the crop that the classifier
    was trained on, and the side of the patches that it learned the labels of. In each window,
    classes below their threshold are 0 but for those `forced`; with `at_least_one` the nearest
    passes where none does. Maps are cut at 0, divided by their own maximum (`peak: class`) or the
    largest one of the window (`image`), and multiplied with the probability; `floor` is the least
    value of a class that passes, in units of its probability. `tta` averages this over
    orientations where nothing more is asked for. `adjust` lets the classes compete, and `refine`
    moves their borders to those of the image.
    """

    tile: int | None = Field(None, ge=32)
    window: int | None = Field(None, ge=8)
    tta: Tta = "none"
    forced: tuple[str, ...] = ()
    at_least_one: bool = True
    peak: Peak = "image"
    floor: float = Field(1e-3, ge=0, lt=1)
    adjust: AdjustConfig = AdjustConfig()
    refine: Chain = (CrfConfig(),)

    def require_names(self, classes: ClassSet) -> None:
        """Refuse names that are none of the classes.

        Raises:
            ConfigError: one is not.
        """
        require_names((*self.forced, *self.adjust.names()), classes)


class SavedPost(PostConfig):
    """`PostConfig` with what was found in the data: one threshold per class, level of white."""

    thresholds: tuple[float, ...]

    def require_fit(self, classes: ClassSet) -> None:
        """Refuse what cannot belong to a model of these classes.

        Raises:
            ConfigError: unknown names, a threshold too many or too few or out of range, or a value
                that was to be found in the data is missing.
        """
        self.require_names(classes)
        background = self.adjust.background
        found = None not in (self.tile, self.window) and (
            background is None or background.level is not None
        )
        in_range = all(0 < t <= 1 for t in self.thresholds)
        if len(self.thresholds) != len(classes) or not in_range or not found:
            raise ConfigError(
                f"thresholds {list(self.thresholds)}, tile {self.tile}, window {self.window}",
                where="post",
                expected=f"{len(classes)} thresholds in (0, 1], both sizes, a level of white",
                remedy="Copy the whole model folder again from where it was saved",
            )
