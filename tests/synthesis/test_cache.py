import numpy as np
import pytest
import torch

from histoweak.classes import ClassSet
from histoweak.errors import ManifestError
from histoweak.refine.white import WhiteConfig
from histoweak.synthesis.cache import PatchCache, cut_patches, usual_side
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.draw import draw_classes, draw_rows
from histoweak.synthesis.mosaic import mosaic
from histoweak.synthesis.squares import NONE, find_squares
from tests.data.test_crops import frame, write_store
from tests.synthesis.fake import plain_cache, seeded

NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def test_single_class_windows_are_cut_in_order(tmp_path) -> None:
    boxes = [(0, 0, 16, 16), (16, 0, 32, 16), (40, 20, 56, 36)]
    first = frame(boxes, patient="a", labels=[(0, 1), (1, 1), (1, 0)])
    second = frame(boxes[:1], patient="b", labels=[(0, 1)])
    store = write_store(tmp_path, [first, second], [NOISE, 255 - NOISE])
    cache = PatchCache.of_frames(store, 2)
    assert cache.images.shape == (3, 3, 16, 16) and cache.side == usual_side(store) == 16
    assert cache.classes.tolist() == [1, 0, 1] and cache.patients == ("a", "a", "b")
    assert cache.counts.tolist() == [1, 2]
    assert np.array_equal(cache.images[1].permute(1, 2, 0).numpy(), NOISE[20:36, 40:56])
    assert np.array_equal(cache.images[2].permute(1, 2, 0).numpy(), 255 - NOISE[:16, :16])
    mine = cache.of_patients(frozenset("b"))
    assert mine.patients == ("b",) and mine.counts.tolist() == [0, 1]


def test_more_than_the_limit_lies_in_a_file_of_its_own(tmp_path, monkeypatch) -> None:
    mapped: list[tuple[int, ...]] = []

    def spy(file, dtype, mode, shape):
        mapped.append(shape)
        return memmap(file, dtype, mode, shape=shape)

    memmap, white = np.memmap, WhiteConfig(gray=220, min_pixels=1)
    stores = [
        write_store(tmp_path / name, [frame([(0, 0, 16, 16)])], [image])
        for name, image in (("a", NOISE), ("b", 255 - NOISE))
    ]
    inside = [PatchCache.of_frames(s, 2, 16, white=white, folder=tmp_path) for s in stores]
    monkeypatch.setattr(np, "memmap", spy)
    # Several processes share one folder.
    outside = [
        PatchCache.of_frames(s, 2, 16, white=white, folder=tmp_path, limit=10) for s in stores
    ]
    assert mapped == [(1, 3, 16, 16), (1, 16, 16)] * 2
    for held, read in zip(inside, outside, strict=True):
        assert torch.equal(held.images, read.images) and torch.equal(held.white, read.white)


@pytest.mark.parametrize("balance", ["class", "patch"])
def test_patients_are_chosen_without_a_copy_of_their_pixels(balance) -> None:
    whole = plain_cache((7, 2, 9), 8, white=0.5)
    noise = torch.randint(0, 150, whole.images.shape, generator=seeded(2), dtype=torch.uint8)
    whole.images[:] = noise
    part = whole.of_patients(frozenset({"p0", "p2"}))
    assert part.images.data_ptr() == whole.images.data_ptr()
    assert part.white.data_ptr() == whole.white.data_ptr()
    chosen = [i for i, name in enumerate(whole.patients) if name != "p1"]
    assert len(part) == len(chosen) and part.patients == tuple(whole.patients[i] for i in chosen)
    rows = draw_rows(part, draw_classes(part, (2000,), balance, seeded()), seeded(1))
    assert sorted(set(rows.tolist())) == chosen
    copied = PatchCache(whole.images[chosen], whole.classes[chosen], part.patients, 3)
    assert torch.equal(part.counts, copied.counts)
    assert torch.equal(part.stain[chosen], copied.stain)
    only = part.of_patients(frozenset({"p2", "p1"}))
    assert set(only.patients) == {"p2"} and only.to("cpu").patients == only.patients


def test_squares_grow_over_neighbours_of_their_class_and_no_others() -> None:
    """By brute force: a square is of one class if every pixel lies in a window of that class."""
    rng = np.random.default_rng(3)
    starts = [(x, y) for y in range(0, 56, 8) for x in range(0, 56, 8)]
    labels = [[(1, 0), (1, 0), (0, 1), (1, 1)][k] for k in rng.integers(0, 4, len(starts))]
    labels[:7] = [(1, 0)] * 7
    labels[7:14] = [(1, 0)] * 7
    boxes = [(x, y, x + 16, y + 16) for x, y in starts]
    f = frame(boxes, 72, 72, labels=labels)
    cover = np.zeros((2, 72, 72), bool)
    for (x0, y0, x1, y1), label in zip(boxes, labels, strict=True):
        if sum(label) == 1:
            cover[label.index(1), y0:y1, x0:x1] = True
    found = find_squares([f], 24)
    whole = [s for s in found if s.is_whole(24)]
    assert len(whole) >= 6 and len(set(found)) == len(found)
    for s in whole:
        assert cover[s.kind, s.y0 : s.y1, s.x0 : s.x1].all()
    # What cannot grow is taken as it is, since squares are few here.
    assert any(not s.is_whole(24) for s in found)


def test_large_windows_give_several_squares_and_small_ones_are_padded(tmp_path) -> None:
    boxes = [(0, 0, 35, 16), (40, 40, 50, 50)]
    store = write_store(tmp_path, [frame(boxes)], [NOISE])
    cache = PatchCache.of_frames(store, 2, 16)
    assert len(cache) == 3
    assert np.array_equal(cache.images[1].permute(1, 2, 0).numpy(), NOISE[:16, 19:35])
    expected = np.pad(NOISE[40:50, 40:50], ((3, 3), (3, 3), (0, 0)), mode="symmetric")
    assert np.array_equal(cache.images[2].permute(1, 2, 0).numpy(), expected)


def test_windows_between_pixels_are_cut_whole(tmp_path) -> None:
    """112 px patches at a third of their scale are 37.33 px wide."""
    boxes = [(i * 56 / 3, 0, i * 56 / 3 + 112 / 3, 112 / 3) for i in range(2)]
    store = write_store(tmp_path, [frame(boxes)], [NOISE])
    cache = PatchCache.of_frames(store, 2)
    assert cache.side == 37 and len(cache) == 2
    assert np.array_equal(cache.images[1].permute(1, 2, 0).numpy(), NOISE[:37, 19:56])


def test_assigned_classes_replace_labels(tmp_path) -> None:
    boxes = [(0, 0, 16, 16), (16, 0, 32, 16)]
    store = write_store(tmp_path, [frame(boxes, labels=[(1, 0), (1, 1)])], [NOISE])
    cache = PatchCache.of_frames(store, 2, 16, assigned=[NONE, 1])
    assert cache.classes.tolist() == [1]


def test_white_background_is_marked(tmp_path) -> None:
    image = NOISE.copy()
    image[:, :8] = 250
    store = write_store(tmp_path, [frame([(0, 0, 16, 16)])], [image // 2 + image // 250 * 120])
    cache = PatchCache.of_frames(store, 2, 16, white=WhiteConfig(gray=220, min_pixels=20))
    assert cache.white is not None
    assert cache.white[0, :, :8].all() and not cache.white[0, :, 8:].any()


def test_classes_without_patches_are_named(tmp_path) -> None:
    cache = plain_cache((2, 0, 0), 8)
    with pytest.raises(ManifestError, match="'stroma' or 'necrosis' alone"):
        cache.require(ClassSet(("tumour", "stroma", "necrosis")))
    store = write_store(tmp_path, [frame([(0, 0, 16, 16)], labels=[(1, 1)])], [NOISE])
    with pytest.raises(ManifestError, match="one class alone"):
        PatchCache.of_frames(store, 2)


def test_white_that_a_rule_marks_needs_no_patches_of_its_own(tmp_path) -> None:
    classes = ClassSet(("tumour", "glass"), white="glass")
    image = NOISE // 3
    image[:16, :8] = 250
    labels = [(1, 0), (1, 0)]
    store = write_store(
        tmp_path, [frame([(0, 0, 16, 16), (20, 20, 36, 36)], labels=labels)], [image]
    )
    marked = SynthesisConfig(white=WhiteConfig(gray=220, min_pixels=20))
    cache = cut_patches(store, classes, marked, tmp_path)
    _, masks = mosaic(cache, 16, 32, marked.mosaic, seeded())
    assert set(masks.unique().tolist()) == {0, 1}
    with pytest.raises(ManifestError, match="'glass' alone"):
        cut_patches(store, classes, SynthesisConfig(), tmp_path)


def test_the_usual_side_is_one_that_nearly_all_windows_have_room_for(tmp_path) -> None:
    """A class with enough squares takes no padded ones: the median would lose half."""
    sides = np.random.default_rng(0).integers(20, 60, 60)
    described = [frame([(0, 0, s, s)]) for s in sides]
    store = write_store(tmp_path, described, [NOISE] * len(sides))
    cache = PatchCache.of_frames(store, 2)
    assert cache.side == usual_side(store) == sorted(sides)[5]
    kept = sum(min(side // cache.side, 2) ** 2 for side in sides if side >= cache.side)
    assert len(cache) == kept and sum(sides >= cache.side) >= 54


def test_rows_are_drawn_from_their_class_evenly() -> None:
    cache = plain_cache((5, 2, 9), 8)
    wanted = torch.arange(3).repeat(2000)
    rows = draw_rows(cache, wanted, seeded())
    assert torch.equal(cache.classes[rows], wanted)
    counts = torch.bincount(rows, minlength=16)
    assert (counts[:5] > 320).all() and (counts[5:7] > 900).all() and (counts[7:] > 160).all()
