import json

import numpy as np
import pytest

from histoweak.classes import IGNORE_INDEX, PALETTE, ClassSet
from histoweak.errors import ManifestError
from histoweak.labelmap import LabelMap


def test_a_class_set_knows_its_names_colours_and_white() -> None:
    classes = ClassSet(("tumour", "stroma"))
    assert len(classes) == 2 and classes.colors == PALETTE[:2]
    assert classes.white_index == IGNORE_INDEX
    assert ClassSet(("tumour", "glass"), white="glass").white_index == 1


def test_colours_repeat_when_there_are_more_classes_than_colours() -> None:
    classes = ClassSet(tuple(f"c{i}" for i in range(11)))
    assert classes.colors == (*PALETTE, *PALETTE[:3])


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ((), {}),
        (tuple(f"c{i}" for i in range(256)), {}),
        (("a", "a"), {}),
        (("a",), {"colors": ((0, 0, 256),)}),
        (("a",), {"colors": ((0, 0, -1),)}),
        (("a",), {"colors": ((0, 0),)}),
        (("a", "b"), {"colors": ((0, 0, 0),)}),
        (("a",), {"white": "b"}),
    ],
)
def test_impossible_class_sets_are_refused(names, more) -> None:
    with pytest.raises(ManifestError):
        ClassSet(names, **more)


def test_a_class_file_is_read_back(tmp_path) -> None:
    classes = ClassSet(("tumour", "Fett/Gewebe é"), ((1, 2, 3), (4, 5, 6)), white="tumour")
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(classes.to_dict()), encoding="utf-8")
    assert ClassSet.read(path) == classes
    path.write_text('{"names": ["a", "b"]}', encoding="utf-8")
    assert ClassSet.read(path) == ClassSet(("a", "b"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b'"names"',
        b"{}",
        b'{"names": null}',
        b'{"names": "tumour"}',
        b'{"names": {"a": 1}}',
        b'{"names": []}',
        b'{"names": ["a", "a"]}',
        b'{"names": ["a"], "colors": 3}',
        b'{"names": ["a"], "colors": [3]}',
        b'{"names": ["a"], "colors": [[1, 2]]}',
        b'{"names": ["a"], "colors": [[1, 2, "x"]]}',
        b'{"names": ["a"], "colors": [[1, 2, 1e999]]}',
        b'{"names": ["a"], "colors": [[1, 2, NaN]]}',
        b'{"names": ["a"], "white": ["a"]}',
        b'{"names": ["a"]',
        b'{"names": ["\xff"]}',
        b"\x00" * 20,
        b"[" * 100_000,
    ],
)
def test_a_damaged_class_file_is_refused_by_name(tmp_path, content) -> None:
    path = tmp_path / "classes.json"
    path.write_bytes(content)
    with pytest.raises(ManifestError):
        ClassSet.read(path)


def test_a_missing_class_file_and_a_folder_are_refused(tmp_path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ManifestError, match="not a class file"):
            ClassSet.read(path)


def test_a_label_map_counts_and_colours_as_a_loop_does() -> None:
    classes = ClassSet(("a", "b"), ((1, 2, 3), (4, 5, 6)))
    array = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    label_map = LabelMap(array, classes)
    assert label_map.areas() == {"a": 2, "b": 3}
    table = {0: (1, 2, 3), 1: (4, 5, 6), 255: (255, 255, 255)}
    assert label_map.colored().tolist() == [[list(table[v]) for v in row] for row in array.tolist()]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2, 1), np.uint8),
        np.full((2, 2), 2, np.uint8),
        np.full((2, 2), 254, np.uint8),
    ],
)
def test_a_label_map_holds_only_its_classes(array) -> None:
    with pytest.raises(ValueError, match=r"expected|no classes"):
        LabelMap(array, ClassSet(("a", "b")))
