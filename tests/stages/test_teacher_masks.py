import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histoweak.stages.teacher_masks import teach


@given(
    hnp.arrays(np.float32, (3, 3, 4), elements=st.floats(0, 1, width=32)),
    hnp.arrays(bool, (3, 3, 4)),
)
@settings(deadline=None, max_examples=60)
def test_the_teacher_chooses_among_the_classes_that_labels_allow(raw, allowed) -> None:
    probs = (raw + 0.01) / (raw + 0.01).sum(axis=0)
    mask = teach(probs, allowed, 0.7)
    for y, x in np.ndindex(3, 4):
        possible = [k for k in range(3) if allowed[k, y, x]]
        total = sum(float(probs[k, y, x]) for k in possible)
        shares = {k: float(probs[k, y, x]) / total for k in possible}
        if any(abs(share - 0.7) < 1e-5 for share in shares.values()):
            continue  # decided by rounding
        sure = [k for k, share in shares.items() if share >= 0.7]
        assert mask[y, x] == (sure[0] if sure else 255)


def test_a_lone_allowed_class_holds_even_where_the_teacher_denies_it() -> None:
    probs = np.array([[[1.0]], [[0.0]]], np.float32)
    assert teach(probs, np.array([[[False]], [[True]]]), 0.7).tolist() == [[1]]
