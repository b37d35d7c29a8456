"""Base class of the tests of a method: a new one is tested by naming it and its tiny settings.

class TestMyMethod(MethodTester):
    method = "my-method"
    settings = {...}  # trains in about a second; see TINY in conftest.py
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from histoweak.classes import IGNORE_INDEX
from histoweak.data.manifest import Manifest
from histoweak.methods import METHODS
from tests import program
from tests.conftest import write_settings


class MethodTester:
    """What every method promises, shown through the command line on a tiny data set.

    `last` is how the name of the last rung begins, and `change` a setting of the stage `changed`,
    the last one that leaves a model.

    A method that must not see masks of the training split is given a data set in which they are
    empty files: it ends as if they did not matter. One that may see them is shown to need them.
    """

    method: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    last: ClassVar[str] = "segmenter"
    change: ClassVar[str] = "segmenter.fit.optim.lr=0.01"
    changed: ClassVar[str] = "segmenter"
    gate: ClassVar[str] = "none"

    @pytest.fixture(scope="class")
    @classmethod
    def table(cls, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp(cls.method) / "data"
        shutil.copytree(phantom.parent, folder)
        if not METHODS[cls.method].pixel_supervision:
            empty_training_masks(folder / phantom.name)
        return folder / phantom.name

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, table: Path) -> Path:
        """Folder of a finished run; read only."""
        folder = table.parents[1] / "run"
        ended = cls.call(table, folder)
        assert ended.code == 0, ended
        assert "skipped" not in ended.stderr
        return folder

    @classmethod
    def call(cls, table: Path, out: Path, *more: object) -> program.Ended:
        """Run the method through the command line."""
        settings = write_settings(table.parents[1] / "tiny.yaml", cls.settings)
        words = ("run", cls.method, "--data", table, "--out", out, "--config", settings)
        return program.run(*words, *more)

    def test_every_stage_leaves_its_artefact(self, run: Path) -> None:
        record = json.loads((run / "run.json").read_text())
        assert record["status"] == "done" and record["method"] == self.method
        assert record["seed"] == 0 and record["device"] and record["versions"]["torch"]
        assert len(record["data"]["digest"]) == 64
        for stage in record["stages"]:
            folder = run / stage["folder"]
            assert stage["status"] == "done"
            assert json.loads((folder / "stage.json").read_text())["key"] == stage["key"]
            assert not (folder / "_scratch").exists()
            if stage["name"].startswith(("classifier", self.changed)):
                assert (folder / "model" / "model.safetensors").stat().st_size > 0
        assert (run / "metrics.jsonl").stat().st_size > 0
        assert (run / "report.html").stat().st_size > 0
        assert (run / "model" / "config.json").is_file()

    def test_evaluation_counts_every_labelled_pixel_once(self, run: Path, table: Path) -> None:
        (path,) = (run / "stages").glob("evaluation-*/evaluation.json")
        figures = json.loads(path.read_text())
        test = Manifest.read(table).split("test")
        masks = [np.asarray(Image.open(record.mask)) for record in test if record.mask]
        labelled = sum(int((mask != IGNORE_INDEX).sum()) for mask in masks)
        assert figures["split"] == "test" and figures["images"] == len(test)
        assert figures["gate"] == self.gate and figures["selection"] == "last"
        assert figures["ladder"][-1]["name"].startswith(self.last)
        for rung in figures["ladder"]:
            assert 0 <= rung["miou_present"] <= 1 and 0 <= rung["pixel_accuracy"] <= 1
            assert confusion_total(rung["patients"]) == labelled
        assert len(list(path.parent.glob("predictions/*.png"))) == len(test)

    def test_second_run_changes_no_file(self, run: Path, table: Path) -> None:
        before = snapshot(run)
        ended = self.call(table, run)
        assert ended.code == 0, ended
        assert "begins" not in ended.stderr and "goes on" not in ended.stderr
        assert snapshot(run) == before

    def test_another_seed_gives_other_weights(self, run: Path, table: Path, tmp_path: Path) -> None:
        ended = self.call(table, tmp_path / "run", "--seed", 1)
        assert ended.code == 0, ended
        first, second = weights(run), weights(tmp_path / "run")
        assert len(first) == len(second)
        assert not set(first.values()) & set(second.values())

    def test_new_settings_of_the_last_model_reuse_what_comes_before(
        self, run: Path, table: Path, tmp_path: Path
    ) -> None:
        again = tmp_path / "run"
        shutil.copytree(run, again)
        ended = self.call(table, again, "--set", self.change)
        assert ended.code == 0, ended
        said = [line.split("] ")[1] for line in ended.stderr.splitlines() if line[0] == "["]
        cut = said.index(f"{self.changed}: begins")
        assert cut >= 1
        assert all(line.endswith(": finished before") for line in said[:cut])
        assert len(list((again / "stages").glob(f"{self.changed}-*"))) == 2

    def test_training_masks_are_read_only_under_full_supervision(
        self, run: Path, phantom: Path, table: Path, tmp_path: Path
    ) -> None:
        if not METHODS[self.method].pixel_supervision:
            # The run has ended well with masks that nobody can read: they were never opened.
            train = Manifest.read(table).split("train")
            assert all(record.mask and record.mask.stat().st_size == 0 for record in train)
            return
        shutil.copytree(phantom.parent, tmp_path / "data")
        empty_training_masks(tmp_path / "data" / phantom.name)
        ended = self.call(tmp_path / "data" / phantom.name, tmp_path / "run")
        assert ended.code == 5 and "zero bytes" in ended.error


def empty_training_masks(table: Path) -> None:
    """Turn the masks of the training split into empty files."""
    for record in Manifest.read(table).split("train"):
        assert record.mask is not None
        record.mask.write_bytes(b"")


def snapshot(run: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and content of all artefacts of a run."""
    files = [*(run / "stages").rglob("*"), *(run / "model").rglob("*")]
    found = {str(path): path for path in files if path.is_file()}
    return {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in found.items()}


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of each network that the run has trained, by the name of its stage."""
    return {
        path.parents[1].name.rsplit("-", 1)[0]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (run / "stages").glob("*/model/model.safetensors")
    }


def confusion_total(patients: Mapping[str, Any]) -> int:
    """Pixels in the confusion matrices of all patients, those without a prediction included."""
    return int(sum(np.sum(p["matrix"]) + np.sum(p["unpredicted"]) for p in patients.values()))
