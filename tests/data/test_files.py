import errno
from pathlib import Path

import pytest

from histoweak.data.files import replacing
from histoweak.errors import OutputError


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError()])
def test_a_failed_block_leaves_the_old_file(tmp_path: Path, error: Exception) -> None:
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
