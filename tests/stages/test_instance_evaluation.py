import numpy as np

from histoweak.classes import IGNORE_INDEX
from histoweak.stages.instance_evaluation import square_truth


def by_loop(truth, shape, stride, side, zoom, n_classes):
    found = np.full(shape, IGNORE_INDEX, np.uint8)
    for r in range(shape[0]):
        for c in range(shape[1]):
            cut = [
                slice(
                    max(0, round(((i + 0.5) * stride - side / 2) * z)),
                    max(0, round(((i + 0.5) * stride + side / 2) * z)),
                )
                for i, z in zip((r, c), zoom, strict=True)
            ]
            square = truth[cut[0], cut[1]]
            counts = [(square == k).sum() for k in range(n_classes)]
            if sum(counts) * 2 >= square.size:
                found[r, c] = int(np.argmax(counts))
    return found


def test_truth_of_a_square_is_the_class_that_covers_most_of_it():
    random = np.random.default_rng(0)
    coarse = random.choice([0, 1, 2, 255], (6, 8))
    truth = np.kron(coarse, np.ones((12, 12), int)).astype(np.uint8)
    arguments = ((9, 12), 4, 8, (2.0, 2.0), 3)
    found = square_truth(truth, *arguments)
    assert np.array_equal(found, by_loop(truth, *arguments))
    assert set(np.unique(found)) == {0, 1, 2, 255}
