import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from histoweak.cli.data import app
from histoweak.data.manifest import Manifest
from histoweak.data.table import read_table
from histoweak.errors import ManifestError
from tests.data.check.fake import altered, clean

HOSTILE = "<img src=x onerror=alert(1)>\u202e.png"


def call(*words):
    return CliRunner().invoke(app, ["check", *map(str, words), "--workers", "1"])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Manifest:
    manifest = clean(tmp_path_factory.mktemp("data"))
    hostile = manifest.records[2].image.with_name(HOSTILE)
    manifest.records[2].image.rename(hostile)
    return altered(manifest, 2, image=hostile).write(manifest.path)


def test_a_sound_data_set_leaves_with_0_and_three_files(data, tmp_path):
    ended = call(data.path, "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.exception
    assert "findings: 0 errors, 0 warnings, 0 notes" in ended.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "check.csv", "check.html", "check.json",
    ]  # fmt: skip
    assert len(read_table(tmp_path / "out" / "check.csv").rows) == 30


@pytest.fixture(scope="module")
def faulty(data, tmp_path_factory):
    """What the command says of errors and warnings, and the folder it wrote."""
    wrong = altered(altered(data, 2, patient="P9", labels=(1, 1)), 4, mpp=None)
    table = wrong.write(data.path.with_name("wrong.csv")).path
    return call(table), table.parent / "check"


def test_errors_leave_with_4_and_are_told(faulty):
    ended, out = faulty
    assert ended.exit_code == ManifestError.exit_code == 4
    told = json.loads((out / "check.json").read_text())
    codes = [f["code"] for f in told["findings"]]
    assert codes == ["patient-in-two-splits", "label-against-mask", "mpp-missing"]
    assert told["schema"] == 1 and told["counts"] == {"error": 2, "warning": 1, "note": 0}
    assert "findings: 2 errors, 1 warning, 0 notes" in ended.stdout
    assert "\u202e" not in ended.stdout


class Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.images, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))


def test_the_page_shows_pictures_and_escapes_names(faulty):
    text = (faulty[1] / "check.html").read_text()
    page = Page(text)
    assert len(page.images) == 2 + 1 + 1
    assert all(i["src"].startswith("data:image/jpeg;base64,") for i in page.images)
    assert not any("onerror" in image for image in page.images)
    assert "script" not in page.tags and "link" in page.tags
    assert "\u202e" not in text and "http" not in text.replace("http-equiv", "")


def test_without_pictures_the_notes_stay(data, tmp_path):
    wrong = altered(data, 4, mpp=None).write(data.path.with_name("bare.csv"))
    ended = call(wrong.path, "--out", tmp_path, "--limit-pictures", 0)
    assert ended.exit_code == 0
    page = (tmp_path / "check.html").read_text()
    assert "<img" not in page and "1 more in check.json" in page


def test_processes_find_the_same(data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    call(data.path, "--out", one)
    CliRunner().invoke(app, ["check", str(data.path), "--out", str(two), "--workers", "2"])
    for name in ("check.csv", "check.json", "check.html"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_wrong_calls(tmp_path):
    assert isinstance(call(tmp_path / "none.csv").exception, ManifestError)
    assert call(tmp_path / "none.csv", "--presence", 1).exit_code == 2


def test_the_check_needs_no_torch():
    code = (
        "import sys, histoweak.cli.check; assert 'numpy' not in sys.modules;"
        "import histoweak.data.check, histoweak.report.check_page;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
