"""A trained network with all that is needed to apply it: classes, scale, white rule, origin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histoweak import __version__
from histoweak.classes import ClassSet
from histoweak.config import build_config
from histoweak.data.images import MAX_PIXELS, read_image
from histoweak.data.manifest import Record
from histoweak.data.rescale import rescale_image, rescaled_size
from histoweak.errors import ImageError
from histoweak.inference.activations import activation_maps
from histoweak.inference.card import model_card
from histoweak.inference.config import InferenceConfig, Options
from histoweak.inference.forward import (
    classifier_maps,
    computing,
    maps_and_logits,
    posterior_bands,
    segmenter_bands,
    several_maps,
    window_logits,
)
from histoweak.inference.gate import Form
from histoweak.inference.post import adjusted_bands, class_indices, class_probs, may_appear
from histoweak.inference.post_config import SavedPost
from histoweak.inference.resize import index_mask
from histoweak.inference.saved import (
    ClassesDescription,
    Description,
    find_folder,
    read_folder,
    weights_digest,
    write_folder,
)
from histoweak.inference.scales import mean_over_scales
from histoweak.labelmap import LabelMap
from histoweak.nets.config import MapsNetConfig, NetConfig
from histoweak.nets.kinds import kind_of
from histoweak.nets.pooled import PooledNetwork
from histoweak.refine.chain import refine
from histoweak.refine.white import WhiteConfig, white_mask

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TissueModel:
    """A segmenter or classifier that labels the pixels of images of any size.

    Args:
        network: any of `histoweak.nets.kinds`; stays on its device, is set to evaluation mode.
        net: how the network was built, which also tells its kind.
        classes: the K classes.
        mpp: microns per pixel that it was trained at; None: images are taken as they are.
        white: rule for white background, whose pixels become `classes.white_index`.
        exclusive: whether a patch has exactly one class, so that patch probabilities are a
            softmax over the classes rather than a sigmoid of each; only for classifiers.
        post: how the maps of a classifier become its prediction; None: the strongest map wins.
        provenance: how it came about, plain data: `method`, `recipe`, `seed`, `select` (checkpoint
            selection), `data_digest` and whatever else is worth knowing.
    """

    network: nn.Module
    net: NetConfig
    classes: ClassSet
    mpp: float | None = None
    white: WhiteConfig | None = None
    exclusive: bool = False
    post: SavedPost | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Name of the kind of network, e.g. `segmenter` or `classifier`."""
        return kind_of(self.net)

    @property
    def has_maps(self) -> bool:
        """Whether the network yields class maps, from which patches are classified too."""
        return isinstance(self.net, MapsNetConfig)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.network.parameters()).device

    @property
    def stride(self) -> int:
        """Pixels of the image per pixel of `maps`; 1 for networks without maps."""
        return min(self.net.strides) if isinstance(self.net, MapsNetConfig) else 1

    def describe(self) -> Description:
        """Everything but the weights themselves, as `config.json` holds it."""
        return Description(
            histoweak=__version__,
            kind=self.kind,
            net=self.net.model_dump(mode="json"),
            classes=ClassesDescription.model_validate(self.classes.to_dict()),
            mpp=self.mpp,
            exclusive=self.exclusive,
            white=self.white,
            post=self.post,
            weights=weights_digest(self.network),
            provenance=dict(self.provenance),
        )

    def save(
        self, folder: Path, figures: Mapping[str, Any] | None = None, overwrite: bool = False
    ) -> None:
        """Write `model.safetensors`, `config.json` and a model card, all or nothing.

        Saving the same model to the same folder again does nothing.

        Args:
            folder: the folder to make.
            figures: name -> value of what was measured, for the model card.
            overwrite: replace whatever the folder holds.

        Raises:
            OutputError: not writable, or the folder holds something else.
        """
        description = self.describe()
        card = model_card(description.model_dump(mode="json"), figures)
        write_folder(Path(folder), description, self.network, card, overwrite)

    def probs(self, image: UInt8, mpp: float | None = None, **options: Unpack[Options]) -> Float:
        """Class probabilities of every pixel at the working scale of the model.

        Args:
            image: (H, W, 3) uint8 RGB.
            mpp: microns per pixel of `image`; where it or the model's is unknown, the image is
                taken to be at working scale.
            options: fields of `InferenceConfig`.

        Returns:
            (K, h, w) float32, sums to 1 over K unless a refiner lowers it; h, w = H, W times
            `mpp / model.mpp`.

        Raises:
            ConfigError: an option is unknown or out of range.
            ImageError: the image would be too large at working scale.
        """
        working, config = self.at_working_scale(image, mpp), _config(options)
        with computing(config):
            bands = self._refined_bands(working, config)
            if self.post is not None:
                bands = (class_probs(band, self.post, self.classes) for band in bands)
            probs: Float = np.concatenate([band.cpu().numpy() for band in bands], axis=1)
        return probs

    def predict(
        self,
        image: UInt8,
        mpp: float | None = None,
        present: npt.ArrayLike | None = None,
        form: Form = "exclude",
        **options: Unpack[Options],
    ) -> LabelMap:
        """Label every pixel of an image at its own size.

        Without refiners it never holds the probabilities of the whole image, so only the image and
        its mask must fit into memory.

        Args:
            image: (H, W, 3) uint8 RGB.
            mpp: as in `probs`.
            present: (K,) bool, classes that may appear (see `histoweak.inference.gate`); None or
                no class at all: any.
            form: `exclude` cuts other classes; `multiply` sets their logits to 0, as some released
                code does, which only a segmenter can.
            options: fields of `InferenceConfig`.

        Returns:
            (H, W) class indices; white background is `classes.white_index` if the model has a
            rule for it, and so are pixels on which the refiners left no class a score, or nothing
            that competes with background has any.

        Raises:
            ConfigError, ImageError: as in `probs`.
        """
        working, config = self.at_working_scale(image, mpp), _config(options)
        gate = None if present is None else np.asarray(present, bool)
        with computing(config):
            multiplied = gate is not None and form == "multiply"
            bands = self._refined_bands(working, config, logits=multiplied)
            silent = self.classes.white_index if config.refine else None
            if self.post is not None:
                # Its maps are followed by those of background and other tissue.
                empty = silent is not None or self.post.adjust.background is not None
                silent = len(self.classes) if empty else None
                values = class_indices(self.post, self.classes)
                gate = may_appear(gate, values) if gate is not None and gate.any() else None
            wins = None if gate is None else torch.as_tensor(gate)
            mask = index_mask(bands, _size(working), _size(image), wins, form, silent)
        if self.post is not None:
            mask = class_indices(self.post, self.classes)[mask]
        if self.white is not None:
            # The smallest white area is meant at working scale.
            area = self.white.min_pixels / self._scale(mpp) ** 2
            rule = self.white.model_copy(update={"min_pixels": round(area)})
            mask[white_mask(image, rule)] = self.classes.white_index
        return LabelMap(mask, self.classes, mpp)

    def predict_record(self, record: Record, **options: Unpack[Options]) -> LabelMap:
        """Read the image of a manifest row and `predict` it.

        Raises:
            ConfigError, ImageError: as in `predict`, and the image cannot be read.
        """
        return self.predict(read_image(record.image), record.mpp, **options)

    def maps(self, image: UInt8, mpp: float | None = None, **options: Unpack[Options]) -> Float:
        """Class maps of a classifier, at the scale of its last layer.

        Args: as in `probs`.

        Returns:
            (K, ceil(h / s), ceil(w / s)) float32 with s = `stride`, unbounded; row i is centred at
            row (i + 0.5) s of the image at working scale (h, w).
        """
        working, config = self.at_working_scale(image, mpp), _config(options)
        with computing(config):
            maps: Float = self._maps(working, config).cpu().numpy()
        return maps

    def several_maps(self, images: Sequence[UInt8], **options: Unpack[Options]) -> Float:
        """`maps` of images (H, W, 3) of one size at working scale, as in `forward.several_maps`.

        Returns:
            (B, K, ceil(H / s), ceil(W / s)) float32.
        """
        config = _config(options)
        with computing(config):
            args = (self.network, self._strides(), images, len(self.classes), config)
            maps: Float = several_maps(*args).cpu().numpy()
        return maps

    def activate(self, logits: Tensor, exclusive: bool | None = None) -> Tensor:
        """Probabilities (N, K) of a classifier's logits (N, K).

        `exclusive` stands in for that of the model.
        """
        softmax = self.exclusive if exclusive is None else exclusive
        return logits.softmax(dim=1) if softmax else logits.sigmoid()

    def patch_probs(
        self,
        image: UInt8,
        mpp: float | None = None,
        exclusive: bool | None = None,
        **options: Unpack[Options],
    ) -> Float:
        """Probability that each class is present in the image, from the mean of its map.

        Networks that bring their own pooling along pool by that.

        Args:
            image: as in `probs`.
            mpp: as in `probs`.
            exclusive: in place of the model's own `exclusive`.
            options: as in `probs`.

        Returns:
            (K,) float32 in [0, 1].
        """
        _, probs = self.maps_and_probs(image, mpp, exclusive, **options)
        return probs

    def maps_and_probs(
        self,
        image: UInt8,
        mpp: float | None = None,
        exclusive: bool | None = None,
        **options: Unpack[Options],
    ) -> tuple[Float, Float]:
        """`maps` and `patch_probs` of the same passes."""
        working, config = self.at_working_scale(image, mpp), _config(options)
        with computing(config):
            maps, logits = maps_and_logits(
                self.network, self._strides(), working, len(self.classes), config
            )
            probs: Float = self.activate(logits[None], exclusive)[0].numpy()
        return maps.numpy(), probs

    def window_probs(self, image: UInt8, boxes: Float) -> Float:
        """Class probabilities of windows that a network with own pooling sees in one pass.

        Args:
            image: (H, W, 3) uint8 at working scale, small enough for one pass.
            boxes: (N, 4): x0 y0 x1 y1 in pixels.

        Returns:
            (N, K) float32 in [0, 1].
        """
        if not isinstance(self.network, PooledNetwork):
            raise TypeError("windows of other networks are read off their maps")
        with computing(InferenceConfig()):
            logits = window_logits(self.network, self._strides(), image, torch.from_numpy(boxes))
            probs: Float = self.activate(logits).numpy()
        return probs

    def adjusted(self, image: UInt8, mpp: float | None = None, **options: Unpack[Options]) -> Float:
        """What a model with `post` gives each class at each pixel, before the strongest wins.

        Args: as in `probs`.

        Returns:
            (K + 2, h, w) float32 in [0, 1] at working scale: the classes, background, other
            tissue.
        """
        if self.post is None:
            raise TypeError("a model without post-processing has nothing adjusted; ask for probs")
        working, config = self.at_working_scale(image, mpp), _config(options)
        with computing(config):
            bands = list(self._prob_bands(working, config))
            found: Float = torch.cat(bands, dim=1).numpy()
        return found

    def _scale(self, mpp: float | None) -> float:
        return 1.0 if mpp is None or self.mpp is None else mpp / self.mpp

    def at_working_scale(self, image: UInt8, mpp: float | None) -> UInt8:
        """Return an image (H, W, 3) at the scale of the model; errors as in `probs`."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        where = f"at the model's {self.mpp} microns per pixel"
        _refuse_large(_size(image), self._scale(mpp), where)
        return rescale_image(image, self._scale(mpp))

    def _refined_bands(
        self, working: UInt8, config: InferenceConfig, logits: bool = False
    ) -> Iterator[Tensor]:
        """What `_prob_bands` yields after the refiners, which need all rows at once.

        Logits, which the published form of the gate multiplies, are none that refiners take.
        """
        bands = self._prob_bands(working, config, logits)
        if logits or not config.refine:
            return bands
        probs = torch.cat(list(bands), dim=1)
        images = torch.from_numpy(working.copy()).to(probs.device).permute(2, 0, 1)[None] / 255
        return iter(refine(images, probs[None], config.refine))

    def _prob_bands(
        self, working: UInt8, config: InferenceConfig, logits: bool = False
    ) -> Iterator[Tensor]:
        """Bands of K probabilities or logits, or of K + 2 adjusted maps where there is `post`."""
        if self.has_maps and logits:
            raise TypeError("a classifier has no logits of pixels; ask a segmenter")

        def bands(image: UInt8) -> Iterator[Tensor]:
            if self.post is not None:
                args = (self.post, self.classes, config)
                active = activation_maps(self.network, self._strides(), self.activate, image, *args)
                return adjusted_bands(active, self.stride, image, *args, self.device)
            if self.has_maps:
                return posterior_bands(self._maps(image, config), self.stride, _size(image))
            return segmenter_bands(self.network, image, len(self.classes), config, logits)

        _refuse_large(_size(working), max(config.scales), "at the largest of its scales")
        return mean_over_scales(bands, working, config.scales)

    def _maps(self, working: UInt8, config: InferenceConfig) -> Tensor:
        return classifier_maps(self.network, self._strides(), working, len(self.classes), config)

    def _strides(self) -> tuple[int, ...]:
        if not isinstance(self.net, MapsNetConfig):
            raise TypeError("a segmenter has no class maps; ask a classifier")
        return self.net.strides


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> TissueModel:
    """Load a saved model; nothing in the folder can run code.

    Args:
        folder: written by `TissueModel.save`, or the folder of a run that holds it as `model`.
        device: where to put the weights, e.g. `cuda`.

    Raises:
        WeightsError: a file is missing, damaged, of unknown content, or the two do not fit.
    """
    description, net, network = read_folder(find_folder(Path(folder)))
    return TissueModel(
        network=network.eval().to(device),
        net=net,
        classes=description.classes.class_set(),
        mpp=description.mpp,
        white=description.white,
        exclusive=description.exclusive,
        post=description.post,
        provenance=description.provenance,
    )


def _config(options: Options) -> InferenceConfig:
    return build_config(InferenceConfig, options, "inference options")


def _refuse_large(size: tuple[int, int], scale: float, where: str) -> None:
    height, width = rescaled_size(size, scale)
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{height} x {width} pixels {where}",
            expected=f"at most {MAX_PIXELS // 1_000_000} megapixels",
            remedy="Correct the mpp of the image, or cut it into parts",
        )


def _size(image: UInt8) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
