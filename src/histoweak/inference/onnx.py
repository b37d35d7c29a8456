"""Export to ONNX, checked against the network before the file appears.

The file takes images (B, 3, H, W) float32 in [0, 1] of any batch, height and width: normalisation
and padding are part of the network. It yields `logits` (B, K, H, W) of a segmenter, or `maps`
(B, K, h, w) of a classifier. Its metadata entry `histoweak` holds the model's description as JSON.
"""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from histoweak.atomic import replacing
from histoweak.errors import ConfigError, WeightsError
from histoweak.inference.model import TissueModel

TOLERANCE = 1e-4
"""Largest difference to the network that is accepted, in units of the largest output (at least
1)."""

CHECKED_SHAPES = ((2, 3, 64, 96), (1, 3, 75, 50))
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(model: TissueModel, path: Path) -> float:
    """Write a model as an ONNX file, whole or not at all.

    Args:
        model: the model.
        path: the file to write.

    Returns:
        The largest difference between ONNX Runtime and the network that the check has found.

    Raises:
        ConfigError: the extra `histoweak[onnx]` is not installed, or the network holds something
            that ONNX cannot express.
        WeightsError: the exported file yields other values than the network.
        OutputError: the file cannot be written.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} is not installed",
            where="export to ONNX",
            remedy="Run `pip install 'histoweak[onnx]'`",
        )
    network = copy.deepcopy(model.network).cpu().eval()
    with replacing(path) as temporary:
        _export(network, model, temporary)
        worst = max(_difference(network, temporary, CHECKED_SHAPES))
        if not worst <= TOLERANCE:
            raise WeightsError(
                f"ONNX Runtime differs from the network by {worst:.2g}",
                where=path,
                expected=f"at most {TOLERANCE:g}",
                remedy="Update onnx, onnxscript and onnxruntime; no file was written",
            )
    return worst


def _export(network: nn.Module, model: TissueModel, path: Path) -> None:
    free = torch.export.Dim.DYNAMIC
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the exporter's own insides
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            program = torch.onnx.export(
                network,
                (torch.rand(2, 3, 96, 128),),
                dynamo=True,
                dynamic_shapes=({0: free, 2: free, 3: free},),
                input_names=["images"],
                output_names=["maps" if model.has_maps else "logits"],
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds; each means the same here
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"the network cannot be expressed ({reason[0] if reason else type(error).__name__})",
            where="export to ONNX",
            remedy="Export another architecture, or use the saved model itself",
        ) from error
    assert program is not None  # noqa: S101 - always a program with dynamo=True
    program.model.metadata_props["histoweak"] = model.describe().model_dump_json()
    program.save(path, external_data=False)


def _difference(network: nn.Module, path: Path, shapes: Sequence[tuple[int, ...]]) -> list[float]:
    """Largest difference per shape, in units of the largest output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    differences = []
    for shape in shapes:
        images = random.random(shape, np.float32)
        (found,) = session.run(None, {"images": images})
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        if found.shape != expected.shape:
            return [float("inf")]
        scale = max(1.0, float(np.abs(expected).max()))
        differences.append(float(np.abs(found - expected).max()) / scale)
    return differences
