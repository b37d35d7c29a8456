import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from histoweak.classes import ClassSet
from histoweak.data.balance import deviation, divide
from histoweak.data.manifest import Manifest, Record
from histoweak.data.split import SplitConfig, split_manifest, write_splits
from histoweak.errors import ManifestError, OutputError

CLASSES = ClassSet(("tumour", "stroma", "fat"))


def data_set(patients: int = 12, seed: int = 0, split: str = "") -> Manifest:
    """Patients of unequal size and mix; most have several classes."""
    rng = np.random.default_rng(seed)
    records = []
    for p in range(patients):
        mix = rng.uniform(0.1, 0.9, 3)
        for i in range(int(rng.integers(3, 30))):
            label = tuple(int(v) for v in rng.random(3) < mix)
            records.append(Record(Path(f"p{p}_{i}.png"), label, None, f"p{p}", split=split))
    return Manifest(CLASSES, tuple(records))


def counts(features: np.ndarray, parts: np.ndarray, n_parts: int) -> np.ndarray:
    out = np.zeros((n_parts, features.shape[1]))
    for row, part in zip(features, parts, strict=True):
        out[part] += row
    return out


def test_deviation_by_hand() -> None:
    shares = np.array([0.5, 0.5])
    assert deviation(np.array([[2.0, 0.0], [2.0, 0.0]]), shares) == 0.0
    assert deviation(np.array([[3.0, 1.0], [1.0, 0.0]]), shares) == pytest.approx(
        2 * 0.25**2 + 2 * 0.5**2
    )


@pytest.mark.parametrize("seed", range(6))
def test_few_groups_are_divided_as_well_as_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(1, 20, (6, 3)).astype(float)
    shares = np.array([0.6, 0.2, 0.2])
    best = min(
        float(deviation(counts(features, np.array(parts), 3), shares))
        for parts in itertools.product(range(3), repeat=6)
        if len(set(parts)) == 3
    )
    got = divide(features, shares, np.random.default_rng(0))
    assert float(deviation(counts(features, got, 3), shares)) == pytest.approx(best)


def test_many_groups_are_divided_better_than_by_chance() -> None:
    rng = np.random.default_rng(1)
    features = rng.integers(0, 30, (150, 4)).astype(float)
    shares = np.full(5, 0.2)
    got = divide(features, shares, np.random.default_rng(0))
    draws = [rng.permutation(np.arange(150) % 5) for _ in range(200)]
    chance = [float(deviation(counts(features, draw, 5), shares)) for draw in draws]
    assert float(deviation(counts(features, got, 5), shares)) < 0.01 * min(chance)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_part_stays_empty(data: st.DataObject) -> None:
    n_parts = data.draw(st.integers(1, 5))
    groups = data.draw(st.integers(n_parts, 9))
    rows = st.lists(st.integers(0, 9), min_size=2, max_size=2)
    features = np.array(data.draw(st.lists(rows, min_size=groups, max_size=groups)), float)
    raw = np.array(data.draw(st.lists(st.integers(1, 9), min_size=n_parts, max_size=n_parts)))
    parts = divide(features, raw / raw.sum(), np.random.default_rng(0))
    assert set(parts.tolist()) == set(range(n_parts))


def test_a_rare_class_stays_in_train() -> None:
    for seed in range(5):
        base = data_set(10, seed)
        records = tuple(
            replace(r, labels=(*r.labels[:2], int(r.patient == "p3"))) for r in base.records
        )
        config = SplitConfig(val=0.2, test=0.4, seed=seed)
        (found,) = split_manifest(replace(base, records=records), config)
        found.require_trainable()


def test_shares() -> None:
    manifest = data_set(40)
    (found,) = split_manifest(manifest, SplitConfig(val=0.1, test=0.2, seed=3))
    found.require_whole_patients()
    assert [r.image for r in found.records] == [r.image for r in manifest.records]
    total = len(found.records)
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        part = found.split(name)
        assert len(part) / total == pytest.approx(share, abs=0.03)
        for k in range(3):
            mix = sum(r.labels[k] for r in part) / len(part)
            whole = sum(r.labels[k] for r in manifest.records) / total
            assert mix == pytest.approx(whole, abs=0.08)
    (again,) = split_manifest(manifest, SplitConfig(val=0.1, test=0.2, seed=3))
    assert again == found


@pytest.mark.parametrize("hold", ["test", "val"])
def test_every_patient_is_held_out_in_one_fold(hold: str) -> None:
    manifest = data_set(13)
    config = SplitConfig(mode="folds", folds=4, hold=hold)  # type: ignore[arg-type]
    found = split_manifest(manifest, config)
    held: Counter[str] = Counter()
    for fold in found:
        fold.require_whole_patients()
        held.update({r.patient for r in fold.split(hold)})
        assert {r.split for r in fold.records} == {"train", hold}
    assert held == Counter({f"p{i}": 1 for i in range(13)})


def test_folds_with_val() -> None:
    found = split_manifest(data_set(13), SplitConfig(mode="folds", folds=4, val=0.2))
    for fold in found:
        fold.require_whole_patients()
        assert {r.split for r in fold.records} == {"train", "val", "test"}


def test_leave_one_patient_out() -> None:
    found = split_manifest(data_set(5), SplitConfig(mode="leave-one-out"))
    assert [{r.patient for r in fold.split("test")} for fold in found] == [
        {f"p{i}"} for i in range(5)
    ]
    assert all({r.split for r in fold.records} == {"train", "test"} for fold in found)


def test_kept_splits_stay() -> None:
    old = data_set(20)
    records = tuple(replace(r, split="test" if r.patient < "p12" else "") for r in old.records)
    mixed = replace(old, records=records)
    tests = {r.image for r in mixed.split("test")}
    (found,) = split_manifest(mixed, SplitConfig(val=0.3, keep=("test",)))
    assert {r.image for r in found.split("test")} == tests
    assert len(found.split("val")) / (len(old.records) - len(tests)) == pytest.approx(0.3, abs=0.1)
    for fold in split_manifest(mixed, SplitConfig(mode="folds", hold="val", keep=("test",))):
        assert {r.image for r in fold.split("test")} == tests
    torn = (replace(records[0], split=""), *records[1:])
    with pytest.raises(ManifestError, match=r"patient 'p0' is in two splits"):
        split_manifest(replace(old, records=torn), SplitConfig(keep=("test",)))


def test_too_few_patients() -> None:
    manifest = data_set(3)
    with pytest.raises(ManifestError, match=r"3 patients for 5 folds.*at least 5"):
        split_manifest(manifest, SplitConfig(mode="folds"))
    with pytest.raises(ManifestError, match=r"1 patients for 2 patients"):
        split_manifest(data_set(1), SplitConfig(mode="leave-one-out"))
    with pytest.raises(ManifestError, match=r"2 patients for 3 splits .train, val, test."):
        split_manifest(data_set(2), SplitConfig(val=0.1))


def test_unlabelled_images_cannot_fall_to_train() -> None:
    bare = replace(
        data_set(5), records=tuple(Record(Path(f"{i}"), (), None, f"{i}") for i in "abc")
    )
    with pytest.raises(ManifestError, match=r"fell to train that have no label"):
        split_manifest(bare, SplitConfig())


def test_wrong_settings() -> None:
    with pytest.raises(ValidationError, match="nothing for train"):
        SplitConfig(val=0.5, test=0.5)
    with pytest.raises(ValidationError, match="held-out part becomes val"):
        SplitConfig(mode="folds", hold="val", val=0.1)


def test_writing(tmp_path: Path) -> None:
    for record in data_set(6).records:
        (tmp_path / record.image).touch()
    manifest = replace(
        data_set(6),
        records=tuple(replace(r, image=tmp_path / r.image) for r in data_set(6).records),
    )
    config = SplitConfig(mode="folds", folds=3)
    folds = split_manifest(manifest, config)
    paths = write_splits(folds, tmp_path / "folds", config)
    assert [p.name for p in paths] == ["fold_0.csv", "fold_1.csv", "fold_2.csv"]
    for path, fold in zip(paths, folds, strict=True):
        assert [r.split for r in Manifest.read(path).records] == [r.split for r in fold.records]
    with pytest.raises(OutputError, match=r"fold_0\.csv: exists already"):
        write_splits(folds, tmp_path / "folds", config)
    write_splits(folds, tmp_path / "folds", config, overwrite=True)
