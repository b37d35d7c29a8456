"""The files of a finished run with random masks: what the report and the comparison read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histoweak.classes import ClassSet
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.stages.rung_tally import RungTally

CLASSES = ClassSet(("tumour", "stroma", "necrosis"))
TOLERANCES = {"CAM": None, "segmenter": 2.0}
PATIENTS = tuple(f"P{i}" for i in range(7))


def masks(skill: float, seed: int, patients: Sequence[str] = PATIENTS, truth_seed: int = 0):
    """One (patient, prediction, truth) for each patient; `skill` is the share of right pixels."""
    truths, rng = np.random.default_rng(truth_seed), np.random.default_rng((seed, 1))
    found = []
    for patient in patients:
        truth = truths.choice([0, 1, 2, 255], (16, 16)).astype(np.uint8)
        guess = rng.integers(0, 3, truth.shape)
        right = (rng.uniform(size=truth.shape) < skill) & (truth != 255)
        found.append((patient, np.where(right, truth, guess).astype(np.uint8), truth))
    return found


def tally(items, tolerance_um: float | None = None) -> RungTally:
    counted = RungTally(len(CLASSES), tolerance_um)
    for patient, pred, truth in items:
        counted.update(patient, pred, truth, 1.0)
    return counted


def total(items) -> ConfusionMatrix:
    return tally(items).pixels.total()


def write_run(folder: Path, skill: float = 0.7, seed: int = 0, **other: Any) -> Path:
    """Write a run; `other` replaces entries of `evaluation.json`, or None takes them out.

    `patients` and `truth_seed` change what is scored.
    """
    scored = {k: other.pop(k) for k in ("patients", "truth_seed") if k in other}
    rungs = [("CAM", "none", skill - 0.2), ("segmenter", "flips", skill)]
    ladder = [
        {
            "name": n,
            "tta": tta,
            **tally(masks(s, seed, **scored), TOLERANCES[n]).figures(CLASSES.names),
        }
        for n, tta, s in rungs
    ]
    patients = scored.get("patients", PATIENTS)
    figures = {
        "classes": CLASSES.to_dict(),
        "split": "test",
        "gate": "none",
        "tta": "flips",
        "images": len(patients),
        "skipped": 0,
        "truth_digest": f"truth {scored}",
        "seed": seed,
        "selection": "last",
        "ladder": ladder,
        "per_image": [
            {"index": i, "image": f"{p}.png", "patient": p, "miou": 0.5}
            for i, p in enumerate(patients)
        ],
        **other,
    }
    artefact = folder / "stages" / "evaluation-1"
    artefact.mkdir(parents=True)
    kept = {k: v for k, v in figures.items() if v is not None}
    (artefact / "evaluation.json").write_text(json.dumps(kept))
    stages = [
        {"name": "classifier", "key": "c" * 64, "folder": "stages/classifier-1"},
        {"name": "segmenter", "key": "s" * 64, "folder": "stages/segmenter-1"},
        {"name": "evaluation", "key": "e" * 64, "folder": "stages/evaluation-1"},
    ]
    record = {"method": "vgg-cam", "data": {"path": "/d/phantom/manifest.csv"}, "stages": stages}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def write_log(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write `metrics.jsonl`; an entry names its stage, and its key if that is not the usual."""
    lines = [{"key": e["stage"][0] * 64, "time": 0, **e} for e in entries]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
