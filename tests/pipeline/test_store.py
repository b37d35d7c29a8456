import hashlib
import json
from pathlib import Path

import pytest

from histoweak.errors import OutputError
from histoweak.pipeline.store import Store

KEY = "0123456789abcdef" * 4


def made(store: Store) -> Path:
    work = store.work_folder("fit", KEY)
    (work / "deep").mkdir(parents=True)
    (work / "_scratch").mkdir()
    (work / "a.bin").write_bytes(b"abc")
    (work / "deep" / "b.txt").write_bytes(b"")
    (work / "_scratch" / "checkpoint").write_bytes(b"large")
    (work / ".tmp-1-2-c").write_bytes(b"half")
    return work


def test_an_artefact_is_finished_when_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.finished("fit", KEY) is None
    work = made(store)
    assert not store.is_sealed("fit", KEY)
    store.seal("fit", KEY, {"seed": 5})
    assert store.is_sealed("fit", KEY)
    assert store.finished("fit", KEY) is None
    assert (work / "_scratch" / "checkpoint").exists()
    folder = store.commit("fit", KEY)
    assert folder == store.finished("fit", KEY) == tmp_path / "stages" / "fit-0123456789abcdef"
    assert not work.exists()
    record = json.loads((folder / "stage.json").read_text())
    assert (record["name"], record["key"], record["seed"]) == ("fit", KEY, 5)
    assert record["files"] == [
        {"path": "a.bin", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
        {"path": "deep/b.txt", "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()},
    ]
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    assert found == ["a.bin", "deep", "deep/b.txt", "stage.json"]


@pytest.mark.parametrize("damage", ["missing", "size", "record", "key"])
def test_a_changed_artefact_is_named(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    made(store)
    store.seal("fit", KEY, {})
    folder = store.commit("fit", KEY)
    if damage == "missing":
        (folder / "a.bin").unlink()
    elif damage == "size":
        (folder / "a.bin").write_bytes(b"abcd")
    elif damage == "record":
        (folder / "stage.json").unlink()
    wanted = KEY[:-1] + "0" if damage == "key" else KEY
    part = "a.bin" if damage in {"missing", "size"} else "stage.json"
    with pytest.raises(OutputError, match=rf"{folder}.*{part}.*Delete this folder"):
        store.finished("fit", wanted)
