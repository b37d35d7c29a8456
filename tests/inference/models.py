"""Tiny random models and images for tests of inference and its commands."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.inference.model import TissueModel
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig
from histoweak.refine.white import WhiteConfig

CLASSES = ClassSet(("tumour", "stroma", "necrosis"))


def segmenter(mpp: float | None = None, white: WhiteConfig | None = None, seed: int = 0):
    torch.manual_seed(seed)
    net = SegmenterNetConfig(encoder="tu-test_resnet", decoder_channels=16)
    network = Segmenter(net, len(CLASSES))
    provenance = {"method": "vgg-cam", "seed": 7, "select": "last"}
    return TissueModel(network, net, CLASSES, mpp, white, provenance=provenance)


def classifier(mpp: float | None = None, exclusive: bool = False, gain: float = 1.0):
    torch.manual_seed(0)
    net = ClassifierNetConfig(vgg_width=0.05)
    network = CamClassifier(net, len(CLASSES))
    with torch.no_grad():
        network.head.weight *= gain
    return TissueModel(network, net, CLASSES, mpp, exclusive=exclusive)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(smooth)


def write_picture(path: Path, height: int = 40, width: int = 50, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture(height, width, seed)
    Image.fromarray(image).save(path)
    return image
