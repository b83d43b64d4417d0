"""The page and the scoreboard name all laws and all operations, and the scoreboard is what its command writes."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from results.mixcheck import GROUPS, OURS, PEERS, kornia_cutmix, to_markdown
from smoothmix.check import LAWS, Entry, Report

ROOT = Path(__file__).parents[2]
NAMES = [law.name for law in LAWS]
GROUPED = [name for group in GROUPS.values() for name in group]


def test_the_page_explains_every_law():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "mixcheck.md").read_text(), re.M)
    assert rows == NAMES
    assert [name for name in NAMES if name not in ("share", "dense")] == GROUPED


def test_the_scoreboard_has_every_operation_and_ours_pass():
    text = (ROOT / "results" / "mixcheck.md").read_text()
    rows = re.findall(r"^\| ([^:|]+): (.+?) \| (.*) \|$", text, re.M)
    assert re.findall(r"`(\w+)`", next(line for line in text.splitlines() if line.startswith("| operation"))) == GROUPED
    assert [name for _, name, _ in rows] == [*OURS, *(name for makes in PEERS.values() for name in makes)]
    for library, name, cells in rows:
        counts, verdicts = cells.split(" | ")[:3], cells.split(" | ")[3:]
        assert len(verdicts) == len(GROUPED)
        assert sum(map(int, counts)) == verdicts.count("**✗**")
        assert library != "ours" or counts == ["0"] * 3, name


def test_a_scoreboard():
    failed = {"soft", "export", "compile"}
    verdicts = {name: "FAIL" if name in failed else "pass" for name in NAMES} | {"p": "not applicable"}
    report = Report("op", tuple(Entry(name, "A.", verdict, f"of {name}") for name, verdict in verdicts.items()))
    text = to_markdown({"lib 1.0: op": report, "other: op": "No module named 'other'"})
    assert "| lib 1.0: op | 1 | 0 | 2 | ✓ | ✓ | **✗** | ✓ | n/a |" in text
    assert "- other: op: No module named 'other'" in text
    assert "- lib 1.0: op, `soft`: of soft" in text.partition("does not apply, and why")[0]
    assert "- lib 1.0: op, `p`: of p" in text.partition("does not apply, and why")[2]


def test_cutmix_of_kornia_has_a_row_of_labels_for_each_image_and_cut(monkeypatch):
    """kornia stacks its cuts: (cuts, N, 3), with both labels and the share of the second."""

    def operation(images, labels):
        partners = labels.flip(0)
        return images, torch.stack([labels, partners, torch.full_like(labels, 0.25)], 1)[None]

    kornia = SimpleNamespace(augmentation=SimpleNamespace(RandomCutMixV2=lambda **options: operation))
    monkeypatch.setitem(sys.modules, "kornia", kornia)
    _, targets = kornia_cutmix(num_classes=3)(torch.zeros(3, 3, 4, 4), torch.tensor([0.0, 1.0, 2.0]))
    assert torch.equal(targets, torch.tensor([[0.75, 0, 0.25], [0, 1, 0], [0.25, 0, 0.75]]))
