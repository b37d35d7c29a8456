"""A data set of patch labels alone, without one mask, can be learned from and applied."""

from dataclasses import replace
from pathlib import Path

from histoweak.data.manifest import Manifest
from tests import program
from tests.conftest import TINY, write_settings


def test_labels_alone_end_in_a_model(data: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(data)
    bare = replace(manifest, records=tuple(replace(r, mask=None) for r in manifest.records))
    table = data.parent / "labels-only.csv"
    bare.write(table)
    settings = write_settings(tmp_path / "tiny.yaml", TINY["vgg-cam"])
    out = tmp_path / "run"
    ended = program.run("run", "vgg-cam", "--data", table, "--out", out, "--config", settings)
    assert ended.code == 0, ended
    assert "nothing measured: no val or test image has a mask" in ended.stdout
    assert (out / "model" / "model.safetensors").is_file()
    assert not list((out / "stages").glob("evaluation-*"))
