"""More than 200 image files, most of them damaged or made to do harm; the same at every call."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SIZE = (24, 20)  # height, width
SAVED = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 90}),
    "progressive.jpg": ("JPEG", {"quality": 90, "progressive": True}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
    "webp": ("WEBP", {"lossless": True}),
}
CUTS = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9)
FLIPS = 8


def write_hostile(folder: Path) -> dict[Path, bool | None]:
    """Write the files; True: must be read, False: must be refused, None: either will do."""
    folder.mkdir(parents=True)
    files: dict[Path, bool | None] = {}
    for name, content, readable in _files():
        path = folder / name
        path.write_bytes(content)
        files[path] = readable
    return files


def write_no_files(folder: Path) -> list[Path]:
    """Paths that end like images and are no files that could be read."""
    folder.mkdir(parents=True)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")  # reading it would wait for ever
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    names = ("folder", "pipe", "endless", "gone", "circle", "missing")
    return [folder / f"{name}.png" for name in names] + [folder / "nul\0.png"]


def _files() -> Iterator[tuple[str, bytes, bool | None]]:
    for make in (_cut, _flipped, _sizes, _modes, _turned, _misnamed, _headers, _bombs, _no_images):
        for name, content, readable in make():
            yield f"{make.__name__[1:]}_{name}", content, readable


def _picture(height: int = SIZE[0], width: int = SIZE[1], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _originals() -> dict[str, bytes]:
    image = Image.fromarray(_picture())
    return {name: _saved(image, kind, **options) for name, (kind, options) in SAVED.items()}


def _cut() -> Iterator[tuple[str, bytes, bool | None]]:
    for name, content in _originals().items():
        for share in CUTS:
            yield f"{share}.{name}", content[: int(len(content) * share)], False


def _flipped() -> Iterator[tuple[str, bytes, bool | None]]:
    rng = np.random.default_rng(1)
    for name, content in _originals().items():
        for i in range(FLIPS):
            damaged = bytearray(content)
            # Half of them in the header, where a bit does most harm.
            reach = len(damaged) if i % 2 else min(60, len(damaged))
            for bit in rng.integers(0, 8 * reach, 1 + i):
                damaged[bit // 8] ^= 1 << bit % 8
            yield f"{i}.{name}", bytes(damaged), None


def _sizes() -> Iterator[tuple[str, bytes, bool | None]]:
    sides = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (1, 300), (300, 1), (2, 3000), (31, 33)]
    for height, width in sides:
        image = Image.fromarray(_picture(height, width))
        for name in ("png", "jpg", "tif"):
            kind, options = SAVED[name]
            yield f"{height}x{width}.{name}", _saved(image, kind, **options), True


def _modes() -> Iterator[tuple[str, bytes, bool | None]]:
    image = Image.fromarray(_picture())
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield f"{mode}.png", _saved(image.convert(mode), "PNG"), True
    for mode in ("CMYK", "YCbCr", "LAB"):
        yield f"{mode}.tif", _saved(image.convert(mode), "TIFF"), True
    yield "cmyk.jpg", _saved(image.convert("CMYK"), "JPEG"), True
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    yield "deep.png", _saved(Image.fromarray(deep), "PNG"), True
    yield "deep.tif", _saved(Image.fromarray(deep), "TIFF"), True
    yield "big_endian.tif", _saved(Image.fromarray(deep).convert("I;16B"), "TIFF"), True
    yield "integers.tif", _saved(image.convert("I"), "TIFF"), False
    yield "floats.tif", _saved(image.convert("F"), "TIFF"), False
    nothing = np.full(SIZE, np.nan, np.float32)
    yield "no_numbers.tif", _saved(Image.fromarray(nothing), "TIFF"), False
    glass = Image.new("RGBA", SIZE[::-1], (0, 0, 0, 0))
    yield "invisible.png", _saved(glass, "PNG"), True
    palette = image.convert("P")
    palette.info["transparency"] = bytes(range(256))
    yield "soft_palette.png", _saved(palette, "PNG", transparency=bytes(range(256))), True
    frames = [Image.fromarray(_picture(seed=i)) for i in range(3)]
    for name, kind in (("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")):
        moving = _saved(frames[0], kind, save_all=True, append_images=frames[1:])
        yield f"frames.{name}", moving, True


def _turned() -> Iterator[tuple[str, bytes, bool | None]]:
    image = Image.fromarray(_picture())
    for orientation in (*range(1, 9), 0, 99, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name in ("png", "jpg"):
            yield f"{orientation}.{name}", _saved(image, SAVED[name][0], exif=exif), True
    for i, block in enumerate((b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\xff", b"\xff" * 400)):
        yield f"damaged_{i}.jpg", _saved(image, "JPEG", exif=block), None
        yield f"damaged_{i}.png", _saved(image, "PNG", exif=block or b"\0"), None


def _misnamed() -> Iterator[tuple[str, bytes, bool | None]]:
    originals = _originals()
    for name, ending in (("png", "jpg"), ("jpg", "png"), ("tif", "webp"), ("bmp", "png")):
        yield f"{name}_as.{ending}", originals[name], True
    yield "newline\nin name.png", originals["png"], True
    yield "\u202egnp.exe.png", originals["png"], True
    yield "<script>alert(1)<\u2215script>.png", originals["png"], True
    yield '=1+1,"quoted";\'.png', originals["png"], True
    yield "[red]markup[blink].png", originals["png"], True
    yield "spaces  and  \t tabs .png", originals["png"], True
    yield "n" * 200 + ".png", originals["png"], True
    yield os.fsdecode(b"latin-\xe9.png"), originals["png"], True


def _chunk(name: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + check


def _png(width: int, height: int, *chunks: bytes, kind: int = 0, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _tiff(width: int, height: int, strip: bytes, **tags: tuple[int, int]) -> bytes:
    """One strip, one 8-bit channel; `tags` are added or replaced as `t<number>=(type, value)`."""
    entries = {
        256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, 1),
        273: (4, 8), 277: (3, 1), 278: (4, height), 279: (4, len(strip)),
    }  # fmt: skip
    entries |= {int(name[1:]): value for name, value in tags.items()}
    strip += b"\0" * (len(strip) % 2)
    table = struct.pack("<H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        table += struct.pack("<HHII", tag, kind, 1, value & 0xFFFFFFFF)
    offset = 8 + len(strip)
    return b"II*\0" + struct.pack("<I", offset) + strip + table + struct.pack("<I", offset)


def _headers() -> Iterator[tuple[str, bytes, bool | None]]:
    """Headers that announce what is not there, or more than memory holds."""
    for i, (width, height) in enumerate(
        ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (14_001, 14_300), (0, 5), (5, 0))
    ):
        yield f"{i}.png", _png(width, height, _chunk(b"IDAT", zlib.compress(b""))), False
        yield f"{i}.tif", _tiff(width, height, b"abcd"), False
        bmp = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"{i}.bmp", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + bmp, False
    # Just within the limit of 200 megapixels: decoders reserve memory, then find no pixels.
    yield "within.png", _png(14_000, 14_000, _chunk(b"IDAT", zlib.compress(b""))), False
    yield "within_rgb.png", _png(14_000, 14_000, _chunk(b"IDAT", b""), kind=2), False
    yield "within.tif", _tiff(14_000, 14_000, b"abcd"), False
    content = bytearray(_originals()["jpg"])
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    yield "huge.jpg", bytes(content), False
    content[at + 5 : at + 9] = struct.pack(">HH", 0, 0)
    yield "no_lines.jpg", bytes(content), False
    content = bytearray(_originals()["webp"])
    content[21:25] = b"\xff\xff\xff\x0f"
    yield "large.webp", bytes(content), False
    yield "strip_beyond.tif", _tiff(4, 4, b"0" * 16, t273=(4, 2**32 - 1)), None
    yield "endless_strip.tif", _tiff(4, 4, b"0" * 16, t279=(4, 2**32 - 1)), None
    yield "many_samples.tif", _tiff(4, 4, b"0" * 16, t277=(3, 65_535)), None
    yield "many_bits.tif", _tiff(4, 4, b"0" * 16, t258=(3, 65_535)), False
    yield "no_rows.tif", _tiff(4, 4, b"0" * 16, t278=(4, 0)), None
    yield "odd_compression.tif", _tiff(4, 4, b"0" * 16, t259=(3, 7)), False
    yield "tile_tags.tif", _tiff(4, 4, b"0" * 16, t322=(4, 0), t323=(4, 0)), None
    # The table of contents follows itself for ever.
    yield "circle.tif", _tiff(4, 4, b"0" * 16), True


def _bombs() -> Iterator[tuple[str, bytes, bool | None]]:
    """Small files that unpack to much."""
    zeros = zlib.compress(bytes(40_000_000), 9)
    rows = _chunk(b"IDAT", zlib.compress(b"\0" + bytes(4)))
    yield "text.png", _png(4, 1, _chunk(b"zTXt", b"k\0\0" + zeros), rows), None
    yield "unicode.png", _png(4, 1, _chunk(b"iTXt", b"k\0\1\0\0\0" + zeros), rows), None
    yield "profile.png", _png(4, 1, _chunk(b"iCCP", b"p\0\0" + zeros), rows), None
    yield "pixels.png", _png(4, 1, _chunk(b"IDAT", zeros)), None
    yield "chunks.png", _png(4, 1, *[_chunk(b"tEXt", b"k\0v")] * 20_000, rows), None
    yield "no_rows.png", _png(4, 4, *[_chunk(b"IDAT", b"")] * 1000), False
    deflated = _tiff(4, 4, zeros, t259=(3, 8))
    yield "strip.tif", deflated, None
    info = PngInfo()
    info.add_text("comment", "a" * 900_000, zip=True)
    yield "comment.png", _saved(Image.fromarray(_picture()), "PNG", pnginfo=info), True
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1_000_000))
    yield "archive.png", buffer.getvalue(), False


def _no_images() -> Iterator[tuple[str, bytes, bool | None]]:
    image = Image.fromarray(_picture())
    # Formats that Pillow knows and histoweak does not try: some start other programs.
    for kind in ("GIF", "PPM", "ICO", "PCX", "TGA", "EPS", "PDF", "JPEG2000"):
        source = image.convert("P") if kind == "GIF" else image
        yield f"{kind}.png", _saved(source, kind), False
    rng = np.random.default_rng(2)
    contents: dict[str, bytes] = {
        "zero_bytes": b"",
        "one_byte": b"\x89",
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "random": rng.bytes(5000),
        "text": b"not an image",
        "html": b"<html><script>alert(1)</script></html>",
        "vector": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "pickle": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85R.",
        "png_signature": b"\x89PNG\r\n\x1a\n",
        "jpeg_signature": b"\xff\xd8\xff\xe0",
        "tiff_signature": b"II*\0\x08\0\0\0",
        "bmp_signature": b"BM" + bytes(12),
        "webp_signature": b"RIFF\x10\0\0\0WEBPVP8 ",
    }
    for name, content in contents.items():
        yield f"{name}.png", content, False
