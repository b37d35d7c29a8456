import os
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from histoweak.cli.data import app
from histoweak.data.layouts import importing
from histoweak.data.layouts.importing import import_data
from histoweak.data.layouts.layout import Options
from histoweak.data.layouts.masks import map_values
from histoweak.data.layouts.registry import LAYOUTS
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError, ImageError, ManifestError, OutputError

from . import trees

LUAD = LAYOUTS["luad-histoseg"]


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_map_values_against_a_loop() -> None:
    rng = np.random.default_rng(3)
    values = {2: 0, 9: 1, 4: 255}
    mask = rng.choice(list(values), (5, 6)).astype(np.uint8)
    expected = [[values[int(v)] for v in row] for row in mask]
    assert map_values(mask, values, Path("m")).tolist() == expected
    with pytest.raises(ImageError, match="unknown value 9"):
        map_values(mask, {2: 0, 4: 255}, Path("m"))


def test_no_layout_fits(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, layout in LAYOUTS.items():
        with pytest.raises(ManifestError, match="no other layout fits") as error:
            import_data(layout, tmp_path / "empty", tmp_path / "o" / "m.csv", Options())
        assert name in str(error.value)
        assert "expected" in str(error.value)
    with pytest.raises(ManifestError, match="does not exist"):
        import_data(LUAD, tmp_path / "none", tmp_path / "o" / "m.csv", Options())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_in_place_of_the_folder(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(b"PK")
    with pytest.raises(ManifestError):
        import_data(LAYOUTS[name], file, tmp_path / "o" / "m.csv", Options())


def test_nearest_for_every_tree(tmp_path: Path) -> None:
    trees.glas(tmp_path / "glas")
    trees.camel(tmp_path / "camel")
    trees.class_folders(tmp_path / "class-folders")
    trees.bcss(tmp_path / "bcss")
    for folder in tmp_path.iterdir():
        with pytest.raises(ManifestError, match=f"'{folder.name}' would fit"):
            import_data(LUAD, folder, tmp_path.parent / "o" / "m.csv", Options())


def test_again_keeps_finished_masks_and_sees_changed_ones(tmp_path: Path) -> None:
    root, out = trees.luad(tmp_path / "luad"), tmp_path / "out" / "m.csv"
    first = import_data(LUAD, root, out, Options()).manifest
    masks = [r.mask for r in first.records if r.mask is not None]
    times = [m.stat().st_mtime_ns for m in masks]
    source = trees.mask(root / "test" / "mask" / "387709-10004-55944.png", [3])
    os.utime(source, ns=(times[1] + 10**9, times[1] + 10**9))
    second = import_data(LUAD, root, out, Options()).manifest
    assert masks[0].stat().st_mtime_ns == times[0]
    assert trees.read(masks[1]) == [3] * 8
    assert second.split("test")[0].labels == (0, 0, 0, 1)
    import_data(LUAD, root, tmp_path / "out" / "m.parquet", Options())
    assert len(Manifest.read(tmp_path / "out" / "m.parquet").records) == 5


def test_killed_midway_then_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = trees.luad(tmp_path / "luad"), tmp_path / "out" / "m.csv"
    convert, done = importing.convert_mask, []

    def once(*words: object) -> object:
        if done:
            raise KeyboardInterrupt
        done.append(words)
        return convert(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "convert_mask", once)
    with pytest.raises(KeyboardInterrupt):
        import_data(LUAD, root, out, Options())
    assert not out.exists()
    monkeypatch.undo()
    import_data(LUAD, root, out, Options())
    assert len(Manifest.read(out).records) == 5
    assert not list(out.parent.rglob("*.tmp"))


def test_folders_of_other_data_are_refused(tmp_path: Path) -> None:
    root = trees.luad(tmp_path / "luad")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m.csv").write_text("image,a\n")
    with pytest.raises(OutputError, match="another data set"):
        import_data(LUAD, root, tmp_path / "out" / "m.csv", Options())
    pairs = trees.pairs(tmp_path / "p")
    options = Options(("other", "gland"), values=(0, 1))
    with pytest.raises(OutputError, match="another data set \\(masks\\)"):
        import_data(LAYOUTS["image-mask"], pairs, pairs / "m.csv", options)
    import_data(LUAD, root, tmp_path / "o" / "m.csv", Options())
    other = trees.wsss4luad(tmp_path / "w")
    with pytest.raises(OutputError, match=r"holds another data set.*--out wsss4luad/n\.csv"):
        import_data(LAYOUTS["wsss4luad"], other, tmp_path / "o" / "n.csv", Options())


def test_one_wrong_name_is_to_be_corrected_whatever_else_would_fit(tmp_path: Path) -> None:
    root = trees.luad(tmp_path / "luad")
    trees.image(root / "train" / "1-2-3-[1 0 1].png")
    told = r"label \[1 0 1\] .*Correct the name; the layout 'image-mask' would fit"
    with pytest.raises(ManifestError, match=told):
        import_data(LUAD, root, tmp_path / "o" / "m.csv", Options())


def test_damaged_and_misfit_masks_are_skipped_and_listed(tmp_path: Path) -> None:
    root, out = trees.luad(tmp_path / "luad"), tmp_path / "out" / "m.csv"
    (root / "val" / "mask" / "385277-44539-46781.png").write_bytes(b"")
    assert len(import_data(LUAD, root, out, Options()).manifest.records) == 4
    assert "385277" in (tmp_path / "out" / "skipped.csv").read_text()
    trees.image(root / "test" / "img" / "387709-10004-55944.png", (9, 9))
    with pytest.raises(ImageError, match="2 of 5"):
        import_data(LUAD, root, out, Options())


def test_patients_that_splits_divide(tmp_path: Path) -> None:
    root, out = trees.luad(tmp_path / "luad"), tmp_path / "out" / "m.csv"
    trees.image(root / "train" / "387709-1-2-[1 0 0 0].png")
    notes = import_data(LUAD, root, out, Options()).notes
    assert "1 of 4 patients are in more than one split, as 387709" in notes[0]
    with pytest.raises(ManifestError, match="two splits"):
        Manifest.read(out)
    import_data(LUAD, root, out, Options(), part_patients=True)
    patients = {r.patient for r in Manifest.read(out).records}
    assert {"387709 (train)", "387709 (test)", "1031280"} <= patients


def test_options_that_a_layout_does_not_use(tmp_path: Path) -> None:
    root = trees.luad(tmp_path / "luad")
    with pytest.raises(ConfigError, match="--classes is of no use"):
        import_data(LUAD, root, tmp_path / "o" / "m.csv", Options(classes=("a", "b")))


def test_command(tmp_path: Path) -> None:
    root, out = trees.class_folders(tmp_path / "c"), tmp_path / "o" / "m.parquet"
    words = ("import", "class-folders", root, "--out", out, "--classes", "normal, malignant")
    result = call(*words, "--patient", "/(P[0-9]+)/", "--split", "test")
    assert result.exit_code == 0, result.exception
    assert "test: 3 images of 2 patients; with normal 1, malignant 2" in result.stdout
    assert isinstance(call(*words, "--patient", "(").exception, ConfigError)
    assert isinstance(call(*words, "--values", "a").exception, ConfigError)
    wrong = call("import", "luad", root, "--out", out)
    assert "Did you mean 'luad-histoseg'?" in str(wrong.exception)


def test_layouts_command_lists_all() -> None:
    text = call("layouts").stdout
    for layout in LAYOUTS.values():
        assert re.search(f"^{layout.name}$", text, re.MULTILINE)
        assert layout.terms in text
