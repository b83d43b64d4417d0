"""The report: what it says of hand-made runs, and what a real browser makes of it."""

import html.parser
import json
import os
import re
import shutil
import subprocess
import time

import pytest
import yaml

from scripts.reproduction.tables import load_table, table_runs
from smoothmix.corruptions import CORRUPTIONS
from tests.commands import ROOT, said
from tests.scripts import hand_made

ERRORS = {"identity": 20.0, "cutmix": 17.0, "smoothmix_c": 16.5}

# appended to a copy of the page: what the browser made of it, as its title
PROBE = """<script>
const failed = [];
addEventListener("error", event => failed.push(String(event.target.src || event.message)), true);
addEventListener("load", () => {
  const targets = [...document.querySelectorAll("a")].map(a => a.getAttribute("href"));
  const table = document.querySelector("#comparison table");
  const column = () => [...table.tBodies[0].rows].map(row => row.cells[3].textContent);
  const before = column(), button = table.tHead.rows[0].cells[3].querySelector("button");
  button.click();
  const up = column();
  button.click();
  const root = document.documentElement;
  document.title = JSON.stringify({
    widths: [...document.images].map(image => image.complete ? image.naturalWidth : -1),
    dead: targets.filter(to => !to.startsWith("#") || !document.getElementById(decodeURIComponent(to.slice(1)))),
    requests: performance.getEntriesByType("resource").map(entry => entry.name).filter(to => !to.startsWith("data:")),
    failed: failed,
    sorted: [before, up, column()],
    page: [root.scrollWidth, innerWidth],
    cut: [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length,
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


def write_run(folder, run, corrupted="generate"):
    """Leave what a run of the digits leaves: a record, a log, its configuration, errors on corrupted images."""
    method, seed = run.key.method, run.key.seed
    error = ERRORS[method] + 0.3 * seed + 0.1 * (seed % 2)
    rows = [
        {"epoch": epoch, "test_loss": 1.0, "test_top1_error": error + 10 / epoch, "test_top5_error": 2.0}
        for epoch in range(1, 4)
    ]
    if method == "cutmix":  # the others are older
        rows[2] |= {"test_brier": 0.25, "test_ece": 3.5, "test_adaptive_ece": 3.75}
    start = {"time": "2026-01-01T10:00:00+00:00", "git_commit": "0123456789abcdef" * 2, "device": "H100 <80GB>"}
    starts = [start | {"command": "train.py a=1"}, start | {"command": "train.py a=<2>"}]
    facts = {"epochs": 3, "best": rows[2], "last": rows[2], "seconds": 5400.0, "starts": starts}
    directory = hand_made.write(folder, run, **facts)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "config.yaml").write_text(yaml.safe_dump(run.config.to_dict()))
    if corrupted:
        errors = {name: {str(s): error + s + place for s in range(1, 6)} for place, name in enumerate(CORRUPTIONS)}
        if seed == 2:
            del errors["fog"]["3"]
        known = {"clean_calibration": {"ece": 3.5}, "calibration": {"ece": errors}} if method == "cutmix" else {}
        facts = {"epochs": 3, "clean_top1_error": error, **known}
        hand_made.write_corrupted(directory, run, "digits_c", errors, corrupted, **facts)


def make(folder, *words):
    """Run make_report.py in `folder`; return its exit status, stdout and stderr."""
    return said("scripts/make_report.py", *words, folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine runs of digits_claims, one unfinished, and claims."""
    folder = tmp_path_factory.mktemp("report")
    for run in table_runs(load_table("digits_claims")):
        write_run(folder / "runs", run, "generate" if run.config.method != "identity" else None)
    (folder / "runs" / "begun").mkdir()
    (folder / "runs" / "begun" / "config.yaml").write_text("a: 1\n")
    (folder / "runs" / "begun" / "failed.txt").write_text("out of <memory>\n")
    for place, sentence in (("", "It is <better>"), (".snapshot", "It is of a snapshot")):
        (folder / "runs" / place).mkdir(exist_ok=True)
        claims = folder / "runs" / place / "claims.csv"
        claims.write_text(f"sentence,n,p_holm,verdict\n{sentence},8,0.01234,supported\n")
    return folder


@pytest.fixture(scope="module")
def page(folder):
    status, out, err = make(folder, "runs", "--output", "out/index.html")
    assert (status, err) == (0, "")
    assert out == "out/index.html: 9 finished runs, 1 unfinished\n"
    assert [path.name for path in (folder / "out").iterdir()] == ["index.html"]
    return (folder / "out" / "index.html").read_text()


def test_links_and_images_resolve_inside_the_page(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    kinds = [source.partition(",")[0] for source in parsed.sources]
    assert kinds == ["data:image/svg+xml;base64"] * 2 + ["data:image/png;base64"] * 2
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)
    assert [name for name in parsed.ids if name in ("comparison", "corruptions", "mixed", "claims", "ledger")] == [
        "comparison", "corruptions", "mixed", "claims", "ledger",
    ]  # fmt: skip


def test_the_comparison_comes_first_and_marks_what_is_significant(page):
    body = page[page.index('id="comparison"') : page.index('id="corruptions"')]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in body.split("<tr>")[2:5]]
    assert [row[0] for row in rows] == ["Baseline", "CutMix", "SmoothMix_C"]
    mean = 20 + (0 + 0.4 + 0.6) / 3 + 10 / 3
    assert rows[0][3].startswith(f"{mean:.2f} ± ")
    assert rows[1][5].startswith("-3.00")  # without a spread of the differences there is no test
    assert rows[1][6] == "-"


def test_calibration_is_beside_the_errors_where_it_is_known(page):
    assert "<td>CutMix</td><td>3</td><td>1.000 ± 0.000</td><td>0.250 ± 0.000</td><td>3.50 ± 0.00</td>" in page
    assert "<td>SmoothMix_C</td><td>3</td><td>1.000 ± 0.000</td><td>-</td>" in page
    folded = page[page.index("<summary>ECE (%)</summary>") :]
    assert re.search(r'<td>clean</td><td style="--shade:0.0">3.50</td><td>-</td>', folded)
    assert "<summary>NLL</summary>" not in page


def test_everything_else_is_said(page):
    assert "It is &lt;better&gt;" in page
    assert "<td>0.0123</td>" in page
    assert "failed: out of &lt;memory&gt;" in page
    assert page.count("not evaluated at every severity: fog") == 2
    ledger = page[page.index('id="ledger"') :]
    assert "0123456789abcdef" * 2 in ledger
    assert "H100 &lt;80GB&gt;" in ledger
    assert "train.py a=&lt;2&gt;" in ledger
    assert ledger.count("<td>1.50</td>") == 9
    assert 'href="#digits_claims"' in ledger
    assert "9 of 9 runs" in page
    assert "python scripts/reproduce.py table=1<" in page
    assert "of a snapshot" not in page
    assert page.count("<details id=") == len(list((ROOT / "configs" / "table").glob("*.yaml")))
    assert page.count(" open>") == 1


def test_the_rest_is_shown_when_something_cannot_be_read(folder, tmp_path):
    shutil.copytree(folder / "runs", tmp_path / "runs")
    cutmix = sorted((tmp_path / "runs").glob("cutmix-*"))
    (cutmix[0] / "summary.json").write_text("{")
    (cutmix[1] / "metrics.jsonl").write_text("{")
    (cutmix[2] / "best.digits_c-generate.json").write_text("[]")
    (tmp_path / "runs" / "claims.csv").write_bytes(b"")
    status, out, err = make(tmp_path, "runs", "--output", "x.html")
    assert status == 2
    assert "8 finished runs" in out
    for sentence, name in zip(sorted(err.splitlines()), ["claims.csv", *(run.name for run in cutmix)], strict=True):
        assert sentence.startswith(f"error: runs/{name}")
    text = (tmp_path / "x.html").read_text()
    assert text.count("Not counted: ") == 4
    assert "SmoothMix_C" in text


def test_a_report_that_cannot_be_written_is_one_sentence(folder, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = make(folder, "runs", "--output", str(tmp_path / "file" / "index.html"))
    assert status == 2
    assert err.startswith(f"error: cannot write to {tmp_path}/file (")
    assert err.count("\n") == 1


def test_no_run_at_all_is_a_page_with_the_next_command(tmp_path):
    (tmp_path / "runs").mkdir()
    assert make(tmp_path, "runs", "--output", "x.html")[0] == 0
    text = (tmp_path / "x.html").read_text()
    assert "There is no finished run yet." in text
    assert "python scripts/reproduce.py table=4<" in text
    assert make(tmp_path, "runs", "--output", "x.html", "--source", "generate")[0] == 0
    assert "python scripts/reproduce.py table=4 source=generate<" in (tmp_path / "x.html").read_text()
    assert "No finished run." in text
    assert {"corruptions", "mixed", "claims"}.isdisjoint(Page(text).ids)


def test_runs_of_a_preset_have_tables_of_their_own(tmp_path):
    write_run(tmp_path / "runs", table_runs(load_table("demo"), "quick")[0], "generate-80")
    assert make(tmp_path, "runs", "--output", "x.html") == (0, "x.html: 1 finished runs, 0 unfinished\n", "")
    text = (tmp_path / "x.html").read_text()
    assert '<details id="demo-quick" open>' in text
    assert "low_data-quick" not in text  # its rows cannot be scaled down


def test_a_hundred_runs_take_less_than_ten_seconds_of_one_core(tmp_path):
    for run in table_runs(load_table("digits_claims"), seeds=34):
        write_run(tmp_path / "runs", run)
    begun = time.process_time()
    _, out, _ = make(tmp_path, "runs", "--output", "x.html")
    assert time.process_time() - begun < 10
    assert "102 finished runs" in out


def browse(text, folder, width=1280, dark=False):
    """Open a page in a headless Chromium; return what PROBE saw."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    probed = folder / "probed.html"
    probed.write_text(text.replace("<body>", "<body>" + PROBE, 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    options += [f"--window-size={width},900", *(["--blink-settings=preferredColorScheme=0"] if dark else [])]
    done = subprocess.run(
        [browser, *options, probed.as_uri()], capture_output=True, text=True, timeout=120, check=True,
        env=os.environ | {"HOME": str(folder)},
    )  # fmt: skip
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))


@pytest.mark.parametrize("width", [1280, 500])  # headless Chromium has no smaller window
def test_a_browser_shows_sorts_and_cuts_nothing_off(page, tmp_path, width):
    seen = browse(page, tmp_path, width)
    assert len(seen["widths"]) == 4
    assert min(seen["widths"]) > 0
    assert (seen["dead"], seen["requests"], seen["failed"]) == ([], [], [])
    assert seen["page"][0] <= seen["page"][1]
    assert width < 1280 or seen["cut"] == 0
    before, up, down = seen["sorted"]
    assert up == sorted(before, key=lambda text: float(text.split()[0]))
    assert down == up[::-1]


def test_the_browser_notices_what_is_broken(page, tmp_path):
    broken = '<img src="no.png"><a href="#nowhere">x</a><div style="width: 3000px">x</div><script>nothing()</script>'
    seen = browse(page.replace("</body>", f"{broken}</body>"), tmp_path)
    assert seen["widths"][-1] == 0
    assert seen["dead"] == ["#nowhere"]
    assert any("nothing is not defined" in message for message in seen["failed"])
    assert seen["page"][0] > seen["page"][1]
