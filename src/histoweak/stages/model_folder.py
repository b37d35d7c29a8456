"""The model that a training stage leaves in its artefact."""

import shutil
from pathlib import Path

from histoweak.inference.model import TissueModel


def keep_model(model: TissueModel, out: Path) -> None:
    """Save a model as `model/` in a working folder, in place of what a killed attempt left.

    Raises:
        OutputError: the folder cannot be written.
    """
    for unfinished in out.glob(".model.*"):
        shutil.rmtree(unfinished)
    model.save(out / "model", overwrite=True)
