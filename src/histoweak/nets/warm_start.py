"""Let a segmenter begin with what a classifier's encoder has learned."""

import torch
from torch import Tensor, nn

from histoweak.errors import ConfigError
from histoweak.nets.config import NetConfig
from histoweak.nets.encoders import flat_names
from histoweak.nets.kinds import build_network
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig


def require_same_encoder(segmenter: SegmenterNetConfig, classifier: NetConfig) -> None:
    """Refuse a segmenter that `take_encoder` would refuse, before anything is trained.

    Raises:
        ConfigError: the encoders differ in a stage that both have, or settings are wrong.
    """
    without = {"weights": None}
    with torch.device("meta"):  # shapes and names, no numbers
        ours = Segmenter(segmenter.model_copy(update=without), 2)
        theirs = build_network(classifier.model_copy(update=without), 2)
    take_encoder(ours, theirs)


def take_encoder(segmenter: Segmenter, classifier: nn.Module) -> None:
    """Copy the weights of a classifier's encoder into that of a segmenter.

    Stages of the segmenter's encoder that the classifier's was cut before stay as they are; those
    that it has must be alike.

    Args:
        segmenter: receives the weights.
        classifier: any of the classifiers of this package; its `encoder` is of the same
            architecture as that of the segmenter, as segmentation-models-pytorch or timm names it.

    Raises:
        ConfigError: the encoders differ in a stage that both have.
    """
    own: dict[str, Tensor] = segmenter.body.state_dict()
    learned: dict[str, Tensor] = _body(classifier).state_dict()
    places, sources = flat_names(own), flat_names(learned)
    shared = {_stage(places[flat]) for flat in sources if flat in places}
    expected = {flat for flat, name in places.items() if _stage(name) in shared}
    for flat in sorted(expected | sources.keys()):
        ours, theirs = own.get(places.get(flat, "")), learned.get(sources.get(flat, ""))
        if ours is None or theirs is None or ours.shape != theirs.shape:
            raise ConfigError(
                f"segmenter.start: the segmenter's encoder {segmenter.config.encoder!r} and that "
                f"of the network it begins with differ in {flat!r}",
                expected="the same encoder in classifier.net (or refiner.net) and segmenter.net",
                remedy="Choose the same encoder for both, or start=weights",
            )
    taken = {places[flat]: learned[name] for flat, name in sources.items()}
    segmenter.body.load_state_dict(own | taken)


def _body(classifier: nn.Module) -> nn.Module:
    """The network of timm, or of histoweak, within a classifier."""
    encoder = classifier.get_submodule("encoder")
    body = getattr(encoder, "body", encoder)
    if not isinstance(body, nn.Module):
        raise TypeError(f"{type(body).__name__} is no network")
    return body


def _stage(name: str) -> str:
    """The part of an encoder that a weight belongs to."""
    return name.removeprefix("model.").partition(".")[0]
