import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histoweak.refine.components import clean_mask, drop_small


def components(region: np.ndarray) -> list[set[tuple[int, int]]]:
    """4-connected components by flood fill."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(region), strict=True)}
    found = []
    while left:
        edge, inside = [left.pop()], set()
        while edge:
            y, x = edge.pop()
            inside.add((y, x))
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
        found.append(inside)
    return found


regions = hnp.arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8)))


@given(regions, st.integers(0, 6))
@settings(deadline=None, max_examples=60)
def test_small_components_go_as_by_flood_fill(region, least) -> None:
    expected = np.zeros_like(region)
    for component in components(region):
        if len(component) >= least:
            for place in component:
                expected[place] = True
    np.testing.assert_array_equal(drop_small(region, least), expected)


def test_corners_do_not_connect() -> None:
    region = np.eye(3, dtype=bool)
    assert not drop_small(region, 2).any() and drop_small(region, 1).all() == region.all()


masks = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.sampled_from([0, 1, 255])
)


@given(masks, st.integers(0, 6))
@settings(deadline=None, max_examples=60)
def test_small_components_of_each_class_are_ignored(mask, least) -> None:
    expected = np.full_like(mask, 255)
    for value in (0, 1):
        for component in components(mask == value):
            if len(component) >= least:
                for place in component:
                    expected[place] = value
    before = mask.copy()
    np.testing.assert_array_equal(clean_mask(mask, least), expected)
    np.testing.assert_array_equal(mask, before)
