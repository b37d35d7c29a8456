"""Data sets on disk: plan, labels, determinism, resuming, refusing."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from histoweak.data.manifest import Manifest
from histoweak.data.phantom import PhantomConfig, write_phantom
from histoweak.data.phantom import write as module
from histoweak.data.phantom.plan import plan_patches, portions
from histoweak.errors import OutputError

SMALL = PhantomConfig(patches=12, patch_size=96, mpp=1.5, patients=4, seed=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Manifest.read(write_phantom(tmp_path_factory.mktemp("phantom") / "set", SMALL))


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_writes_what_was_asked(made: Manifest) -> None:
    assert made.path is not None
    assert len(made.records) == 12
    assert made.classes.names == ("tumour", "stroma", "lymphocytes", "necrosis")
    assert json.loads((made.path.parent / "phantom.json").read_text())["patches"] == 12
    for record in made.records:
        assert record.mpp == 1.5
        with Image.open(record.image) as image:
            assert (image.size, image.mode) == ((96, 96), "RGB")


def test_labels_agree_with_masks_counted_independently(made: Manifest) -> None:
    for record in made.records:
        assert record.mask is not None
        with Image.open(record.mask) as picture:
            assert picture.mode == "P"
            counts = Counter(np.asarray(picture).ravel().tolist())
        assert set(counts) <= {0, 1, 2, 3, 255}
        assert record.labels == tuple(int(counts[k] > 0.05 * 96 * 96) for k in range(4))
        assert any(record.labels)


def test_no_patient_is_in_two_splits(made: Manifest) -> None:
    splits: dict[str, set[str]] = {}
    for record in made.records:
        splits.setdefault(record.patient, set()).add(record.split)
    assert len(splits) == 4
    assert all(len(found) == 1 for found in splits.values())
    assert {s for found in splits.values() for s in found} == {"train", "val", "test"}


def test_single_tissue_and_white_come_in_the_chosen_shares(made: Manifest) -> None:
    assert sum(sum(r.labels) == 1 for r in made.records) == 6
    whites = 0
    for record in made.records:
        assert record.mask is not None
        whites += int((np.asarray(Image.open(record.mask)) == 255).any())
    assert whites == 3


def test_the_plan_keeps_its_proportions() -> None:
    config = PhantomConfig(patches=1000, single_tissue=0.37, proportions=(0.5, 0.5, 0.25, 0.0))
    plans = plan_patches(config)
    assert sum(len(p.tissues) == 1 for p in plans) == 370
    alone = Counter(p.tissues[0] for p in plans if len(p.tissues) == 1)
    assert dict(alone) == {0: 148, 1: 148, 2: 74}
    assert all(3 not in p.tissues and len(set(p.tissues)) == len(p.tissues) for p in plans)
    patients = {p.patient: p.split for p in plans}
    assert Counter(patients.values()) == {"train": 14, "val": 4, "test": 6}


def test_portions_sum_and_respect_the_least() -> None:
    assert portions(4, np.array([0.9, 0.05, 0.05]), least=1) == [2, 1, 1]
    assert portions(10, np.array([1.0, 0.0, 1.0])) == [5, 0, 5]
    for total in range(3, 40):
        assert sum(portions(total, np.array([0.6, 0.15, 0.25]), least=1)) == total


def test_the_same_files_for_any_number_of_workers(tmp_path: Path, made: Manifest) -> None:
    assert made.path is not None
    write_phantom(tmp_path / "two", SMALL, workers=2)
    assert _digests(tmp_path / "two") == _digests(made.path.parent)


def test_resumes_with_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SMALL.model_copy(update={"patches": 5, "patch_size": 32})
    out = tmp_path / "set"
    rendered = []
    real = module.render_field

    def stopping(*args: object) -> object:
        if len(rendered) == 3:
            raise KeyboardInterrupt
        rendered.append(args)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "render_field", stopping)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(out, config)
    rendered.clear()
    path = write_phantom(out, config)
    assert len(rendered) == 2
    # A mask that a crash of the machine left torn is made again.
    first = Manifest.read(path).records[0]
    assert first.mask is not None
    first.mask.write_bytes(first.mask.read_bytes()[:40])
    rendered.clear()
    write_phantom(out, config)
    assert len(rendered) == 1
    monkeypatch.undo()
    write_phantom(tmp_path / "fresh", config)
    assert _digests(out) == _digests(tmp_path / "fresh")


def test_refuses_a_folder_of_other_settings_or_files(tmp_path: Path) -> None:
    config = PhantomConfig(patches=3, patch_size=16, patients=3)
    write_phantom(tmp_path / "set", config)
    before = _digests(tmp_path / "set")
    with pytest.raises(OutputError, match=r"seed = 0.*expected seed = 1"):
        write_phantom(tmp_path / "set", config.model_copy(update={"seed": 1}))
    assert _digests(tmp_path / "set") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="other files"):
        write_phantom(tmp_path / "mine", config)
    with pytest.raises(OutputError):
        write_phantom(tmp_path / "mine" / "thesis.txt", config)


@pytest.mark.parametrize(
    "values",
    [
        {"splits": (0.5, 0.2, 0.2)},
        {"patients": 2},
        {"patches": 3},
        {"proportions": (1, 0, 0, 0)},
        {"proportions": (0, 0, 0, 0), "single_tissue": 1.0},
        {"patchsize": 224},
    ],
)
def test_refuses_settings_that_cannot_be_met(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig.model_validate(values)
