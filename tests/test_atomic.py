import errno
import os
from pathlib import Path

import pytest

from histoweak.atomic import (
    append_line,
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    remove_temporaries,
    replacing,
)
from histoweak.errors import OutputError


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "grün")
    assert path.read_bytes() == "grün".encode()
    atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".bin"
            assert temporary.parent == tmp_path
            temporary.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write_text(tmp_path / "none" / "a", "text")


def test_rights_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "a", "text")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_leftovers_of_killed_writers_go(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (".tmp-1-2-a", "in/.tmp-1-2-b", "in/kept"):
        (tmp_path / name).write_text("x")
    remove_temporaries(tmp_path, recursive=False)
    assert not (tmp_path / ".tmp-1-2-a").exists()
    assert (tmp_path / "in/.tmp-1-2-b").exists()
    remove_temporaries(tmp_path)
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["kept"]


def test_append_mends_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "one")
    append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"
    path.write_text("one\ntw")
    append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"


def test_an_asked_for_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError()])
def test_a_failed_block_leaves_the_old_file_and_says_why(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    kind = OutputError if isinstance(error, OSError) else KeyError
    with pytest.raises(kind) as caught, replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    if isinstance(caught.value, OutputError):
        assert f"{path}: cannot be written (No space left on device)" in str(caught.value)


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), replacing(tmp_path / "file" / "a.txt"):
        raise AssertionError


def test_long_names_that_begin_alike_do_not_meet(tmp_path: Path) -> None:
    one, two = (tmp_path / f"{'a' * 240}{end}.png" for end in "xy")
    with replacing(one) as first, replacing(two) as second:
        assert first != second
        first.write_text("x")
        second.write_text("y")
    assert (one.read_text(), two.read_text()) == ("x", "y")
