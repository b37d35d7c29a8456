"""What the commands that apply a model share: turning options into objects, with remedies."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from histoweak.config import build_config
from histoweak.errors import ConfigError
from histoweak.inference.config import InferenceConfig
from histoweak.inference.gate import Gate
from histoweak.inference.gating import GateRule
from histoweak.inference.model import TissueModel, load_model


def inference_config(**options: Any) -> InferenceConfig:
    """Validate the options of inference.

    Raises:
        ConfigError: one is out of range.
    """
    return build_config(InferenceConfig, options, "options")


def parse_scales(text: str) -> tuple[float, ...]:
    """Turn `1,1.5,2` into numbers.

    Raises:
        ConfigError: something between the commas is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            repr(text), where="--scales", expected="numbers with commas between, e.g. 1,1.5,2",
            remedy="Correct the list",
        ) from error  # fmt: skip


def parse_refiners(texts: Sequence[str] | None) -> list[Any]:
    """Read each `--refine` as YAML: a word such as `crf:hne`, or settings in braces.

    Raises:
        ConfigError: one is no YAML.
    """
    try:
        return [yaml.safe_load(text) for text in texts or ()]
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{texts} cannot be read", where="--refine", expected="a word, or settings as YAML",
            remedy="For example --refine crf:hne, or --refine '{kind: crf, iterations: 3}'",
        ) from error  # fmt: skip


def check_mpp(mpp: float | None) -> None:
    """Refuse a scale that is none.

    Raises:
        ConfigError: not a positive number.
    """
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise ConfigError(
            f"{mpp}", where="--mpp", expected="microns per pixel, more than 0",
            remedy="For example --mpp 0.5 for a 20x scan",
        )  # fmt: skip


def find_device(name: str) -> torch.device:
    """Return the device that a name means; `auto` takes an accelerator where there is one.

    Raises:
        ConfigError: there is no such device.
    """
    try:
        if name == "auto":
            return torch.accelerator.current_accelerator(check_available=True) or torch.device(
                "cpu"
            )
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {name!r}: {str(error).splitlines()[0]}",
            where="--device",
            expected="auto, cpu, cuda or mps",
            remedy="Use --device cpu, or install torch for your accelerator",
        ) from error
    if device.type == "meta":
        raise ConfigError(
            "device 'meta' computes nothing", where="--device", remedy="Use --device cpu"
        )
    return device


def open_model(path: Path, device: str) -> TissueModel:
    """Load the model of a run folder or model folder.

    Raises:
        WeightsError: it cannot be loaded.
        ConfigError: there is no such device.
    """
    return load_model(path, find_device(device))


def gate_rule(
    kind: str, classifier: Path | None, threshold: float, device: str, allowed: Sequence[Gate]
) -> GateRule:
    """Build the gate that the options ask for.

    Raises:
        ConfigError: an unknown gate, no or a needless classifier, a threshold out of range.
        WeightsError: the classifier cannot be loaded.
    """
    if kind not in allowed:
        raise ConfigError(
            f"{kind!r}", where="--gate", expected=" or ".join(allowed), remedy="Choose one of them"
        )
    if not 0 <= threshold <= 1:
        raise ConfigError(
            f"{threshold}", where="--gate-threshold", expected="0 to 1", remedy="Correct it"
        )
    model = None if classifier is None else open_model(classifier, device)
    return GateRule(cast(Gate, kind), model, threshold)
