import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from histoweak.classes import ClassSet
from histoweak.errors import OutputError
from histoweak.report import (
    EvidenceCell,
    EvidenceTable,
    Gallery,
    LadderRow,
    Measure,
    PatientRow,
    Protocol,
    ReportData,
    render,
    write_report,
)
from tests.report.fake import CLASSES, PROTOCOL, crowded, report

SECTIONS = (
    "steps",
    "classes",
    "boundaries",
    "confusion",
    "patients",
    "pseudo-masks",
    "pictures",
    "labels",
    "evidence",
    "training",
    "provenance",
)
ALWAYS = ("steps", "classes")
VOID = {"meta", "link", "img", "br"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "\u202egnp.exe\u2066",
    "https://example.org/a?b=1&c=2",
    "hthttps://tps://example.org",
    "{{ 7 * 7 }}",
    "bad\x00\x1b[31mname\udcff",
    "]]></style><svg onload=alert(1)>",
)


class Page(HTMLParser):
    """Elements in order with their attributes; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return render(report(size=96))


def _smallest(**parts) -> ReportData:
    ladder = [LadderRow("CAM", (0.5, None, float("nan"), 0.1), 0.3)]
    return ReportData("run", CLASSES, PROTOCOL, ladder, **parts)


def test_all_parts_are_there_and_linked(page):
    parsed = Page(page)
    assert tuple(s["id"] for s in parsed.named("section")) == SECTIONS
    linked = [a["href"] for a in parsed.named("a")]
    assert linked[: len(SECTIONS)] == [f"#{name}" for name in SECTIONS]
    assert {a.removeprefix("#") for a in linked} <= set(SECTIONS)


def test_parts_without_data_are_left_out():
    parsed = Page(render(_smallest()))
    assert tuple(s["id"] for s in parsed.named("section")) == ALWAYS
    assert [a["href"] for a in parsed.named("a")] == [f"#{name}" for name in ALWAYS]


def test_a_report_without_steps_still_renders():
    parsed = Page(render(ReportData("run", CLASSES, PROTOCOL, [])))
    assert not parsed.named("section")


PARTS = (
    "boundaries", "confusion", "patients", "pseudo_masks", "labels", "looks", "faithfulness",
    "evidence", "curves",
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_each_part_stands_alone(part):
    whole = report(size=32)
    parsed = Page(render(_smallest(**{part: getattr(whole, part)})))
    assert len(parsed.named("section")) == len(ALWAYS) + 1


def test_scores_without_meaning_are_dashes_never_nan():
    text = render(_smallest())
    assert "–" in text
    assert not re.search(r"\b(nan|NaN|None|inf)\b", text)


def test_every_table_states_its_protocol(page):
    tables = page.split("<table")[1:]
    assert len(tables) == 11
    for after in tables:
        foot = after.partition("</table>")[2].partition("<table")[0]
        stated = re.search(r"Gate: (none|predicted|truth) · test-time aug[^<]*seeds: \d", foot)
        assert stated is not None


def test_steps_with_another_protocol_are_told_apart():
    other = Protocol("truth", "8 flips and rotations", "val-mask", "val", (1, 2))
    rows = [*_smallest().ladder, LadderRow("Refined", (0.5,) * 4, 0.5, protocol=other)]
    text = render(replace(_smallest(), ladder=rows))
    assert f"<b><bdi>CAM</bdi></b>: {PROTOCOL.line()}" in text
    assert f"<b><bdi>Refined</bdi></b>: {other.line()}" in text
    assert "hidden pixel supervision" in text  # the last step is the headline
    assert "true patch labels" in text


def test_headline_is_the_last_step_that_is_no_reference(page):
    ladder = report(size=32).ladder
    assert f"reaches a mean IoU of {ladder[2].miou:.3f}" in " ".join(page.split())
    assert ladder[3].reference


def test_nothing_outside_the_page_is_named(page):
    plain = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|url\(|@import|//|<script|<iframe|<object|<base", plain, re.I)
    for tag, attributes in Page(page).elements:
        for key in ("src", "href", "srcset", "xlink:href", "data", "action", "poster"):
            if key in attributes:
                assert attributes[key].startswith(("data:", "#")), (tag, attributes[key][:60])


def test_policy_forbids_loading_and_scripts(page):
    policy = next(m for m in Page(page).named("meta") if "http-equiv" in m)["content"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert "script-src" not in policy


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name):
    whole = report(size=32)
    classes = ClassSet((name, *CLASSES.names[1:]))
    gallery = whole.galleries[0]
    sample = replace(gallery.samples[0], name=name, patient=name)
    table, quality = whole.evidence, whole.pseudo_masks[0]
    odd = replace(whole.labels, measures=[_renamed(m, name) for m in whole.labels.measures])
    odd = replace(odd, title=name, interval_method=name)
    cells = [replace(c, patients={name: 3}, statistics={name: s}) for c, s in _spread(table)]
    data = replace(
        whole,
        title=name,
        classes=classes,
        created=name,
        protocol=Protocol(name, name, name, name, (0,)),
        ladder=[replace(whole.ladder[0], name=name, protocol=None)],
        patients=[PatientRow(name, 1, 0.5, (0.5,) * 4, whole.confusion)],
        galleries=[Gallery(name, [sample], name)],
        boundaries=[odd],
        labels=odd,
        looks=[odd],
        pseudo_masks=[replace(quality, title=name, reading=name)],
        evidence=EvidenceTable(cells, name),
        curves=[replace(whole.curves[0], name=name, panel=name)],
        provenance={name: {name: [name, {name: name}]}},
        notes=[name],
    )
    text = render(data)
    parsed, plain = Page(text), Page(render(whole))
    assert {t for t, _ in parsed.elements} <= {t for t, _ in plain.elements}
    keys = {key for _, attributes in parsed.elements for key in attributes}
    assert keys <= {key for _, attributes in plain.elements for key in attributes}
    assert not re.search(r"https?://", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert "49" not in {word.strip() for word in parsed.words} or "{{" not in name


def _renamed(measure: Measure, name: str) -> Measure:
    return replace(measure, name=name, meaning=name)


def _spread(table: EvidenceTable):
    return [(cell, next(iter(cell.statistics.values()))) for cell in table.cells]


def test_measures_stand_with_their_interval_meaning_and_mean(page):
    table = report(size=96).labels
    section = page.partition('id="labels"')[2].partition("</section>")[0]
    plain = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    for measure in table.measures:
        assert f"{measure.name} {measure.meaning}" in plain
        for one in (*measure.classes[:-1], measure.mean):
            low, high = one.interval
            assert f"{one.value:.3f} {low:.3f} to {high:.3f}" in plain
    for name, count in zip(CLASSES.names, table.counts, strict=True):
        assert f"{name} {count} " in plain
    assert "images: 432 · intervals: 95 % bootstrap over patients, 500 draws" in plain


def test_a_ladder_may_have_any_number_of_steps_with_any_names():
    data = crowded()
    text = render(data)
    for row in data.ladder:
        assert text.count(f"<bdi>{escape(row.name)}</bdi>") >= 3  # one row in each of the tables
    chart = re.search(r'aria-label="Mean IoU of each step[^"]*"', text)[0]
    assert chart.count("; ") == len(data.ladder) - 1


def test_of_thousands_of_patients_the_worst_are_shown():
    whole = report(size=32)
    rows = [
        PatientRow(f"image-{i:04d}", 1, (i * 7 % 3000) / 3000, (0.5,) * 4, whole.confusion)
        for i in range(3000)
    ]
    cells = [
        EvidenceCell(True, True, {f"image-{i:04d}": 1 for i in range(0, 3000, 2)}),
        EvidenceCell(False, True, {f"image-{i:04d}": 1 for i in range(1, 3000, 2)}),
    ]
    data = _smallest(patients=rows, evidence=EvidenceTable(cells, "never"))
    text = render(data)
    assert len(text) < 2_000_000
    assert "the 100 patients with the lowest mean IoU; 2900 others" in text
    assert "the 100 patients with the fewest patches that are right in both; 2900 others" in text
    section = text.partition('id="patients"')[2].partition("</section>")[0]
    lowest = sorted(rows, key=lambda row: row.miou)[:100]
    assert all(f"<bdi>{row.patient}</bdi>" in section for row in lowest)
    assert section.count("<bdi>image-") == 100


def test_pictures_of_charts_are_sound_and_named(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) > 15
    for text in drawings:
        root = ElementTree.fromstring(text)  # noqa: S314 - our own output
        assert [child.tag for child in root][:2] == ["title", "desc"]
        assert root.get("aria-label").strip()
        for element in root.iter():
            for key in ("x", "y", "width", "height", "x1", "x2", "y1", "y2", "d", "cx"):
                assert "nan" not in element.get(key, "")


def test_pictures_have_words_for_readers_who_do_not_see_them(page):
    assert all(attributes["alt"].strip() for attributes in Page(page).named("img"))


def test_equal_data_make_equal_pages(page):
    assert render(report(size=96)) == page


def test_confusable_colours_are_replaced_and_this_is_said():
    red_green = ClassSet(CLASSES.names, ((255, 0, 0), (0, 128, 0), (0, 0, 255), (90, 90, 90)))
    text = render(replace(_smallest(), classes=red_green))
    assert "own colours are hard to tell apart" in text
    assert "rgb(255,0,0)" not in text


def test_large_patches_are_embedded_small():
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    patch = replace(report(size=32).galleries[0].samples[0], image=noise)
    page = render(_smallest(galleries=[Gallery("Best", [patch])]))
    assert len(page) < 600_000  # even though noise is the worst that JPEG can meet


def test_written_whole_and_in_utf8(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, _smallest())
    assert path.read_text(encoding="utf-8") == render(_smallest())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"report\.html"):
        write_report(tmp_path / "file" / "report.html", _smallest())


def test_confusion_picture_shows_the_shares_of_each_row():
    counts = np.array([[3, 1, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0], [1, 1, 1, 997]])
    text = render(_smallest(confusion=counts))
    said = re.search(r"<desc>(true tumour.*?)</desc>", text)[1]
    assert said.startswith("true tumour epithelium: tumour epithelium 75 %, stroma 25 %")
    assert "true necrosis: tumour epithelium –, stroma –" in said
    assert "true lymphocytes: tumour epithelium &lt;1 %" in said
