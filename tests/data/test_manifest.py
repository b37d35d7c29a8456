import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest, Record
from histoweak.errors import HistoweakError, ManifestError, OutputError


def table(folder: Path, text: str, files: str = "") -> Path:
    """Write a CSV manifest and the (empty) files it names."""
    folder.mkdir(exist_ok=True)
    for name in files.split():
        (folder / name).write_bytes(name.encode())
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_full_table(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "image,tumour,stroma,mask,patient,slide,split,mpp,source,x,y,meta.note\n"
        "a.png,1,0,m.png,p1,s1,training,0.5,whole,112,56,hello\n"
        '"b.png",0,1,,p2,s2,Validation,,,,,"x, y"\n'
        "\n"
        "c.png,,,,p3,,test,0.25,,,,\n",
        "a.png b.png c.png m.png",
    )
    manifest = Manifest.read(path)
    assert manifest.classes.names == ("tumour", "stroma")
    assert manifest.records == (
        Record(tmp_path / "a.png", (1, 0), tmp_path / "m.png", "p1", "s1", "train", 0.5, "whole",
               112, 56, row=2),
        Record(tmp_path / "b.png", (0, 1), None, "p2", "s2", "val", row=3),
        Record(tmp_path / "c.png", (), None, "p3", "c", "test", 0.25, row=5),
    )  # fmt: skip
    assert manifest.split("val") == (manifest.records[1],)


def test_bom_crlf_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    (tmp_path / "a.png").touch()
    path.write_bytes("\ufeffimage, tumour\r\na.png , 1\r\n".encode())
    assert Manifest.read(path).records[0].labels == (1,)


def test_defaults_of_slide_and_patient(tmp_path: Path) -> None:
    text = "image,t,slide,source\nd/a.png,1,,\ne/a.png,1,s,\nf.png,1,,big\n"
    found = Manifest.read(table(tmp_path, text), check_files=False).records
    assert [(r.slide, r.patient) for r in found] == [("d/a", "d/a"), ("s", "s"), ("big", "big")]


def test_label_lists(tmp_path: Path) -> None:
    text = "image,labels\na.png,tumour; stroma\nb.png,stroma\nc.png,\n"
    path = table(tmp_path, text, "a.png b.png c.png")
    manifest = Manifest.read(path)
    assert manifest.classes.names == ("stroma", "tumour")
    assert [r.labels for r in manifest.records] == [(1, 1), (1, 0), ()]
    (tmp_path / "classes.json").write_text('{"names": ["tumour", "stroma", "fat"]}')
    assert [r.labels for r in Manifest.read(path).records] == [(1, 1, 0), (0, 1, 0), ()]


def test_parquet_with_lists_and_missing_values(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    columns = {
        "image": ["a.png", "b.png"],
        "labels": [["tumour", "stroma"], []],
        "mpp": [0.5, float("nan")],
        "patient": [7, None],
        "x": [3.0, None],
    }
    path = tmp_path / "split=train.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    first, second = Manifest.read(path).records
    assert (first.labels, first.mpp, first.patient, first.x) == ((1, 1), 0.5, "7", 3)
    assert (second.labels, second.mpp, second.patient, second.x) == ((0, 0), None, "b", 0)


@pytest.mark.parametrize("name", ["again.csv", "again.parquet"])
def test_written_tables_read_back(tmp_path: Path, name: str) -> None:
    source = table(
        tmp_path / "data",
        "image,a,b,mask,split,mpp,x\nä.png,1,0,m.png,train,0.1,5\nb.png,,,,test,,\n",
        "ä.png b.png m.png",
    )
    before = Manifest.read(source)
    written = before.write(tmp_path / "elsewhere" / name)
    after = Manifest.read(tmp_path / "elsewhere" / name)
    assert written.path == after.path
    assert after.classes == before.classes
    assert after.digest() == before.digest()
    for old, new in zip(before.records, after.records, strict=True):
        paths = (new.image.resolve(), new.mask.resolve() if new.mask else None)
        assert replace(new, image=paths[0], mask=paths[1], row=old.row) == old
    assert sorted(p.name for p in (tmp_path / "elsewhere").iterdir()) == [name, "classes.json"]


def test_paths_hold_where_the_folder_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep" / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "deep" / "out")
    source = Manifest.read(table(tmp_path / "data", "image,t\na.png,1\n", "a.png"))
    source.write(tmp_path / "out" / "m.csv")
    assert Manifest.read(tmp_path / "out" / "m.csv").records[0].image.is_file()


def test_other_classes_in_the_folder_are_not_overwritten(tmp_path: Path) -> None:
    Manifest(ClassSet(("a",)), ()).write(tmp_path / "m.csv")
    with pytest.raises(OutputError, match=r"other classes"):
        Manifest(ClassSet(("b",)), ()).write(tmp_path / "n.csv")
    with pytest.raises(ManifestError, match=r"class name 'mask'"):
        Manifest(ClassSet(("mask",)), ()).write(tmp_path / "o" / "m.csv")


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written"):
        Manifest(ClassSet(("a",)), ()).write(tmp_path / "file" / "m.csv")


WRONG = {
    "no image column": ("img,tumour\na.png,1\n", "no column 'image'"),
    "typo of image": ("imge,tumour\na.png,1\n", "Did you mean 'imge'"),
    "no classes": ("image,split\na.png,train\n", "no class columns"),
    "label 2": ("image,tumour\na.png,2\n", "row 2, column tumour: label is '2'.*0 or 1"),
    "label yes": ("image,tumour,stroma\na.png,1,0\nb.png,1,yes\n", "row 3, column stroma"),
    "half a label": ("image,a,b\na.png,1,\n", "row 2, column b: label is ''"),
    "typo of patient": ("image,tumour,patinet\na.png,1,p\n", "Did you mean 'patient'"),
    "mpp zero": ("image,tumour,mpp\na.png,1,0\n", "mpp is '0'.*microns per pixel"),
    "mpp inf": ("image,tumour,mpp\na.png,1,inf\n", "mpp is 'inf'"),
    "mpp word": ("image,tumour,mpp\na.png,1,20x\n", "mpp is '20x'"),
    "x in halves": ("image,tumour,x\na.png,1,0.5\n", "x is '0.5'.*whole number"),
    "x infinite": ("image,tumour,x\na.png,1,inf\n", "x is 'inf'"),
    "split": ("image,tumour,split\na.png,1,trian\n", "split is 'trian'.*train, val, test"),
    "train unlabelled": ("image,tumour,split\na.png,,train\n", "train row without a label"),
    "twice": ("image,tumour\na.png,1\n./a.png,1\n", "stands in rows 2 and 3"),
    "missing": ("image,tumour\na.png,1\nq.png,1\nr.png,0\n", "2 of 3 files are missing: row 3"),
    "nul": ("image,tumour\na\\0b.png,1\n".replace("\\0", "\0"), "missing|cannot be read"),
    "empty image": ("image,tumour\n,1\n", "row 2, column image: no image"),
    "short row": ("image,tumour\na.png\n", "row 2: 1 cells.*2 as in the header"),
    "long row": ("image,tumour\na.png,1,0\n", "row 2: 3 cells"),
    "column twice": ("image,tumour,tumour\na.png,1,1\n", "column 'tumour' stands twice"),
    "pandas index": (",image,tumour\n0,a.png,1\n", "column 1 has no name.*index=False"),
    "semicolons": ("image;tumour\na.png;1\n", "no column 'image'"),
    "empty": ("", "is empty"),
    "open quote": ('image,tumour\n"a.png,1\n', "cannot be read"),
    "lists and columns": ("image,labels,tumour\na.png,tumour,1\n", "unknown column 'tumour'"),
    "two splits": (
        "image,tumour,patient,split\na.png,1,p,train\nb.png,1,p,test\n",
        "patient 'p' is in two splits: train .row 2. and test .row 3.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tables(tmp_path: Path, name: str) -> None:
    text, message = WRONG[name]
    path = table(tmp_path, text, "a.png b.png")
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.read(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"No such file"):
        Manifest.read(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match=r"suffix '.xlsx'"):
        Manifest.read(tmp_path / "none.xlsx")
    for name in ("a.csv", "a.parquet"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00garbage")
        with pytest.raises(ManifestError, match=r"cannot be read"):
            Manifest.read(tmp_path / name)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(ManifestError, match=r"directory"):
        Manifest.read(tmp_path / "d.csv")


def test_class_file_fixes_the_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "image,stroma,tumour\na.png,0,1\n", "a.png")
    classes = tmp_path / "classes.json"
    classes.write_text('{"names": ["tumour", "stroma"]}')
    assert Manifest.read(path).records[0].labels == (1, 0)
    table(tmp_path, "image,stroma,tumuor\na.png,0,1\n")
    with pytest.raises(ManifestError, match=r"unknown column 'tumuor'.*Did you mean 'tumour'"):
        Manifest.read(path)
    table(tmp_path, "image,stroma\na.png,0\n")
    with pytest.raises(ManifestError, match=r"no column for class 'tumour'"):
        Manifest.read(path)
    table(tmp_path, "image,labels\na.png,strma\n")
    with pytest.raises(ManifestError, match=r"unknown class 'strma'.*Did you mean 'stroma'"):
        Manifest.read(path)
    table(tmp_path, "image,split\na.png,test\n")
    assert Manifest.read(path).records[0].labels == ()
    classes.write_text('{"names": 3}')
    with pytest.raises(ManifestError, match=r"not a class file"):
        Manifest.read(path)


def test_unassigned_tables_may_be_unlabelled_and_mixed(tmp_path: Path) -> None:
    text = "image,t,patient,split\na.png,,p,train\nb.png,1,p,test\n"
    path = table(tmp_path, text, "a.png b.png")
    assert len(Manifest.read(path, check_splits=False).records) == 2


def test_require_trainable() -> None:
    classes = ClassSet(("tumour", "stroma"))
    test = Record(Path("t.png"), (1, 1), patient="t", split="test")
    with pytest.raises(ManifestError, match=r"no train rows among 1 .found: test."):
        Manifest(classes, (test,)).require_trainable()
    train = Record(Path("a.png"), (1, 0), patient="a", split="train")
    with pytest.raises(ManifestError, match=r"class 'stroma' is absent from all 1 train rows"):
        Manifest(classes, (test, train)).require_trainable()
    both = replace(train, labels=(0, 1), image=Path("b.png"))
    Manifest(classes, (test, train, both)).require_trainable()


def test_without_masks_hides_those_of_train_only() -> None:
    mask = Path("m.png")
    records = tuple(Record(Path(s), (1,), mask, s, split=s) for s in ("train", "val", "test"))
    bare = Manifest(ClassSet(("t",)), records).without_masks()
    assert [r.mask for r in bare.records] == [None, mask, mask]


def test_digest_follows_content_not_place(tmp_path: Path) -> None:
    text = "image,t,mask,patient,slide\na.png,1,m.png,p,s\n"
    first = Manifest.read(table(tmp_path / "one", text, "a.png m.png"))
    moved = Manifest.read(table(tmp_path / "two", text, "a.png m.png"))
    assert first.digest() == moved.digest()
    seen = {first.digest()}
    record = first.records[0]
    for changed in (
        replace(first, classes=ClassSet(("u",))),
        replace(first, records=(replace(record, labels=(0,)),)),
        replace(first, records=(replace(record, mask=None),)),
        replace(first, records=(replace(record, split="val"),)),
        replace(first, records=(record, record)),
    ):
        seen.add(changed.digest())
    (tmp_path / "one" / "a.png").write_bytes(b"other")
    seen.add(first.digest())
    assert len(seen) == 7
    (tmp_path / "one" / "a.png").unlink()
    with pytest.raises(HistoweakError, match=r"a\.png"):
        first.digest()


def test_digest_definition(tmp_path: Path) -> None:
    """The digest is part of what a run's folder is keyed by: it must not drift unnoticed."""
    manifest = Manifest.read(table(tmp_path, "image,t\na.png,1\n", "a.png"))
    expected = hashlib.sha256(
        b'{"colors": [[213, 94, 0]], "names": ["t"], "white": null}'
        + json.dumps(
            ["a.png", [1], "a", "a", "", None, "", 0, 0,
             [5, hashlib.sha256(b"a.png").hexdigest()], None]
        ).encode()
    )  # fmt: skip
    assert manifest.digest() == expected.hexdigest()


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_random_tables_read_or_refuse(tmp_path: Path, data: st.DataObject) -> None:
    cell = st.one_of(
        st.sampled_from(["", "0", "1", "a.png", "train", "nan", "1e999", "\0", '"', "tumour"]),
        st.text(max_size=4),
    )
    names = st.sampled_from(["image", "tumour", "labels", "mpp", "x", "split", "patient", "mask"])
    header = data.draw(st.lists(names, min_size=1, max_size=5, unique=True))
    rows = data.draw(
        st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), max_size=3)
    )
    text = "\n".join(",".join(row) for row in [header, *rows])
    path = tmp_path / "m.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ManifestError):
        Manifest.read(path, check_files=False)
