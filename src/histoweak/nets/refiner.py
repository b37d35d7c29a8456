"""The network that learns to repeat localisation maps, and thereby smooths them."""

from pydantic import Field

from histoweak.nets.cam_classifier import ClassifierNetConfig


class RefinerNetConfig(ClassifierNetConfig):
    """The refinement network, a `CamClassifier` whose maps regress scores in [0, 1].

    Kim, Han & Kim (AAAI 2021, arXiv 2103.07246), section 3.2: the layout of the classifier without
    suppression.
    """

    strides: tuple[int, ...] = Field((8,), min_length=1)
    vgg_head: tuple[int, ...] = Field((512, 512, 512), min_length=1)
