import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from histoweak.data.manifest import Record
from histoweak.errors import ImageError, ManifestError
from histoweak.export.png import write_index_png
from histoweak.inference.evaluate import evaluate_masks, evaluate_model
from histoweak.inference.gating import GateRule
from histoweak.inference.predict import predict_images
from tests.inference.models import CLASSES, segmenter, write_picture


@pytest.fixture
def records(tmp_path):
    made = []
    random = np.random.default_rng(0)
    for index in range(4):
        image = tmp_path / "images" / f"{index}.png"
        write_picture(image, 30 + index, 40, seed=index)
        mask = tmp_path / f"{index}-truth.png"
        truth = random.choice([0, 1, 2, 255], (30 + index, 40)).astype(np.uint8)
        write_index_png(mask, truth, CLASSES)
        labels = (1, 0, 1) if index % 2 else (0, 1, 1)
        made.append(Record(image, labels, mask, f"p{index // 2}", "s", "test", 0.25))
    return made


def expected(model, records, gated=False):
    """Every pixel of every image in one list, counted by scikit-learn."""
    truth, pred = [], []
    for record in records:
        image = np.asarray(Image.open(record.image))
        present = np.array(record.labels) > 0 if gated else None
        truth.append(np.asarray(Image.open(record.mask)).ravel())
        pred.append(model.predict(image, 0.25, present).array.ravel())
    truth, pred = np.concatenate(truth), np.concatenate(pred)
    scored = truth != 255
    return confusion_matrix(truth[scored], pred[scored], labels=[0, 1, 2])


def test_one_confusion_matrix_over_all_images_and_one_per_patient(records):
    model = segmenter(mpp=0.5)
    result = evaluate_model(model, records)
    assert np.array_equal(result.total.matrix, expected(model, records))
    assert result.patients.names == ("p0", "p1") and result.images == 4
    assert np.array_equal(result.patients["p1"].matrix, expected(model, records[2:]))
    assert result.figures(CLASSES.names)["confusion"]["matrix"] == result.total.matrix.tolist()


def test_the_true_labels_can_gate(records):
    model = segmenter()
    result = evaluate_model(model, records, gate=GateRule("truth"))
    assert np.array_equal(result.total.matrix, expected(model, records, gated=True))
    bare = [Record(r.image, (), r.mask) for r in records]
    with pytest.raises(ManifestError, match="no label"):
        evaluate_model(model, bare, gate=GateRule("truth"))


def test_masks_in_a_folder_score_as_the_model_that_made_them(records, tmp_path):
    model = segmenter(mpp=0.5)
    predict_images(model, [tmp_path / "images"], tmp_path / "out", mpp=0.25)
    result = evaluate_masks(tmp_path / "out", records, 3)
    assert np.array_equal(result.total.matrix, evaluate_model(model, records).total.matrix)
    again = evaluate_masks(tmp_path / "out" / "masks", records, 3)
    assert np.array_equal(again.total.tallies, result.total.tallies)


def test_damaged_images_are_counted_and_too_many_stop(records):
    records[1].image.write_bytes(b"")
    result = evaluate_model(segmenter(), records)
    assert result.images == 3 and result.skipped[0][0] == records[1].image
    records[2].mask.write_bytes(b"")
    with pytest.raises(ImageError, match="2 of 4"):
        evaluate_model(segmenter(), records)
    assert evaluate_model(segmenter(), records, max_skipped=0.5).images == 2


def test_a_missing_or_misfitting_prediction_is_reported(records, tmp_path):
    folder = tmp_path / "pred"
    folder.mkdir()
    for index, record in enumerate(records[:3]):
        size = Image.open(record.image).size[::-1]
        write_index_png(folder / f"{index}.png", np.zeros(size, np.uint8), CLASSES)
    result = evaluate_masks(folder, records, 3)
    assert "does not exist" in result.skipped[0][1]
    write_index_png(folder / "0.png", np.zeros((3, 3), np.uint8), CLASSES)
    with pytest.raises(ImageError, match="2 of 4"):
        evaluate_masks(folder, records, 3)


def test_rows_without_masks_cannot_be_scored(records):
    with pytest.raises(ManifestError, match="has no mask"):
        evaluate_model(segmenter(), [*records, Record(records[0].image)])
    with pytest.raises(ManifestError, match="no row"):
        evaluate_model(segmenter(), [])
