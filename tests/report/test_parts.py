"""The parts that a report is made of: data, text, colours, charts, galleries."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from histoweak.classes import PALETTE, ClassSet
from histoweak.metrics.choice import choose_samples
from histoweak.report import (
    Curve,
    Estimate,
    EvidenceCell,
    EvidenceTable,
    LadderRow,
    Measure,
    MeasureTable,
    Protocol,
    ReportData,
)
from histoweak.report.charts import Bar, bars
from histoweak.report.colors import DEFICIENCIES, least_distance, report_classes
from histoweak.report.gallery import sample_tiles
from histoweak.report.lines import curves
from histoweak.report.text import clean, percent, shorten, with_code
from tests.report.fake import CLASSES, PROTOCOL, sample


def test_data_refuses_what_does_not_fit_the_classes():
    with pytest.raises(ValueError, match="'CAM' has 2 values, expected 4"):
        ReportData("run", CLASSES, PROTOCOL, [LadderRow("CAM", (0.1, 0.2), 0.1)])
    table = MeasureTable([Measure("F1", "", [Estimate(0.5)])])
    with pytest.raises(ValueError, match="'F1' has 1 values, expected 4"):
        ReportData("run", CLASSES, PROTOCOL, [], labels=table)
    with pytest.raises(ValueError, match="confusion of shape"):
        ReportData("run", CLASSES, PROTOCOL, [], confusion=np.zeros((3, 3), int))
    with pytest.raises(ValueError, match="3 steps, 2 values"):
        Curve("loss", (1, 2, 3), (0.1, 0.2))
    with pytest.raises(ValueError, match="twice"):
        EvidenceTable([EvidenceCell(True, True, {})] * 2, "never")


def test_missing_evidence_cells_are_empty():
    table = EvidenceTable([EvidenceCell(True, False, {"a": 2, "b": 3})], "rule")
    assert table.cell(True, False).patches == 5
    assert table.cell(False, False).patches == 0


def test_protocol_line_and_cautions():
    protocol = Protocol("truth", "none", "val-mask", "test", (0, 1))
    assert protocol.line() == (
        "Gate: truth · test-time augmentation: none · checkpoint selection: val-mask · "
        "split: test · seeds: 0, 1"
    )
    assert len(protocol.cautions()) == 2
    assert Protocol("none", "none", "last", "test", (0, 1, 2)).cautions() == ()
    assert "one seed" in Protocol("none", "none", "last", "test", (4,)).cautions()[0]


@given(st.text(st.characters()))
def test_clean_text_holds_no_control_and_no_address(text):
    cleaned = clean(text + "http://x")
    assert not re.search(r"https?://|[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", cleaned)
    cleaned.encode("utf-8")


def test_code_is_set_apart_and_everything_is_escaped():
    text = "Run `histoweak data split` <b> or give --presence, not e--x `<i>`"
    assert with_code(text) == (
        "Run <code>histoweak data split</code> &lt;b&gt; or give <code>--presence</code>, "
        "not e--x <code>&lt;i&gt;</code>"
    )


@given(st.text(max_size=40), st.integers(3, 30))
def test_shortened_names_fit_and_keep_both_ends(text, length):
    short = shorten(text, length)
    assert len(short) <= length
    assert short == text or (text.startswith(short[0]) and text.endswith(short[-1]))


def test_percent_keeps_small_shares_visible():
    said = [percent(v) for v in (0.0, 0.001, 0.5, 1.0, None, float("nan"))]
    assert said == ["0 %", "<1 %", "50 %", "100 %", "–", "–"]


def test_default_colours_stay_apart_and_others_are_replaced():
    names = tuple("abcdefgh")
    assert report_classes(ClassSet(names)).colors == PALETTE
    kept = ClassSet(("a", "b", "c"), ((0, 64, 128), (243, 152, 0), (255, 255, 255)))
    assert report_classes(kept) is kept
    confusable = ClassSet(("a", "b"), ((255, 0, 0), (0, 128, 0)))
    assert report_classes(confusable).colors == PALETTE[:2]


def test_least_distance_against_another_library():
    rng = np.random.default_rng(2)
    colors = rng.integers(0, 256, (5, 3))
    linear = np.where(
        colors / 255 <= 0.04045, colors / 255 / 12.92, ((colors / 255 + 0.055) / 1.055) ** 2.4
    )
    distances = []
    for matrix in (np.eye(3), *DEFICIENCIES):
        seen = (linear @ matrix.T).clip(0, 1)
        srgb = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
        lab = rgb2lab(srgb[None])[0]
        distances += [np.linalg.norm(lab[i] - lab[j]) for i in range(5) for j in range(i)]
    assert least_distance(colors) == pytest.approx(min(distances), rel=0.01)


def test_bars_are_as_long_as_their_values():
    root = ElementTree.fromstring(  # noqa: S314 - our own output
        bars("IoU", [Bar("a", 0.25), Bar("b", 0.75), Bar("c", None), Bar("d", 1.0)])
    )
    widths = [float(r.get("width")) for r in root.iter("rect")]
    assert widths == pytest.approx([324 * 0.25, 324 * 0.75, 324.0], abs=0.1)


def test_curves_lift_the_pen_where_a_value_is_missing():
    values = (1.0, float("nan"), 3.0, 4.0)
    drawn = curves("loss", [Curve("loss", (1, 2, 3, 4), values)])
    path = re.search(r' d="(M[^"]*)" fill="none"', drawn)[1]
    assert path.count("M") == 2
    assert path.count("L") == 1


def test_constant_and_empty_curves_are_drawn():
    assert "nan" not in curves("t", [Curve("flat", (1, 2), (0.5, 0.5))])
    assert "nan" not in curves("t", [Curve("one", (5,), (0.5,))])


@given(
    st.lists(st.one_of(st.none(), st.just(float("nan")), st.floats(0, 1)), max_size=30),
    st.integers(1, 5),
)
def test_chosen_samples_are_ordered_disjoint_and_extreme(mious, n):
    chosen = choose_samples(mious, n)
    every = [i for group in chosen.values() for i in group]
    scored = [i for i, v in enumerate(mious) if v is not None and v == v]
    assert len(set(every)) == len(every)
    assert set(every) <= set(scored)
    assert len(every) == min(3 * n, len(scored))
    best, median, worst = ([mious[i] for i in chosen[key]] for key in ("best", "median", "worst"))
    assert best == sorted((mious[i] for i in scored), reverse=True)[: len(best)]
    assert worst == sorted(mious[i] for i in scored)[: len(worst)]
    if median and best and worst:
        assert min(best) >= max(median) >= min(median) >= max(worst)


def test_score_maps_by_name_or_by_position_are_the_same():
    by_position = sample(np.random.default_rng(0), "a", 0.5, size=32)
    by_name = dict(zip(CLASSES.names, by_position.scores, strict=True))
    assert sample_tiles(by_position, CLASSES) == sample_tiles(
        replace(by_position, scores=by_name), CLASSES
    )


def test_tiles_of_a_patch_with_little():
    bare = sample(np.random.default_rng(0), "a", 0.5, size=32)
    bare = replace(bare, scores=None, pseudo_mask=None, truth=None)
    assert [tile.caption for tile in sample_tiles(bare, CLASSES)] == ["Image", "Prediction"]
