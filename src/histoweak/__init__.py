"""histoweak: pixel-level tissue maps of H&E histopathology from labels on patches.

Public names are imported when they are first used: `import histoweak` loads no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "ClassSet": "histoweak.classes",
    "LabelMap": "histoweak.labelmap",
    "Manifest": "histoweak.data.manifest",
    "Record": "histoweak.data.manifest",
    "HistoweakError": "histoweak.errors",
    "METHODS": "histoweak.methods",
    "load_model": "histoweak.inference.model",
    "run_method": "histoweak.api",
    "pretrain": "histoweak.pretraining",
    "ConfusionMatrix": "histoweak.metrics.confusion",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'histoweak' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
