from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from histoweak.data.check import SEVERITIES
from tests.data.check.fake import altered, checked, clean, findings, tissue


@pytest.fixture
def data(tmp_path):
    return clean(tmp_path)


def overwrite(manifest, position, array, **options):
    Image.fromarray(array).save(manifest.records[position].image, **options)


def pixels(manifest, position):
    return np.asarray(Image.open(manifest.records[position].image))


def test_nothing_is_found_where_nothing_is_wrong(data):
    assert findings(data) == {}


def test_unreadable_images_and_masks(data):
    data.records[3].image.unlink()
    data.records[5].image.write_bytes(data.records[5].image.read_bytes()[:900])
    Image.new("L", (9, 9)).save(data.records[7].mask)
    result = checked(data)
    notes = {f.code: {i.images[0]: i.note for i in f.items} for f in result.findings}
    assert set(notes) == {"unreadable", "unreadable-mask"}
    assert notes["unreadable"][3] == "does not exist"
    assert notes["unreadable"][5].startswith("cannot be decoded")
    assert notes["unreadable-mask"] == {
        7: "mask is 9x9 (height x width) (expected 64x64 as its image)"
    }
    assert result.counts == {"error": 2, "warning": 0, "note": 0}


def test_a_patient_slide_or_source_in_two_splits(data):
    divided = altered(data, 1, split="test")
    assert findings(divided) == {
        "patient-in-two-splits": [(1, 11)],
        "slide-in-two-splits": [(1, 11)],
    }
    one_source = altered(altered(data, 0, source="field"), 9, source="field")
    assert findings(one_source) == {"source-in-two-splits": [(0, 9)]}
    # Rows without a split are in none.
    assert findings(altered(data, 1, split="")) == {}


def test_images_that_name_no_patient(data):
    own = [replace(r, patient=r.image.stem, slide=r.image.stem) for r in data.records]
    assert "patients-unknown" in findings(replace(data, records=tuple(own)))


def test_copies(data):
    overwrite(data, 11, pixels(data, 1))  # both train, same label
    overwrite(data, 18, np.rot90(pixels(data, 0)))  # train and test, turned
    assert findings(data) == {"picture-in-two-splits": [(0, 18)], "duplicate": [(1, 11)]}
    overwrite(data, 2, pixels(data, 1))  # a third copy with another label
    found = findings(data)
    assert found["duplicate"] == [(1, 2, 11)] == found["duplicate-with-other-label"]
    overwrite(data, 2, np.fliplr(pixels(data, 1)))
    found = findings(data)
    assert found["near-duplicate"] == [(1, 2, 11)] and "duplicate" not in found


def test_empty_glass_is_empty_and_no_copy(data):
    for i in (1, 9):
        overwrite(data, i, np.full((64, 64, 3), 245, np.uint8))
    assert findings(data) == {"empty": [(1,), (9,)]}


def test_labels_against_masks(data):
    mask = np.zeros((64, 64), np.uint8)
    mask[:3, :] = 1  # 4.7 %: less than the presence of 5 %
    for i in (2, 4):
        Image.fromarray(mask).save(data.records[i].mask)
    assert findings(data) == {}
    assert findings(data, presence=0.04) == {"label-against-mask": [(2,), (4,)]}
    assert findings(altered(data, 2, labels=(1, 1))) == {}
    assert findings(altered(data, 5, labels=(1, 0))) == {"label-against-mask": [(5,)]}


def test_missing_and_empty_labels(data):
    bare = altered(altered(data, 1, labels=()), 9, labels=())  # train and test
    assert findings(bare) == {"label-missing": [(1,)]}
    assert findings(altered(data, 1, labels=(0, 0), mask=None)) == {"label-empty": [(1,)]}


def test_balance_of_classes(data):
    def relabelled(label):
        rows = [replace(r, labels=label(r), mask=None) for r in data.records]
        return replace(data, records=tuple(rows))

    assert set(findings(relabelled(lambda r: (1, 0)))) == {"class-absent"}
    assert set(findings(relabelled(lambda r: (1, int(r.row % 3 == 0))))) == {"class-never-alone"}
    rare = relabelled(lambda r: (0, 1) if r.row == 2 else (1, 0))
    assert set(findings(rare, rare=0.1)) == {"class-rare"}
    assert findings(rare, rare=0.01) == {}
    only_test = replace(data, records=tuple(replace(r, split="test") for r in data.records))
    assert set(findings(only_test)) == {"no-train"}


def test_scales(data):
    assert findings(altered(data, 4, mpp=None)) == {"mpp-missing": [(4,)]}
    assert findings(altered(data, 4, mpp=40.0)) == {"mpp-strange": [(4,)], "mpp-several": [(), ()]}


def test_odd_formats_and_sizes(data):
    overwrite(data, 1, pixels(data, 1)[..., 1])
    exif = Image.Exif()
    exif[0x0112] = 3
    overwrite(data, 2, pixels(data, 2), exif=exif)
    data.records[3].image.rename(data.records[3].image.with_suffix(".jpg"))
    renamed = altered(data, 3, image=data.records[3].image.with_suffix(".jpg"))
    Image.fromarray(pixels(data, 5)[:20, :20]).save(data.records[5].image)
    Image.new("L", (20, 20), 1).save(data.records[5].mask)
    result = checked(renamed)
    found = {f.code: [(i.images[0], i.note) for i in f.items] for f in result.findings}
    assert found["format"] == [
        (1, "pixel format L"),
        (2, "EXIF orientation 3"),
        (3, "a PNG file that ends in '.jpg'"),
    ]
    assert found["small"] == [(5, "20x20 (height x width)")]
    assert found["size"] == [(5, "20x20 (height x width), others 64x64")]


def test_outliers_of_stain_and_focus(data):
    overwrite(data, 4, ndimage.gaussian_filter(pixels(data, 4), (3, 3, 0)))
    overwrite(data, 6, np.ascontiguousarray(pixels(data, 6)[..., [1, 0, 2]]))
    dark = (pixels(data, 8) * 0.6).astype(np.uint8)
    overwrite(data, 8, dark)
    found = findings(data)
    assert set(found) == {"stain", "focus"}
    assert sorted(found["stain"]) == [(6,), (8,)] and found["focus"] == [(4,)]
    assert findings(data, deviations=1000) == {}


def test_few_images_have_no_outliers(tmp_path):
    data = clean(tmp_path, 12)
    overwrite(data, 4, (tissue(4) * 0.5).astype(np.uint8))
    assert findings(data) == {}


def test_summary_counts(data):
    data.records[0].image.unlink()
    train, val, test = checked(data).splits
    assert [s.name for s in (train, val, test)] == ["train", "val", "test"]
    records = data.split("train")
    assert (train.images, train.usable, train.labelled, train.masks) == (18, 17, 18, 17)
    assert (train.patients, train.slides) == (6, 6)
    assert train.sizes == (((64, 64), 17),) and train.mpp == ((0.5, 18),)
    for k, name in enumerate(data.classes.names):
        counts = train.classes[k]
        assert counts.name == name
        assert counts.images == sum(r.labels[k] for r in records)
        assert counts.alone == sum(r.labels[k] and sum(r.labels) == 1 for r in records)
    masks = [np.asarray(Image.open(r.mask)) for r in records[1:]]
    assert train.classes[0].pixels == pytest.approx(np.mean([m == 0 for m in masks]))
    assert sum(c.pixels for c in val.classes) == pytest.approx(1)


def test_errors_come_first_and_plain_data_tell_all(data):
    data.records[3].image.unlink()
    wrong = altered(altered(data, 1, mpp=None), 5, split="test")
    result = checked(wrong)
    kinds = [f.severity for f in result.findings]
    assert kinds == sorted(kinds, key=SEVERITIES.index) and len(set(kinds)) == 2
    plain = result.to_dict()
    assert plain["counts"]["error"] == kinds.count("error")
    (missing,) = (f for f in plain["findings"] if f["code"] == "mpp-missing")
    assert missing["items"][0]["images"] == [
        {"row": 3, "image": str(data.records[1].image), "split": "train"}
    ]
    columns = result.columns()
    assert {len(column) for column in columns.values()} == {30}
    assert columns["problem"][3] == "does not exist" and columns["height"][3] is None
