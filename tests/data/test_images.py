import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from histoweak.data.images import probe, read_image, read_mask
from histoweak.data.skips import Skips, readable
from histoweak.errors import ImageError

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (9, 13), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_rgb_comes_back_exactly(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, Image.fromarray(RGB))
    np.testing.assert_array_equal(read_image(path), RGB)
    info = probe(path)
    assert info.size == (9, 13)
    assert info.mode == "RGB"


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), RGB)


def test_grey_and_bilevel_become_rgb(tmp_path: Path) -> None:
    grey = read_image(saved(tmp_path / "g.png", Image.fromarray(GREY)))
    np.testing.assert_array_equal(grey, np.dstack([GREY] * 3))
    bits = GREY > 127
    black = read_image(saved(tmp_path / "b.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(black[..., 0], bits * 255)


def test_palette_is_resolved(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY % 3)
    picture.putpalette([10, 20, 30, 200, 100, 0, 5, 6, 7])
    expected = np.array([[10, 20, 30], [200, 100, 0], [5, 6, 7]], np.uint8)[GREY % 3]
    np.testing.assert_array_equal(read_image(saved(tmp_path / "p.png", picture)), expected)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.zeros((9, 13), np.uint8)
    alpha[:, 5:] = 255
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    got = read_image(saved(tmp_path / "a.png", rgba))
    assert (got[:, :5] == 255).all()
    np.testing.assert_array_equal(got[:, 5:], RGB[:, 5:])
    palette = Image.fromarray(np.zeros((4, 4), np.uint8))
    palette.putpalette([1, 2, 3])
    assert (read_image(saved(tmp_path / "t.png", palette, transparency=0)) == 255).all()


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_grey_is_scaled(tmp_path: Path, name: str) -> None:
    deep = np.array([[0, 257, 65535, 128 * 257, 200]], np.uint16)
    got = read_image(saved(tmp_path / name, Image.fromarray(deep)))
    np.testing.assert_array_equal(got[0, :, 0], np.round(deep[0] / 257))


def test_16_bit_rgb_keeps_the_high_byte(tmp_path: Path) -> None:
    rows = b"".join(
        b"\0" + b"".join(struct.pack(">3H", *(int(v) * 257 for v in pixel)) for pixel in line)
        for line in RGB
    )
    path = tmp_path / "rgb16.png"
    path.write_bytes(png(13, 9, bits=16, kind=2, data=rows))
    np.testing.assert_array_equal(read_image(path), RGB)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    got = read_image(saved(tmp_path / "c.jpg", cyan, quality=100))
    assert got.shape == (16, 16, 3)
    assert got[..., 0].max() < 10
    assert got[..., 1:].min() > 245


@pytest.mark.parametrize("name", ["e.png", "e.tif", "e.jpg", "e.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, name: str, orientation: int) -> None:
    # What the EXIF standard says of each value, as operations on (height, width) arrays.
    turn = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90,
    }[orientation]  # fmt: skip
    blocks = np.kron(RGB[:3, :4], np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / name, Image.fromarray(blocks), exif=exif, quality=100)
    expected = turn(blocks)
    got = read_image(path)
    assert probe(path).size == got.shape[:2] == expected.shape[:2]
    # Centres of the blocks: lossy formats blur the edges between colours.
    centres = (slice(8, None, 16), slice(8, None, 16))
    difference = np.abs(got[centres].astype(int) - expected[centres].astype(int))
    assert difference.max() <= (60 if name.endswith(("jpg", "webp")) else 0)


def png(width: int, height: int, bits: int, kind: int, data: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def test_size_is_judged_by_the_header(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(60_000, 60_000, 8, 0, b""))
    limit = Image.MAX_IMAGE_PIXELS
    for read in (probe, read_image, lambda p: read_mask(p, 2)):
        with pytest.raises(ImageError, match=r"60000 x 60000 pixels.*200 megapixels"):
            read(bomb)
    allowed = tmp_path / "large.png"  # above Pillow's own limit, within ours
    allowed.write_bytes(png(14_000, 14_200, 8, 0, b""))
    assert probe(allowed).size == (14_200, 14_000)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
def test_truncated_files_are_errors(tmp_path: Path, name: str) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(noise))
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.7):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert caught.value.remedy


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "gif", "nul"])
def test_what_is_no_image(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "gif":
        Image.fromarray(GREY).save(path, format="GIF")
    elif kind == "nul":
        path = Path("a\0b.png")
    for read in (probe, read_image, lambda p: read_mask(p, 2)):
        with pytest.raises(ImageError) as caught:
            read(path)
        assert "\0" not in str(caught.value)


def test_32_bit_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "f.tif", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(ImageError, match=r"32 bits"):
        read_image(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), name=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP"]))
def test_damage_never_escapes_as_another_error(
    tmp_path: Path, data: st.DataObject, name: str
) -> None:
    path = tmp_path / "damaged"
    Image.fromarray(RGB).save(path, format=name)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (probe, read_image, lambda p: read_mask(p, 256)):
        try:
            read(path)
        except ImageError as error:
            assert "\n" not in str(error)


def test_mask_values_come_back(tmp_path: Path) -> None:
    mask = RNG.choice(np.array([0, 1, 2, 255], np.uint8), (9, 13))
    path = saved(tmp_path / "m.png", Image.fromarray(mask))
    np.testing.assert_array_equal(read_mask(path, 3, (9, 13)), mask)
    coloured = Image.fromarray(mask)
    coloured.putpalette(list(range(256)) * 3)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "p.png", coloured), 3), mask)
    deep = saved(tmp_path / "d.png", Image.fromarray(mask.astype(np.uint16)))
    np.testing.assert_array_equal(read_mask(deep, 3), mask)
    bits = saved(tmp_path / "b.png", Image.fromarray(mask == 1))
    np.testing.assert_array_equal(read_mask(bits, 2), mask == 1)


def test_wrong_masks(tmp_path: Path) -> None:
    mask = Image.fromarray(np.full((9, 13), 3, np.uint8))
    path = saved(tmp_path / "m.png", mask)
    with pytest.raises(ImageError, match=r"unknown value 3 .*0 to 2"):
        read_mask(path, 3)
    with pytest.raises(ImageError, match=r"9x13.*expected 13x9"):
        read_mask(path, 4, (13, 9))
    with pytest.raises(ImageError, match=r"pixel format RGB"):
        read_mask(saved(tmp_path / "c.png", Image.fromarray(RGB)), 4)
    with pytest.raises(ImageError, match=r"JPEG"):
        read_mask(saved(tmp_path / "m.jpg", mask), 4)
    deep = saved(tmp_path / "d.png", Image.fromarray(np.full((2, 2), 256, np.uint16)))
    with pytest.raises(ImageError, match=r"unknown value 256"):
        read_mask(deep, 2)


def test_skips_stop_at_the_limit(tmp_path: Path) -> None:
    skips = Skips(total=60, limit=0.05, log=tmp_path / "skipped.csv")
    for i in range(3):
        with skips.catch(Path(f"{i}.png")):
            raise ImageError("has zero bytes", where=f"{i}.png", remedy="Replace it")
    assert len(skips) == 3
    with pytest.raises(ImageError, match=r"4 of 60 images cannot be used.*at most 3") as caught:
        skips.add(Path("z.png"), "broken")
    assert caught.value.exit_code == 5
    lines = (tmp_path / "skipped.csv").read_text().splitlines()
    assert lines[:2] == ["image,reason", "0.png,has zero bytes"]
    assert len(lines) == 5


def test_the_last_image_left_is_not_skipped() -> None:
    with pytest.raises(ImageError, match=r"1 of 1"):
        Skips(total=1, limit=1.0).add(Path("a.png"), "broken")


def test_readable_keeps_the_good(tmp_path: Path) -> None:
    good = saved(tmp_path / "a.png", Image.fromarray(RGB))
    bad = tmp_path / "b.png"
    bad.touch()
    skips = Skips(2)
    assert readable([bad, good], read_image, skips, lambda p: p) == (good,)
    assert skips.reasons == [(bad, "has zero bytes")]
    skips.write(tmp_path / "skipped.csv")
    Skips(2).write(tmp_path / "skipped.csv")
    assert not (tmp_path / "skipped.csv").exists()
