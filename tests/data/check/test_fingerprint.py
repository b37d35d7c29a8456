import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from histoweak.data.check.duplicates import Groups, _alike, near_groups
from histoweak.data.check.fingerprint import TURNS, hashes, stack, thumbnail, turned
from tests.data.check.fake import tissue


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


COPIES = {
    "compressed": jpeg,
    "shrunk": lambda image: image.resize((90, 90), Image.Resampling.LANCZOS),
    "grown": lambda image: image.resize((300, 300), Image.Resampling.BICUBIC),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned back": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "reflected": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "transversed, shrunk, compressed": lambda image: jpeg(
        image.transpose(Image.Transpose.TRANSVERSE).resize((100, 100))
    ),
}


@pytest.fixture(scope="module")
def others() -> list[bytes]:
    return [thumbnail(tissue(seed, 128)) for seed in range(100, 140)]


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_among_other_images(name, others):
    original = Image.fromarray(tissue(1, 128))
    copy = np.asarray(COPIES[name](original))
    thumbnails = [*others, thumbnail(np.asarray(original)), thumbnail(copy)]
    assert near_groups(thumbnails) == [[40, 41]]


def test_coarse_shades_alone_make_no_copy():
    # The same edge of the tissue, other tissue: like hashes, unlike detail.
    shade = np.linspace(1, 0.2, 128)[None, :, None]
    images = [(tissue(seed, 128) * shade).astype(np.uint8) for seed in range(2)]
    thumbnails = [thumbnail(image) for image in images]
    bits = np.bitwise_count(np.bitwise_xor(*hashes(stack(thumbnails))[:, 0]))
    assert bits <= 10 and near_groups(thumbnails) == []
    flat = thumbnail(np.full((64, 64, 3), 240, np.uint8))
    assert near_groups([flat, flat]) == []


def test_hashes_of_turned_images_are_those_of_the_turns():
    small = np.random.default_rng(0).integers(0, 256, (5, 18, 18)).astype(np.uint8)
    plain = hashes(small)
    for turn in range(TURNS):
        np.testing.assert_array_equal(plain[:, turn], hashes(turned(small, turn))[:, 0])
    assert len({turned(small, t).tobytes() for t in range(TURNS)}) == TURNS


def test_hashes_compare_each_cell_with_its_right_neighbour():
    small = np.random.default_rng(1).integers(0, 256, (1, 18, 18)).astype(np.uint8)
    cells = [
        [small[0, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(9)] for y in range(9)
    ]
    bits = [int(cells[y][x + 1] > cells[y][x]) for y in range(8) for x in range(8)]
    packed = np.array([hashes(small)[0, 0]]).view(np.uint8)
    assert np.unpackbits(packed).tolist() == bits


def test_every_pair_of_at_most_five_bits_is_found(monkeypatch):
    rng = np.random.default_rng(2)
    monkeypatch.setattr("histoweak.data.check.duplicates._CHUNK", 50)
    monkeypatch.setattr("histoweak.data.check.duplicates._PAIRS", 7)
    table = rng.integers(0, 2**63, (60, TURNS), dtype=np.int64).astype(np.uint64)
    for i in range(30):  # copies that differ in 0 to 11 bits, under some turn
        flips = rng.choice(64, i % 12, replace=False)
        mask = np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0))
        table[30 + i, i % TURNS] = table[i, 0] ^ mask
    got = {
        (int(a), int(b), int(t))
        for first, second, turn in _alike(table)
        for a, b, t in zip(first, second, turn, strict=True)
    }
    every = {
        (a, b, t): int(np.bitwise_count(table[a, 0] ^ table[b, t]))
        for a, b in itertools.combinations(range(60), 2)
        for t in range(TURNS)
    }
    assert {pair for pair, bits in every.items() if bits <= 5} <= got
    assert all(every[pair] <= 10 for pair in got)
    assert len([1 for bits in every.values() if bits <= 5]) >= 15


def test_groups_are_connected_components():
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(3)
    pairs = rng.integers(0, 40, (25, 2))
    groups = Groups(40)
    for a, b in pairs.tolist():
        groups.join(a, b)
    ones = np.ones(len(pairs))
    _, label = connected_components(coo_array((ones, pairs.T), shape=(40, 40)), directed=False)
    wanted = [np.flatnonzero(label == k).tolist() for k in range(label.max() + 1)]
    assert sorted(groups.members()) == sorted(g for g in wanted if len(g) > 1)
