from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoweak.data.frames import FrameStore, build_frames
from histoweak.data.manifest import Record
from histoweak.data.skips import Skips
from histoweak.errors import ImageError, ManifestError
from histoweak.progress import Progress


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def build(records, out: Path, limit: float = 0.5, **more) -> FrameStore:
    out.mkdir(exist_ok=True)
    options = {"mpp": None, "assemble": True, "with_masks": False} | more
    skips = options.pop("skips", Skips(len(records), limit))
    return build_frames(records, 2, out, skips=skips, progress=Progress(quiet=True), **options)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def cut(tmp_path: Path):
    """A source of 40 x 52 px, its mask, and patches of 16 px every 12 px that cover it all."""
    image = picture(40, 52)
    mask = np.random.default_rng(1).integers(0, 2, (40, 52), dtype=np.uint8)
    records = []
    for y in range(0, 25, 12):
        for x in range(0, 37, 12):
            area = np.s_[y : y + 16, x : x + 16]
            name = f"{y}-{x}.png"
            (tmp_path / "m").mkdir(exist_ok=True)
            records.append(
                Record(
                    image=save(tmp_path / name, image[area]),
                    mask=save(tmp_path / "m" / name, mask[area]),
                    labels=(int(x > 0), 1),
                    patient="p",
                    slide="s",
                    split="train",
                    mpp=0.5,
                    source="whole",
                    x=x + 100,  # the source itself begins elsewhere
                    y=y + 7,
                )
            )
    return image, mask, records


def test_patches_become_the_image_they_were_cut_from(cut, tmp_path) -> None:
    image, mask, records = cut
    shuffled = [records[i] for i in np.random.default_rng(0).permutation(len(records))]
    store = build(shuffled, tmp_path / "out", with_masks=True)
    assert len(store) == 1
    np.testing.assert_array_equal(store.image(0), image)
    np.testing.assert_array_equal(store.mask(0), mask)
    frame = store.frames[0]
    assert (frame.height, frame.width, frame.mpp, frame.name) == (40, 52, 0.5, "whole")
    assert (frame.patient, frame.slide, frame.split) == ("p", "s", "train")
    for record, box, label, window in zip(
        shuffled, frame.boxes, frame.labels, frame.windows, strict=True
    ):
        x, y = record.x - 100, record.y - 7
        assert box == (x, y, x + 16, y + 16)
        assert label == record.labels and window == str(record.image)


def test_the_store_is_read_back_from_disk(cut, tmp_path) -> None:
    built = build(cut[2], tmp_path / "out", with_masks=True)
    again = FrameStore(tmp_path / "out")
    assert again.frames == built.frames
    np.testing.assert_array_equal(again.image(0), built.image(0))


def test_what_no_patch_covers_is_white_and_unlabelled(cut, tmp_path) -> None:
    image, mask, records = cut
    kept = [r for i, r in enumerate(records) if i not in (1, 6)]
    store = build(kept, tmp_path / "out", with_masks=True)
    covered = np.zeros((40, 52), bool)
    for record in kept:
        covered[record.y - 7 : record.y + 9, record.x - 100 : record.x - 84] = True
    assert not covered.all()
    np.testing.assert_array_equal(store.image(0)[covered], image[covered])
    np.testing.assert_array_equal(store.mask(0)[covered], mask[covered])
    assert (store.image(0)[~covered] == 255).all() and (store.mask(0)[~covered] == 255).all()


def test_without_assembly_every_patch_stands_alone(cut, tmp_path) -> None:
    records = cut[2]
    store = build(records, tmp_path / "out", assemble=False)
    assert len(store) == len(records)
    for index, record in enumerate(records):
        np.testing.assert_array_equal(store.image(index), np.asarray(Image.open(record.image)))
        assert store.frames[index].boxes == ((0, 0, 16, 16),)


def test_no_masks_are_stored_where_none_were_asked_for(cut, tmp_path) -> None:
    store = build(cut[2], tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"frames.json", "images.u8"}
    with pytest.raises(ValueError, match="without masks"):
        store.mask(0)


def test_frames_of_many_sizes_lie_behind_each_other(tmp_path) -> None:
    images = [picture(h, w, seed=h) for h, w in ((5, 9), (30, 3), (1, 1), (16, 16))]
    records = [Record(save(tmp_path / f"{i}.png", a), (1, 0)) for i, a in enumerate(images)]
    store = build(records, tmp_path / "out")
    assert [f.name for f in store.frames] == ["0", "1", "2", "3"]
    for index, image in enumerate(images):
        np.testing.assert_array_equal(store.image(index), image)


def test_sources_of_one_name_on_two_slides_stay_apart(tmp_path) -> None:
    images = [picture(8, 8, seed) for seed in range(2)]
    records = [
        Record(save(tmp_path / f"{i}.png", a), (1, 0), slide=f"s{i}", source="1")
        for i, a in enumerate(images)
    ]
    store = build(records, tmp_path / "out")
    assert len(store) == 2
    for index, image in enumerate(images):
        np.testing.assert_array_equal(store.image(index), image)


@pytest.mark.parametrize(("mpp", "size"), [(1.0, (20, 26)), (0.25, (80, 104)), (0.7, (29, 37))])
def test_boxes_follow_the_pixels_to_the_working_scale(cut, tmp_path, mpp, size) -> None:
    _, mask, records = cut
    store = build(records, tmp_path / "out", mpp=mpp, with_masks=True)
    frame = store.frames[0]
    assert (frame.height, frame.width, frame.mpp) == (*size, mpp)
    for record, box in zip(records, frame.boxes, strict=True):
        corners = np.array([record.x - 100, record.y - 7, record.x - 84, record.y + 9])
        np.testing.assert_allclose(box, corners * 0.5 / mpp)
    # Each pixel of the scaled mask has the class at its centre.
    for y, x in np.ndindex(*size):
        source = mask[int((y + 0.5) * 40 / size[0]), int((x + 0.5) * 52 / size[1])]
        assert store.mask(0)[y, x] == source


def test_shrinking_by_two_averages_each_block(cut, tmp_path) -> None:
    image, _, records = cut
    store = build(records, tmp_path / "out", mpp=1.0)
    blocks = image.reshape(20, 2, 26, 2, 3).astype(float).mean(axis=(1, 3))
    # Pillow rounds after each of its two passes.
    assert np.abs(store.image(0) - blocks).max() <= 1


def test_a_working_scale_needs_the_scale_of_every_image(tmp_path) -> None:
    record = Record(save(tmp_path / "a.png", picture(4, 4)), (1, 0), row=7)
    with pytest.raises(ManifestError, match=r"row 7.*no mpp.*frames\.mpp=null"):
        build([record], tmp_path / "out", mpp=1.0)


def test_full_supervision_needs_the_mask_of_every_image(tmp_path) -> None:
    record = Record(save(tmp_path / "a.png", picture(4, 4)), (1, 0), row=7)
    with pytest.raises(ManifestError, match=r"row 7.*no mask"):
        build([record], tmp_path / "out", with_masks=True)


def test_a_damaged_patch_is_skipped_with_its_reason(cut, tmp_path) -> None:
    image, _, records = cut
    records[0].image.write_bytes(records[0].image.read_bytes()[:60])
    skips = Skips(len(records), 0.2)
    store = build(records, tmp_path / "out", skips=skips)
    assert [path for path, _ in skips.reasons] == [records[0].image]
    frame = store.frames[0]
    assert len(frame.boxes) == len(frame.labels) == len(frame.windows) == len(records) - 1
    np.testing.assert_array_equal(store.image(0)[16:], image[16:])
    assert (store.image(0)[:12, :12] == 255).all()


def test_a_frame_whose_every_patch_is_damaged_is_left_out(tmp_path) -> None:
    records = [Record(save(tmp_path / f"{i}.png", picture(4, 4, i)), (1, 0)) for i in range(4)]
    records[1].image.write_bytes(b"")
    store = build(records, tmp_path / "out")
    assert [f.name for f in store.frames] == ["0", "2", "3"]
    np.testing.assert_array_equal(store.image(1), picture(4, 4, 2))


def test_too_many_damaged_patches_end_the_work(tmp_path) -> None:
    records = [Record(save(tmp_path / f"{i}.png", picture(4, 4, i)), (1, 0)) for i in range(4)]
    for record in records[:3]:
        record.image.write_bytes(b"not an image")
    with pytest.raises(ImageError, match="3 of 4 images"):
        build(records, tmp_path / "out")


def test_a_mask_of_another_size_skips_its_patch(cut, tmp_path) -> None:
    records = cut[2]
    save(records[2].mask, np.zeros((3, 3), np.uint8))
    skips = Skips(len(records), 0.2)
    build(records, tmp_path / "out", skips=skips, with_masks=True)
    assert [path for path, _ in skips.reasons] == [records[2].image]


def test_patches_that_make_no_frame_are_refused_before_memory_is_spent(tmp_path) -> None:
    def pair(**second) -> list[Record]:
        a, b = (save(tmp_path / f"{n}.png", picture(4, 4)) for n in "ab")
        common = {"labels": (1, 0), "mpp": 0.5, "source": "slide", "row": 3}
        return [Record(a, **common), Record(b, **common | second)]

    with pytest.raises(ManifestError, match=r"row 3, source 'slide'.*megapixels.*assemble=false"):
        build(pair(x=10**9, y=10**9), tmp_path / "out")
    with pytest.raises(ManifestError, match=r"several scales: 0\.25, 0\.5"):
        build(pair(mpp=0.25, x=4), tmp_path / "out")
    assert len(build(pair(mpp=0.25, x=10**9), tmp_path / "out", assemble=False)) == 2
