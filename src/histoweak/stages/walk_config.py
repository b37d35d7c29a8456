"""Settings of the random walk."""

from typing import Literal

from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.inference.tta import Tta


class WalkConfig(StrictConfig):
    """The random walk.

    Pixels closer than `radius` pixels of the boundary map exchange scores, with affinities to the
    power `beta`, in `steps` steps. `damp` lets scores start weaker where a boundary is, for those
    of boundary pixels are worth little. Boundaries are averaged over `tta` orientations.

    `scale` is `classes` (scores sum to 1 over the classes again; for scores read as `posterior`)
    or `image` (divided by the highest score of all classes in the image). `background` names a
    class whose own map takes no part: it is where nothing else is. `gate` is the probability that
    the classifier must give each class of a patch of several classes, null for no gate.

    `instances` also tells the objects of a class apart, by the displacements that the boundary
    network has learned with `boundary.displacement`; one must reach the share `instance_score` of
    the highest score in the image.
    """

    radius: int = Field(5, ge=2, le=20)
    beta: float = Field(20.0, gt=0)
    steps: int = Field(8, ge=0, le=4096)
    tolerance: float = Field(1e-4, ge=0)
    damp: bool = True
    tta: Tta = "d4"
    tile: int = Field(512, ge=32)
    scale: Literal["classes", "image"] = "classes"
    background: str | None = None
    gate: float | None = Field(0.70, ge=0, le=1)
    instances: bool = False
    instance_score: float = Field(0.25, ge=0, le=1)
