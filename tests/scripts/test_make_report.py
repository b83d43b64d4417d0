"""The report: every link and image of the page resolves in the page itself, in a real browser too."""

import contextlib
import html.parser
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.figure
import pytest

from scripts.reproduction.filled_tables import cells_of
from scripts.reproduction.tables import load_table
from smoothmix.reporting.report import report

ROOT = Path(__file__).parents[2]
NAMES = ("dataset", "model", "method", "recipe", "config_hash", "seed")
SPEC = importlib.util.spec_from_file_location("make_report", ROOT / "scripts" / "make_report.py")
make_report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_report)

# appended to a copy of the page: what the browser made of it, as its title
PROBE = """<script>
const failed = [];
addEventListener("error", event => failed.push(String(event.target.src || event.message)), true);
addEventListener("load", () => {
  const targets = [...document.querySelectorAll("a")].map(a => a.getAttribute("href"));
  document.title = JSON.stringify({
    widths: [...document.images].map(image => image.complete ? image.naturalWidth : -1),
    links: targets.length,
    dead: targets.filter(to => !to.startsWith("#") || !document.getElementById(decodeURIComponent(to.slice(1)))),
    requests: performance.getEntriesByType("resource").map(entry => entry.name).filter(to => !to.startsWith("data:")),
    failed: failed,
    rows: document.querySelectorAll("#ledger tr").length,
    overflowing: document.documentElement.scrollWidth > innerWidth,
  });
});
</script>"""


class Page(html.parser.HTMLParser):
    """The ids and the targets of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given and tag == "a" else []
        self.sources += [given["src"]] if "src" in given else []


def write_record(folder, cell, **changes):
    error = {"epoch": 3, "test_top1_error": 15.25, "test_top5_error": 3.0}
    record = dict(zip(NAMES, cell.key, strict=True)) | {"best": error, "last": error | {"test_top1_error": 16.5}}
    record |= {"git_commit": "0123456789abcdef", "device": "H100 <80GB>", "seconds": 5400.0, "epochs": 300} | changes
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The text of a report with a figure in two forms, an audit and four runs; one file holds it."""
    tmp_path = tmp_path_factory.mktemp("report")
    cutmix = next(cell for cell in cells_of(load_table("6"), "paper") if cell.row == "CutMix")
    write_record(tmp_path / "runs" / "cutmix", cutmix)
    write_record(tmp_path / "runs" / "quick", cells_of(load_table("2"), "quick")[0])
    write_record(tmp_path / "runs" / "demo", cells_of(load_table("demo"), "paper")[0])
    write_record(tmp_path / "runs" / "other", cutmix, recipe="short_cifar")
    figure = matplotlib.figure.Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    (tmp_path / "figures").mkdir()
    for name in ("curves.svg", "curves.png", "bars.png"):
        figure.savefig(tmp_path / "figures" / name)
    (tmp_path / "audit.md").write_text("# The paper\n\n| claim | printed |\n|---|---|\n| wins | 14 |\n")
    overrides = ["runs", "--figures", "figures", "--audit", "audit.md", "--output", "out/index.html"]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(tmp_path)
        patch.setattr(sys, "argv", ["make_report.py", *overrides])
        make_report.main()
    assert printed.getvalue() == "out/index.html: 10 tables, 2 figures, 4 runs\nwith audit.md\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]
    return (tmp_path / "out" / "index.html").read_text()


def test_links_and_images_resolve_inside_the_page(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert len(parsed.links) > 15
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert [source.partition(",")[0] for source in parsed.sources] == [
        "data:image/png;base64",  # bars
        "data:image/svg+xml;base64",  # curves: the vector form of two
    ]
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)


def test_the_ledger_says_which_rows_a_run_fills(page):
    ledger = page[page.index('id="ledger"') :]
    cutmix, demo, other, quick = (line for line in ledger.splitlines() if "<td>" in line)
    for target in ("table1-row7", "table4", "table6-row0"):
        assert f'href="#{target}"' in cutmix
    assert '<tr id="table6-row0"><td>CutMix</td>' in page
    values = ("0123456789abcdef<", "<td>1.50</td>", "15.25", "16.50", "H100 &lt;80GB&gt;", "runs/cutmix/summary.json")
    for value in values:
        assert value in cutmix
    assert "nothing (recipe short_cifar)" in other
    assert 'href="#table2-quick-row0"' in quick
    assert 'href="#demo-row0"' in demo
    assert "<p>4 finished runs, 6.0 hours.</p>" in ledger


def test_the_audit_is_a_table_and_may_be_missing(page):
    assert "<td>wins</td>" in page
    bare = report([], [], [], None)
    assert Page(bare).ids == ["tables", "ledger"]
    assert "No finished run." in bare


def test_a_damaged_record_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "summary.json").write_text("{")
    monkeypatch.setattr(sys, "argv", ["make_report.py", str(tmp_path), "--output", str(tmp_path / "x.html")])
    with pytest.raises(SystemExit) as stop:
        make_report.main()
    assert stop.value.code == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.startswith(f"error: {tmp_path}/summary.json is not a run record; move it away or run that run")
    assert (tmp_path / "x.html").exists()


def browse(text, folder):
    """Open a page in a headless Chromium; return what PROBE saw."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    probed = folder / "probed.html"
    probed.write_text(text.replace("<body>", "<body>" + PROBE, 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run([browser, *options, probed.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))


@pytest.mark.slow
def test_a_browser_shows_everything_and_asks_for_nothing(page, tmp_path):
    seen = browse(page, tmp_path)
    assert len(seen["widths"]) == 2
    assert min(seen["widths"]) > 0
    assert seen["links"] == len(Page(page).links)
    assert seen["rows"] == 5
    assert (seen["dead"], seen["requests"], seen["failed"]) == ([], [], [])
    assert not seen["overflowing"]


@pytest.mark.slow
def test_the_browser_notices_what_is_broken(page, tmp_path):
    seen = browse(page.replace("</body>", '<img src="no.png"><a href="#nowhere">x</a></body>'), tmp_path)
    assert seen["widths"][-1] == 0
    assert seen["dead"] == ["#nowhere"]
    assert [name.rpartition("/")[2] for name in seen["failed"]] == ["no.png"]
