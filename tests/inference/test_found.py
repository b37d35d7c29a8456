from pathlib import Path

import pytest

from histoweak.errors import ImageError
from histoweak.inference.found import find_images, output_names
from tests.inference.models import write_picture


def test_files_folders_and_patterns_each_once(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.tif", "sub/._c.tif", ".hidden/d.png", "out/e.png"):
        write_picture(tmp_path / name, 4, 4) if name.endswith("png") else None
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    found = find_images([tmp_path / "b.png", tmp_path], exclude=[tmp_path / "out"])
    assert [str(p.relative_to(tmp_path)) for p in found] == ["b.png", "a.JPG", "sub/c.tif"]
    assert find_images([f"{tmp_path}/*.png"]) == [tmp_path / "b.png"]


def test_a_missing_file_stays_so_that_it_is_reported(tmp_path):
    assert find_images([tmp_path / "no.png"]) == [tmp_path / "no.png"]


@pytest.mark.parametrize("given", ["", "*.png"])
def test_a_folder_or_pattern_without_images_is_refused(given, tmp_path):
    with pytest.raises(ImageError, match="holds no image"):
        find_images([tmp_path / given])


def names(*paths, taken=None):
    return list(output_names([Path(p) for p in paths], taken).values())


def test_names_are_stems_and_more_only_where_they_clash():
    assert names("/d/a.png", "/e/b.png") == ["a", "b"]
    assert names("/d/a.png", "/e/a.png", "/e/b.png") == ["d_a", "e_a", "b"]
    assert names("/d/a.png", "/d/A.jpg") == ["d_a", "d_A_jpg"]
    assert names("/x/d/a.png", "/y/d/a.png", "/z/d/a.png") == ["d_a", "d_a_png", "d_a_png_2"]
    assert names("/d/a.png", "/e/a.png", "/f/d_a.png") == ["d_a", "e_a", "f_d_a"]


def test_names_given_earlier_stay():
    assert names("/e/a.png", "/d/a.png", taken={"/d/a.png": "a"}) == ["e_a", "a"]
    assert names("/e/a.png", taken={"/gone/a.png": "a"}) == ["e_a"]
