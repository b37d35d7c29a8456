"""Wrong input ends with one message that names place, value and remedy, and with its exit code."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import program
from tests.conftest import TINY, write_settings
from tests.faults import wrong

CSV = "Give a CSV file (UTF-8, commas, a header line) or a Parquet file"
REPAIR = "(expected at most 1, and one that can). Repair or remove the damaged files"
CORRECT = "Correct the value; docs/reference/configuration.md lists them"


def nothing(table: Path) -> None:
    """The data are right; the words are not."""


@dataclass(frozen=True)
class Wrong:
    """One mistake: exit code, the whole of what must be said, and how the mistake is made.

    {table}, {data} (its folder) and {out} stand for the paths, KEY for that of a stage.
    """

    code: int
    message: str
    spoil: wrong.Spoil = nothing
    words: tuple[str, ...] = ()
    table: str = "{table}"
    method: str = "vgg-cam"


CASES: dict[str, Wrong] = {
    "manifest missing": Wrong(
        4,
        f"{{data}}/train.csv: cannot be read (No such file or directory). {CSV}",
        table="{data}/train.csv",
    ),
    "manifest unreadable": Wrong(
        4,
        "{table}: cannot be read ('utf-8' codec can't decode byte 0xff in position 13: "
        f"invalid start byte). {CSV}",
        wrong.no_text,
    ),
    "manifest of another kind": Wrong(
        4,
        f"{{data}}/classes.json: suffix '.json' (expected .csv or .parquet). {CSV}",
        table="{data}/classes.json",
    ),
    "unknown column": Wrong(
        4,
        "{table}: unknown column 'patiant'. Did you mean 'patient'?",
        wrong.column_renamed("patient", "patiant"),
    ),
    "class without a column": Wrong(
        4,
        "{table}: no column for class 'stroma' (expected columns tumour, stroma, lymphocytes, "
        "necrosis as in classes.json). Add the column, or correct classes.json",
        wrong.column_renamed("stroma", "meta.stroma"),
    ),
    "unknown class": Wrong(
        4,
        "{table}, row 4, column labels: unknown class 'tumuor' (expected one of ['tumour', "
        "'stroma', 'lymphocytes', 'necrosis']). Did you mean 'tumour'?",
        wrong.change(wrong.label_lists),
    ),
    "label not 0 or 1": Wrong(
        4,
        "{table}, row 5, column tumour: label is '2' (expected 0 or 1). Correct the cell; if "
        "'tumour' is no class, name the column 'meta.tumour'",
        wrong.cell(3, "tumour", "2"),
    ),
    "image missing": Wrong(
        4,
        "{table}: 1 of 48 files are missing: row 5 image '{data}/images/gone.png'. Correct the "
        "paths, which count from the table's own folder",
        wrong.cell(3, "image", "images/gone.png"),
    ),
    "images truncated": Wrong(
        5,
        "{data}/images/p000_000000.png: 2 of 16 images cannot be used, the first: cannot be "
        "decoded (image file is truncated); all are listed in {out}/work/frames-KEY/skipped.csv "
        + REPAIR,
        wrong.damaged("train", "image", wrong.truncate),
    ),
    "images of zero bytes": Wrong(
        5,
        "{data}/images/p000_000000.png: 2 of 16 images cannot be used, the first: has zero "
        f"bytes; all are listed in {{out}}/work/frames-KEY/skipped.csv {REPAIR}",
        wrong.damaged("train", "image", wrong.empty),
    ),
    "masks of another size": Wrong(
        5,
        "{data}/images/p002_000002.png: 2 of 4 images cannot be used, the first: "
        "{data}/masks/p002_000002.png: mask is 64x80 (height x width) (expected 64x64 as its "
        f"image) {REPAIR}",
        wrong.damaged("test", "mask", wrong.enlarge),
    ),
    "masks with unknown values": Wrong(
        5,
        "{data}/images/p002_000002.png: 2 of 4 images cannot be used, the first: "
        "{data}/masks/p002_000002.png: mask has the unknown values 4, 200 (expected 0 to 3, or "
        f"255 for ignored pixels) {REPAIR}",
        wrong.damaged("test", "mask", wrong.unknown_values),
    ),
    "class absent from train": Wrong(
        4,
        "{table}: class 'stroma' is absent from all 16 train rows. Split anew with another seed, "
        "add images of it, or drop the class",
        wrong.class_absent("stroma"),
    ),
    "no train rows": Wrong(
        4,
        "{table}: no train rows among 24 (found: test, unassigned, val). Write 'train' in the "
        "column split, or run `histoweak data split`",
        wrong.split_renamed("train", ""),
    ),
    "nothing to score": Wrong(
        4,
        "{table}: no row of split 'test' has a mask (expected held-out images with masks, to "
        "measure what was learned). Add masks to val or test rows; `histoweak data split` "
        "assigns splits",
        wrong.column_emptied("mask", "test"),
    ),
    "unknown split": Wrong(
        4,
        "{table}, row 5, column split: split is 'trian' (expected train, val, test or nothing). "
        "Correct the cell",
        wrong.cell(3, "split", "trian"),
    ),
    "unknown method": Wrong(
        3,
        "unknown method 'vgg-kam' (expected one of vgg-cam, camel, drs, histosegnet, irn, "
        "hisynseg, mlps, supervised). Did you mean 'vgg-cam'?",
        method="vgg-kam",
    ),
    "unknown recipe": Wrong(
        3,
        "method 'vgg-cam' has no recipe 'glas' (expected one of default, glas-cpu, phantom-cpu, "
        "published). `histoweak methods` lists methods and recipes",
        words=("--recipe", "glas"),
    ),
    "unknown key": Wrong(
        3,
        "vgg-cam (default): unknown key 'segmenter.fit.stepps'. Did you mean 'steps'?",
        words=("--set", "segmenter.fit.stepps=9"),
    ),
    "unknown key in a part that may be null": Wrong(
        3,
        "vgg-cam (default): unknown key 'self_training.teacher.treshold'. Did you mean "
        "'threshold'?",
        words=("--set", "self_training.teacher.treshold=0.5"),
    ),
    "value out of range": Wrong(
        3,
        "vgg-cam (default): segmenter.fit.steps = 0: Input should be greater than or equal to 1. "
        + CORRECT,
        words=("--set", "segmenter.fit.steps=0"),
    ),
    "no setting": Wrong(
        3,
        "--set: 'segmenter' is no setting (expected KEY=VALUE, for example "
        "segmenter.fit.optim.lr=1e-3). Write the setting as KEY=VALUE",
        words=("--set", "segmenter"),
    ),
    "config file missing": Wrong(
        3,
        "{data}/gone.yaml: cannot be read ([Errno 2] No such file or directory: "
        "'{data}/gone.yaml'). Give a YAML file of settings; `histoweak methods` lists the "
        "shipped recipes",
        words=("--config", "{data}/gone.yaml"),
    ),
    "unknown choice of checkpoints": Wrong(
        3,
        "--select: select = 'best': Input should be 'last', 'val-label' or 'val-mask'. " + CORRECT,
        words=("--select", "best"),
    ),
    "choice without labels": Wrong(
        4,
        "{table}: select=val-label, but none of 0 val rows has labels. Add labels to val rows, "
        "or use --select last",
        wrong.split_renamed("val", ""),
        words=("--select", "val-label"),
    ),
    "batch that cannot be shared": Wrong(
        3,
        "fit.batch: batch 5 for 2 processes (expected a multiple of 2). Change fit.batch or the "
        "number of devices",
        words=("--devices", "2", "--set", "classifier.fit.batch=5"),
    ),
    "unknown strategy": Wrong(
        3,
        "runtime accelerator='auto', devices='auto', num_nodes=1, strategy='dpp', "
        "precision='32-true', workers=0: Lightning refuses them (You selected an invalid strategy "
        "name: `strategy='dpp'`). Correct --devices, --num-nodes or --strategy, or leave them out",
        words=("--strategy", "dpp"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_explained(name: str, data: Path, tmp_path: Path) -> None:
    case = CASES[name]
    case.spoil(data)
    places = {"table": data, "data": data.parent, "out": tmp_path / "run"}
    settings = write_settings(tmp_path / "tiny.yaml", TINY["vgg-cam"])
    words = ["run", case.method, "--data", case.table.format(**places), "--out", places["out"]]
    if "--config" not in case.words:
        words += ["--config", settings]
    ended = program.run(*words, *(word.format(**places) for word in case.words))
    said = re.sub(r"/frames-[0-9a-f]{16}/", "/frames-KEY/", ended.error)
    assert said == f"error: {case.message.format(**places)}\n"
    assert ended.code == case.code
    assert ended.stdout == "" and "Traceback" not in ended.stderr
