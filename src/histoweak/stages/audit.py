"""Compare the masks that a segmenter was trained on with true ones: a look behind the curtain.

Weakly supervised training never sees a mask of the training split, so this is no part of a run.
It is for data sets that have them all the same, to learn how good the pseudo-masks were.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from histoweak.classes import IGNORE_INDEX
from histoweak.data.frames import Frame, FrameStore, build_frames
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.errors import ManifestError, OutputError
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_to_dict
from histoweak.progress import Progress
from histoweak.stages.frames import FramesConfig
from histoweak.stages.pseudo_masks import allowed_classes, mask_file
from histoweak.stages.pseudo_quality import quality


def audit_masks(
    frames: Path, masks: Path, config: FramesConfig, manifest: Manifest, progress: Progress
) -> dict[str, Any]:
    """Score the masks of training frames against the true masks of the same patches.

    The true masks are laid on the frames by the same code that laid the images there, one frame at
    a time.

    Args:
        frames: artefact of the stage `frames`.
        masks: artefact with one index PNG per frame.
        config: the settings that the frames were made with.
        manifest: the data set of the run, with masks on its train rows.
        progress: shows how far it is.

    Returns:
        `stages.pseudo_quality.quality`, `frames`, `images`, `patients` (one confusion matrix each)
        and `contested`: `pixels`, `coverage` and `accuracy` of the pixels whose labels allow
        several classes. The others are right as far as the labels are, whatever the scores say.

    Raises:
        ManifestError: the manifest is not that of the run, or lacks masks.
        OutputError: the artefact lacks a mask.
    """
    store, n_classes = FrameStore(frames), len(manifest.classes)
    rows = _Rows(manifest)
    patients = Grouped(lambda: ConfusionMatrix(n_classes))
    contested = ConfusionMatrix(n_classes)
    shown = progress.track(enumerate(store.frames), len(store), "comparing with true masks")
    for index, frame in shown:
        found = _read_mask(masks / mask_file(index))
        truth = _true_mask(rows.of(frame), frame, n_classes, config)
        patients[frame.patient].update(found, truth)
        contested.update(found, np.where(_leaves_choice(frame, n_classes), truth, IGNORE_INDEX))
    names = manifest.classes.names
    open_pixels = quality(contested, names)
    return {
        **quality(patients.total(), names),
        "contested": {
            "pixels": open_pixels["scored_pixels"],
            "coverage": open_pixels["coverage"],
            "accuracy": open_pixels["accuracy"],
        },
        "frames": len(store),
        "images": sum(len(frame.windows) for frame in store.frames),
        "patients": confusions_to_dict(patients),
    }


class _Rows:
    """Finds the rows of a frame: by path, or by file name where the data set has moved."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.by_path = {str(r.image.absolute()): r for r in manifest.split("train")}
        self.by_name: dict[str, list[Record]] = {}
        for record in self.by_path.values():
            self.by_name.setdefault(record.image.name, []).append(record)

    def of(self, frame: Frame) -> list[Record]:
        """Rows of the windows of a frame.

        Raises:
            ManifestError: a window is none of the train rows, or has other labels there.
        """
        rows = [self._row(window) for window in frame.windows]
        for window, row, label in zip(frame.windows, rows, frame.labels, strict=True):
            if row is None or tuple(row.labels) != tuple(label):
                what = "is no train row" if row is None else "has other labels than in the run"
                raise ManifestError(
                    f"{Path(window).name} {what}",
                    where=self.manifest.path,
                    expected="the manifest that the run was trained on",
                    remedy="Give that manifest with --data",
                )
        return [row for row in rows if row is not None]

    def _row(self, window: str) -> Record | None:
        same_name = self.by_name.get(Path(window).name, [])
        unique = same_name[0] if len(same_name) == 1 else None
        return self.by_path.get(str(Path(window).absolute()), unique)


def _leaves_choice(frame: Frame, n_classes: int) -> npt.NDArray[np.bool_]:
    """(H, W) where the labels alone do not decide the class."""
    no_gate = np.zeros((len(frame.boxes), n_classes), np.float32)
    several: npt.NDArray[np.bool_] = allowed_classes(frame, no_gate, None, n_classes).sum(0) > 1
    return several


def _true_mask(
    records: Sequence[Record], frame: Frame, n_classes: int, config: FramesConfig
) -> npt.NDArray[np.uint8]:
    with TemporaryDirectory(prefix="histoweak-") as folder:
        built = build_frames(
            records,
            n_classes,
            Path(folder),
            mpp=config.mpp,
            assemble=config.assemble,
            with_masks=True,
            skips=Skips(len(records), 0.0),
            progress=Progress(quiet=True),
        )
        sizes = [(f.height, f.width) for f in built.frames]
        if sizes != [(frame.height, frame.width)]:
            raise ManifestError(
                f"the patches of {frame.name} make frames of {sizes}",
                expected=f"one of {(frame.height, frame.width)}, as in the run",
                remedy="Give the manifest that the run was trained on",
            )
        return np.array(built.mask(0))


def _read_mask(path: Path) -> npt.NDArray[np.uint8]:
    try:
        return np.asarray(Image.open(path))
    except OSError as error:
        raise OutputError(
            f"cannot be read ({error})",
            where=path,
            remedy="Run `histoweak run` to its end first",
        ) from error


def frames_config(record: dict[str, Any]) -> FramesConfig:
    """Settings of the frames of a run, from its `run.json`."""
    config = record.get("config") or {}
    return FramesConfig.model_validate(config.get("frames", {}))
