import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.data.crops import AugmentConfig, CropDataset, StepSampler, collate, is_mixed
from histoweak.data.frames import Frame, FrameStore

STILL = AugmentConfig(flips=False, rotations=False, scale=0, stain=0, stain_shift=0)
TURNED = STILL.model_copy(update={"flips": True, "rotations": True})


def frame(
    boxes, height: int = 64, width: int = 64, patient: str = "p", labels=None, offset: int = 0
) -> Frame:
    return Frame(
        name="f",
        patient=patient,
        slide="s",
        split="train",
        height=height,
        width=width,
        offset=offset,
        mpp=1.0,
        boxes=tuple(tuple(float(v) for v in box) for box in boxes),
        labels=tuple(labels) if labels is not None else tuple((1, 0) for _ in boxes),
        windows=tuple(f"{patient}-{i}" for i in range(len(boxes))),
    )


def write_store(folder: Path, frames: list[Frame], images: list[np.ndarray]) -> FrameStore:
    """A store as `build_frames` leaves it, from arrays."""
    folder.mkdir(exist_ok=True)
    offset, placed = 0, []
    for f in frames:
        placed.append(replace(f, offset=offset))
        offset += f.height * f.width
    (folder / "frames.json").write_text(json.dumps([asdict(f) for f in placed]))
    (folder / "images.u8").write_bytes(b"".join(i.tobytes() for i in images))
    return FrameStore(folder)


def dataset(store: FrameStore, size: int, augment: AugmentConfig = STILL, **more) -> CropDataset:
    return CropDataset(store, size=size, augment=augment, seed=3, n_classes=2, **more)


@given(
    st.integers(0, 40),
    st.integers(0, 30),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1),
    st.sampled_from([16, 32, 96]),
    st.integers(0, 999),
)
@settings(deadline=None, max_examples=60)
def test_boxes_stay_on_their_pixels(
    tmp_path_factory, left, top, flips, rotations, scale, size, step
) -> None:
    """A window painted black must be found where the crop says that it is."""
    image = np.full((50, 60, 3), 200, np.uint8)
    image[top : top + 13, left : left + 11] = 0
    f = frame([(left, top, left + 11, top + 13)], 50, 60)
    store = write_store(tmp_path_factory.mktemp("s"), [f], [image])
    augment = STILL.model_copy(update={"flips": flips, "rotations": rotations, "scale": scale})
    masks = (image[..., 0] == 0).astype(np.uint8)
    crop = dataset(store, size, augment, mask_of=lambda _: masks)[step, 0]
    assert crop.image.shape == (3, size, size) and crop.boxes.shape == (1, 4)
    x0, y0, x1, y1 = crop.boxes[0].tolist()
    zoom = (x1 - x0) * (y1 - y0) / (11 * 13)  # squared magnification
    assert 0.99 / (1 + scale) ** 2 * (size / (size + 1)) ** 2 < zoom < 1.01 * (1 + scale) ** 2
    # Reflections of the window may lie outside, but nothing inside is lit, nor its rim dark.
    dark = (crop.image[0] < 100).numpy()
    ys, xs = np.mgrid[:size, :size] + 0.5
    inside = (xs > x0 + 1) & (xs < x1 - 1) & (ys > y0 + 1) & (ys < y1 - 1)
    assert dark[inside].all()
    assert crop.mask is not None
    assert (crop.mask.numpy()[inside] == 1).all()
    outside = (xs < x0 - 1) | (xs > x1 + 1) | (ys < y0 - 1) | (ys > y1 + 1)
    assert not (crop.mask.numpy()[outside] == 1).any()  # what lies beyond the frame is ignored


def test_rotations_and_flips_reach_all_eight_orientations(tmp_path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:8, :16] = 255  # no symmetry
    store = write_store(tmp_path, [frame([(0, 0, 32, 32)], 32, 32)], [image])
    expected = {np.rot90(m, k).tobytes() for k in range(4) for m in (image, image[:, ::-1])}
    crops = [dataset(store, 32, TURNED)[step, 0] for step in range(80)]
    found = {c.image.permute(1, 2, 0).contiguous().numpy().tobytes() for c in crops}
    assert len(expected) == 8 and found == expected
    still = [dataset(store, 32)[step, 0].image for step in range(5)]
    assert all((c.permute(1, 2, 0).numpy() == image).all() for c in still)


@pytest.mark.parametrize("shift", [0.0, 0.005, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("length", [31.0, 31.995, 32.0, 40.2])
def test_a_window_is_never_lost(tmp_path, shift, length) -> None:
    """Windows between pixels (from a working scale) that fill the crop, or are shrunk to it."""
    low = 10 + shift
    boxes = [(low, low, low + length, low + length)]
    store = write_store(tmp_path, [frame(boxes)], [np.zeros((64, 64, 3), np.uint8)])
    augment = STILL.model_copy(update={"scale": 0.5})
    for step in range(20):
        crop = dataset(store, 32, augment)[step, 0]
        assert len(crop.boxes) == 1 and len(crop.labels) == 1
        assert crop.boxes.min() >= 0 and crop.boxes.max() <= 32


def test_a_window_larger_than_the_crop_is_shrunk_whole(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    store = write_store(tmp_path, [frame([(0, 0, 64, 64)])], [image])
    crop = dataset(store, 32)[0, 0]
    assert crop.boxes.tolist() == [[0, 0, 32, 32]]
    # Halving with antialiasing blurs; the mean colour stays.
    means = crop.image.float().mean((1, 2)).numpy()
    np.testing.assert_allclose(means, image.mean((0, 1)), atol=1.0)


def test_pieces_are_cut_out_of_all_of_a_larger_window_at_its_own_scale(tmp_path) -> None:
    y, x = np.mgrid[:60, :90]
    image = np.stack([y, x, y + x], axis=-1).astype(np.uint8)
    # One window is larger than the crop along both sides, one along the first, one not at all.
    for box in ((20, 10, 81, 50), (5, 0, 15, 60), (30, 30, 40, 41)):
        store = write_store(tmp_path / str(box), [frame([box], 60, 90)], [image])
        pieces = dataset(store, 16, pieces=True)
        tops, lefts = set(), set()
        for step in range(400):
            pixels = pieces[step, 0].image.numpy()
            top, left = int(pixels[0, 0, 0]), int(pixels[1, 0, 0])
            expected = image[top : top + 16, left : left + 16].transpose(2, 0, 1)
            np.testing.assert_array_equal(pixels, expected)
            tops.add(top)
            lefts.add(left)
        for starts, low, high, length in ((lefts, box[0], box[2], 90), (tops, box[1], box[3], 60)):
            first, last = sorted((low, high - 16))
            assert starts == set(range(max(0, first), min(length - 16, last) + 1))


def test_only_windows_that_lie_inside_speak(tmp_path) -> None:
    boxes = [(x, y, x + 10, y + 10) for y in range(0, 50, 7) for x in range(0, 50, 7)]
    labels = [(i % 2, i // 2 % 2) for i in range(len(boxes))]
    unlabelled = {0, 5, 17}
    labels = [() if i in unlabelled else v for i, v in enumerate(labels)]
    # Each window's corner carries its number, so that the place of the crop can be read off.
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = np.arange(64)[None]
    image[..., 1] = np.arange(64)[:, None]
    store = write_store(tmp_path, [frame(boxes, labels=labels)], [image])
    data = dataset(store, 24)
    for step in range(30):
        crop = data[step, 0]
        x, y = int(crop.image[0, 0, 0]), int(crop.image[1, 0, 0])
        expected = [
            ([x0 - x, y0 - y, x1 - x, y1 - y], list(label))
            for (x0, y0, x1, y1), label in zip(boxes, labels, strict=True)
            if label and x0 >= x and y0 >= y and x1 <= x + 24 and y1 <= y + 24
        ]
        found = list(zip(crop.boxes.tolist(), crop.labels.tolist(), strict=True))
        assert found == expected


def test_beyond_the_frame_images_are_mirrored_and_masks_ignored(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    store = write_store(tmp_path, [frame([(0, 0, 20, 20)], 20, 20)], [image])
    mask = np.zeros((20, 20), np.uint8)
    crop = dataset(store, 50, mask_of=lambda _: mask)[4, 0]
    x0, y0, x1, y1 = (int(v) for v in crop.boxes[0])
    assert (x1 - x0, y1 - y0) == (20, 20)
    assert crop.mask is not None
    found, known = crop.image.permute(1, 2, 0).numpy(), crop.mask.numpy() == 0
    assert known.sum() == 400 and known[y0:y1, x0:x1].all()
    for y, x in np.ndindex(50, 50):  # mirrored about the edge, the edge pixel itself included
        sy, sx = (y - y0) % 40, (x - x0) % 40
        assert (found[y, x] == image[min(sy, 39 - sy), min(sx, 39 - sx)]).all()


def test_an_item_depends_on_nothing_but_seed_step_and_slot(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    boxes = [(x, 8, x + 16, 24) for x in range(0, 48, 4)]
    store = write_store(tmp_path, [frame(boxes)], [image])
    keys = [(s, i) for s in range(4) for i in range(3)]
    first, second = dataset(store, 32, AugmentConfig()), dataset(store, 32, AugmentConfig())
    forward = {k: first[k] for k in keys}
    backward = {k: second[k] for k in reversed(keys)}
    for key in keys:
        a, b = forward[key], backward[key]
        assert all(
            torch.equal(getattr(a, n), getattr(b, n)) for n in ("image", "boxes", "labels", "stain")
        )
    images = {c.image.numpy().tobytes() for c in forward.values()}
    assert len(images) == len(keys)  # and no two places draw the same
    other = CropDataset(store, size=32, augment=AugmentConfig(), seed=4, n_classes=2)
    assert not torch.equal(other[0, 0].image, forward[0, 0].image)


def test_patients_are_drawn_equally_often_whatever_they_bring(tmp_path) -> None:
    many = [(0, 0, 16, 16)] * 9
    frames = [frame(many, patient="a"), frame(many, patient="a"), frame(many[:1], patient="b")]
    blank = np.zeros((64, 64, 3), np.uint8)
    store = write_store(tmp_path, frames, [blank] * 3)

    def share_of_b(balance) -> float:
        data = dataset(store, 16, balance=balance)
        return float(np.mean([data[step, 0].name.startswith("b") for step in range(400)]))

    # Three standard deviations of 400 draws.
    assert abs(share_of_b("patient") - 0.5) < 3 * np.sqrt(0.25 / 400)
    assert abs(share_of_b("none") - 1 / 19) < 3 * np.sqrt(18 / 19**2 / 400)


def test_stain_factors_and_magnifications_keep_to_their_ranges(tmp_path) -> None:
    store = write_store(tmp_path, [frame([(24, 24, 40, 40)])], [np.zeros((64, 64, 3), np.uint8)])
    data = dataset(store, 32, AugmentConfig(scale=0.5, stain=0.2, stain_shift=0.1))
    crops = [data[step, 0] for step in range(200)]
    stain = torch.stack([c.stain for c in crops])
    assert (stain[:, :3] - 1).abs().max() <= 0.2 and (stain[:, :3] - 1).abs().max() > 0.18
    assert stain[:, 3:].abs().max() <= 0.1 and stain[:, 3:].abs().max() > 0.09
    zoom = np.array([float(c.boxes[0, 2] - c.boxes[0, 0]) / 16 for c in crops])
    assert zoom.min() >= 0.64 and zoom.max() <= 1.5
    assert abs(np.mean(zoom > 1) - 0.5) < 0.15  # equally often on either side of 1


@pytest.mark.parametrize(("batch", "world"), [(4, 1), (4, 2), (5, 2), (3, 3)])
def test_processes_share_out_every_slot(batch, world) -> None:
    shards = [list(StepSampler(lambda: 2, 3, batch, rank, world)) for rank in range(world)]
    assert all(len(shard) == 3 for shard in shards)
    for step in range(3):
        keys = sorted(key for shard in shards for key in shard[step])
        assert keys == [(6 + step, slot) for slot in range(batch)]


def test_collating_numbers_the_boxes(tmp_path) -> None:
    boxes = [(0, 0, 16, 16), (2, 2, 18, 18)]
    store = write_store(tmp_path, [frame(boxes)], [np.zeros((64, 64, 3), np.uint8)])
    crops = [dataset(store, 32)[step, 0] for step in range(6)]
    batch = collate(crops)
    assert batch.images.shape == (6, 3, 32, 32) and batch.masks is None
    for i, crop in enumerate(crops):
        mine = batch.boxes[:, 0] == i
        assert torch.equal(batch.boxes[mine, 1:], crop.boxes)
        assert torch.equal(batch.labels[mine], crop.labels)
    assert batch.names == tuple(c.name for c in crops)
    masked = dataset(store, 32, mask_of=lambda _: np.ones((64, 64), np.uint8))
    stacked = collate([masked[0, 0], masked[1, 0]])
    assert stacked.masks is not None and stacked.masks.shape == (2, 32, 32)
    assert stacked.to(torch.device("cpu")).masks is not None


def test_several_masks_move_along_like_one(tmp_path) -> None:
    store = write_store(tmp_path, [frame([(0, 0, 20, 20)])], [np.zeros((64, 64, 3), np.uint8)])
    masks = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
    scaled = TURNED.model_copy(update={"scale": 0.5})
    together = dataset(store, 96, scaled, mask_of=lambda index: masks)
    alone = [dataset(store, 96, scaled, mask_of=lambda index, m=m: m) for m in masks]
    for step in range(6):
        crop = together[step, 0].mask
        assert crop is not None and crop.shape == (3, 96, 96)
        assert torch.equal(crop, torch.stack([one[step, 0].mask for one in alone]))
        assert (crop == 255).any()  # beyond the frame


def test_only_windows_that_are_kept_are_shown(tmp_path) -> None:
    boxes = [(0, 0, 8, 8), (20, 0, 28, 8), (40, 0, 48, 8)]
    mixed = frame(boxes, patient="a", labels=[(1, 0), (1, 1), (0, 1)])
    single = frame(boxes[:1], patient="b")
    images = [np.zeros((64, 64, 3), np.uint8)] * 2
    data = dataset(write_store(tmp_path, [mixed, single], images), 16, keep=is_mixed)
    assert {data[step, 0].name for step in range(20)} == {"a-1"}


def test_upside_down_makes_both_flips_and_nothing_else(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    store = write_store(tmp_path / "s", [frame([(0, 0, 32, 32)], 32, 32)], [image])
    augment = STILL.model_copy(update={"flips": True, "upside_down": True})
    crops = dataset(store, 32, augment)
    seen = {crops[step, 0].image.numpy().tobytes() for step in range(60)}
    pixels = image.transpose(2, 0, 1)
    flips = [(), (1,), (2,), (1, 2)]
    assert seen == {np.ascontiguousarray(np.flip(pixels, axes)).tobytes() for axes in flips}


def test_half_of_the_crops_are_blurred_and_nothing_else_of_them_changes(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    store = write_store(tmp_path / "s", [frame([(0, 0, 64, 64)])], [image])
    sharp = dataset(store, 64, TURNED.model_copy(update={"stain": 0.3}))
    soft = dataset(store, 64, TURNED.model_copy(update={"stain": 0.3, "blur": 2.0}))
    blurred = 0
    for step in range(60):
        one, other = sharp[step, 0], soft[step, 0]
        assert one.stain.equal(other.stain) and one.boxes.equal(other.boxes)
        if not one.image.equal(other.image):
            blurred += 1
            assert other.image.float().std() < one.image.float().std()
            difference = other.image.float().mean() - one.image.float().mean()
            assert abs(float(difference)) < 2
    assert 18 <= blurred <= 42
