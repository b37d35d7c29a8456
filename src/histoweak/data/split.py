"""Assign records to train, val and test by patient, keeping the mix of labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from histoweak.config import StrictConfig
from histoweak.data.balance import divide
from histoweak.data.manifest import Manifest, Record
from histoweak.errors import ManifestError, OutputError

Split = Literal["train", "val", "test"]


class SplitConfig(StrictConfig):
    """How records are assigned.

    Args:
        mode: "shares" gives one assignment; "folds" gives `folds` of them, in each of which
            another fold is held out; "leave-one-out" holds out each patient once.
        val: share of val, of the patients' images that are not held out.
        test: share of test; only with "shares".
        folds: number of folds; only with "folds".
        hold: the split that the held-out fold or patient becomes.
        keep: splits of the table that stay as they are.
        seed: decides between equally good assignments.
    """

    mode: Literal["shares", "folds", "leave-one-out"] = "shares"
    val: float = Field(0.0, ge=0, lt=1)
    test: float = Field(0.2, ge=0, lt=1)
    folds: int = Field(5, ge=2)
    hold: Literal["val", "test"] = "test"
    keep: tuple[Split, ...] = ()
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _leaves_train(self) -> "SplitConfig":
        if self.mode == "shares" and self.val + self.test >= 1:
            raise ValueError(f"val {self.val} + test {self.test} leave nothing for train")
        if self.mode != "shares" and self.hold == "val" and self.val > 0:
            raise ValueError("a share for val, although the held-out part becomes val")
        return self


def split_manifest(manifest: Manifest, config: SplitConfig) -> tuple[Manifest, ...]:
    """Assign every record of a manifest to a split; a patient's records stay together.

    Args:
        manifest: read with `check_splits=False` when its splits are to be replaced.
        config: shares, folds or leave-one-out.

    Returns:
        One manifest for "shares", otherwise one per fold or patient, without a path.

    Raises:
        ManifestError: fewer patients than parts, or a kept patient in two splits.
    """
    free = [r for r in manifest.records if r.split not in config.keep]
    patients = sorted({r.patient for r in free})
    features = _features(manifest, free, patients)
    if config.mode == "shares":
        return (_by_shares(manifest, config, patients, features),)
    if config.mode == "folds":
        _require(manifest, patients, config.folds, "folds")
        shares = np.full(config.folds, 1 / config.folds)
        fold_of = divide(features, shares, _rng(config.seed, 0))
        count = config.folds
    else:
        _require(manifest, patients, 2, "patients, one held out and one to train on")
        fold_of, count = np.arange(len(patients)), len(patients)
    return tuple(
        _hold_out(manifest, config, patients, features, fold_of == fold, fold)
        for fold in range(count)
    )


def write_splits(
    manifests: Sequence[Manifest], out: Path, config: SplitConfig, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write the assignments: one table, or `fold_0.csv`, `fold_1.csv`, ... in a folder.

    Args:
        manifests: from `split_manifest`.
        out: a .csv or .parquet file for "shares"; otherwise a folder.
        config: the same as given there.
        overwrite: replace files that exist.

    Returns:
        The files, which hold paths relative to themselves.

    Raises:
        OutputError: not writable, or a file exists already.
    """
    paths = tuple(
        out if config.mode == "shares" else out / f"fold_{i}.csv" for i in range(len(manifests))
    )
    standing = [path for path in paths if path.exists()]
    if standing and not overwrite:
        raise OutputError(
            "exists already", where=standing[0], remedy="Choose another name, or add --overwrite"
        )
    for path, manifest in zip(paths, manifests, strict=True):
        manifest.write(path)
    return paths


def _features(
    manifest: Manifest, records: Sequence[Record], patients: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(patients, 1 + K): records, and records with each class."""
    position = {patient: i for i, patient in enumerate(patients)}
    features = np.zeros((len(patients), 1 + len(manifest.classes)))
    for record in records:
        row = features[position[record.patient]]
        row[0] += 1
        if record.labels:
            row[1:] += record.labels
    return features


def _by_shares(
    manifest: Manifest,
    config: SplitConfig,
    patients: Sequence[str],
    features: npt.NDArray[np.float64],
) -> Manifest:
    asked: dict[Split, float] = {"val": config.val, "test": config.test}
    held = {name: v for name, v in asked.items() if v > 0 and name not in config.keep}
    names: list[Split] = ["train", *held]
    _require(manifest, patients, len(names), f"splits ({', '.join(names)})")
    shares = np.array([1 - sum(held.values()), *held.values()])
    parts = divide(features, shares, _rng(config.seed, 0), complete=0)
    return _assigned(manifest, config, {p: names[i] for p, i in zip(patients, parts, strict=True)})


def _hold_out(
    manifest: Manifest,
    config: SplitConfig,
    patients: Sequence[str],
    features: npt.NDArray[np.float64],
    held: npt.NDArray[np.bool_],
    fold: int,
) -> Manifest:
    split_of: dict[str, Split] = {
        p: config.hold if out else "train" for p, out in zip(patients, held, strict=True)
    }
    if config.val > 0:
        rest = np.flatnonzero(~held)
        _require(
            manifest, [patients[int(i)] for i in rest], 2, "splits (train, val) besides a fold"
        )
        shares = np.array([1 - config.val, config.val])
        parts = divide(features[rest], shares, _rng(config.seed, 1 + fold), complete=0)
        split_of |= {patients[int(i)]: "val" for i in rest[parts == 1]}
    return _assigned(manifest, config, split_of)


def _assigned(manifest: Manifest, config: SplitConfig, split_of: dict[str, Split]) -> Manifest:
    records = tuple(
        r if r.split in config.keep else replace(r, split=split_of[r.patient])
        for r in manifest.records
    )
    unlabelled = [r for r in records if r.split == "train" and not r.labels]
    if unlabelled:
        raise ManifestError(
            f"{len(unlabelled)} images fell to train that have no label, the first:"
            f" {unlabelled[0].image.name}",
            where=manifest.path,
            remedy="Label them, or mark them as test and keep that split",
        )
    assigned = replace(manifest, records=records)
    assigned.require_whole_patients()
    return replace(assigned, path=None)


def _require(manifest: Manifest, patients: Sequence[str], least: int, what: str) -> None:
    if len(patients) < least:
        raise ManifestError(
            f"{len(patients)} patients for {least} {what}",
            where=manifest.path,
            expected=f"at least {least} patients",
            remedy="Ask for fewer parts, or name the patients in the column 'patient'",
        )


def _rng(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, index)))
