"""Segment Anything as a refiner: its segments vote on the scores (extra `histoweak[sam]`).

Kirillov et al., "Segment anything" (ICCV 2023): points on a grid as prompts (section 4, automatic
stage), of the three answers to each point the one with the highest expected IoU.
"""

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from histoweak.errors import ConfigError, WeightsError
from histoweak.refine.config import SAM_FILES, SamConfig
from histoweak.refine.vote import Scores, vote_masks

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Colours that the published weights were trained with (ImageNet)."""


def refine_sam(
    image: npt.NDArray[np.uint8], scores: Scores, config: SamConfig, device: torch.device
) -> Scores:
    """Scores (K, H, W) of an image (H, W, 3) uint8 after the vote of its segments.

    Raises:
        ConfigError: the extra `histoweak[sam]` is not installed.
        WeightsError: the folder of weights cannot be loaded.
    """
    network = load_sam(config.weights, str(device))
    return vote_masks(segments(network, image, config), scores)


@lru_cache(maxsize=1)
def load_sam(folder: str, device: str) -> Any:
    """Load a SAM of the library transformers; nothing in the folder can run code.

    Raises:
        ConfigError: the library is not installed.
        WeightsError: a file is missing or damaged.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError(
            "transformers is not installed",
            where="refiner sam",
            remedy="Run `pip install 'histoweak[sam]'`",
        )
    remedy = "Give the folder of a SAM as transformers saves it: config.json, model.safetensors"
    for name in SAM_FILES:
        if not (Path(folder) / name).is_file():
            raise WeightsError(f"has no {name}", where=folder, remedy=remedy)
    from transformers import SamModel

    try:
        network = SamModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except Exception as error:  # the library raises many kinds; each means the same here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"cannot be loaded ({reason})", where=folder, remedy=remedy) from error
    return network.eval().to(device)


def segments(
    network: Any, image: npt.NDArray[np.uint8], config: SamConfig
) -> Iterator[npt.NDArray[np.bool_]]:
    """Segments (H, W) bool around the points of a grid, those that are good enough to vote."""
    side = int(network.config.vision_config.image_size)
    pixels, inner = _prepare(torch.from_numpy(image.copy()).to(network.device), side)
    size = (image.shape[0], image.shape[1])
    with torch.inference_mode():
        embedding = network.get_image_embeddings(pixels)
        for points in torch.split(_grid(config.points, inner).to(pixels), config.batch):
            found = network(
                image_embeddings=embedding,
                input_points=points[None, :, None],
                multimask_output=True,
            )
            expected, best = found.iou_scores[0].max(dim=1)
            logits = found.pred_masks[0, torch.arange(len(best)), best]
            for mask in logits[expected >= config.quality]:
                segment = _to_image(mask, side, inner, size) > 0
                if bool(segment.float().mean() <= config.largest):
                    yield segment.cpu().numpy()


def _prepare(image: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Image (H, W, 3) uint8 as the network takes it, and the part that it fills of side x side."""
    scale = side / max(image.shape[:2])
    inner = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    pixels = image.permute(2, 0, 1)[None].float() / 255
    pixels = F.interpolate(pixels, inner, mode="bilinear", align_corners=False, antialias=True)
    mean, std = (pixels.new_tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return F.pad((pixels - mean) / std, (0, side - inner[1], 0, side - inner[0])), inner


def _grid(n: int, inner: tuple[int, int]) -> Tensor:
    """(n * n, 2) places x, y in pixels of the network's image."""
    along = (torch.arange(n) + 0.5) / n
    return torch.cartesian_prod(along * inner[0], along * inner[1]).flip(1)


def _to_image(mask: Tensor, side: int, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (h, w) of the padded image, brought to the size of the image itself."""
    full = F.interpolate(mask[None, None], (side, side), mode="bilinear", align_corners=False)
    cut = full[:, :, : inner[0], : inner[1]]
    return F.interpolate(cut, size, mode="bilinear", align_corners=False)[0, 0]
