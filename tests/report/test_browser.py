"""Opens the report in headless Chromium."""

import shutil
import subprocess
from pathlib import Path

import pytest

from histoweak.report import render
from tests.report.fake import crowded, report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
)
# Runs in a copy of the page: tells the frame around it how wide the page is, and what sticks out.
PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, inside = e => !e.closest(".scroll, svg");
  const out = [...document.body.querySelectorAll("*")].filter(inside)
    .filter(e => e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.tagName);
  const broken = [...document.images].filter(i => !i.naturalWidth).length;
  parent.postMessage(`${root.scrollWidth}/${root.clientWidth} out:${out} broken:${broken}`, "*");
})</script>"""
FRAME = """<body><iframe src="copy.html" style="border:0;width:{width}px;height:900px"></iframe>
<script>addEventListener("message", m => {{ document.title = m.data; }})</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {NAMES} is on the PATH")


@pytest.fixture(scope="module")
def page() -> str:
    return render(report(size=64))


def _open(path: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_opens_without_a_word_on_the_console(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    done = _open(path, tmp_path / "profile")
    assert "CONSOLE" not in done.stderr
    assert "What each step brings" in done.stdout


def test_the_policy_stops_a_script_and_the_console_tells(page, tmp_path):
    path = tmp_path / "report.html"
    hostile = '<script>document.title = "run"</script><img src="https://localhost/x.png">'
    path.write_text(page.replace("</main>", f"{hostile}</main>"), encoding="utf-8")
    done = _open(path, tmp_path / "profile")
    assert done.stderr.count("CONSOLE") >= 2
    assert "<title>run</title>" not in done.stdout


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("data", ["usual", "crowded"])
def test_nothing_sticks_out_sideways(page, tmp_path, width, data):
    page = page if data == "usual" else render(crowded())
    copy = page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    copy = copy.replace("</head>", f"{PROBE}</head>")
    (tmp_path / "copy.html").write_text(copy, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    done = _open(tmp_path / "frame.html", tmp_path / "profile")
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    assert title == f"{width}/{width} out: broken:0"
