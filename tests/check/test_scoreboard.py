"""The page and the scoreboard name all laws and all operations, and the scoreboard is what its command writes."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from scripts.mixcheck_peers import to_markdown
from smoothmix.check import LAWS, Entry, Report
from smoothmix.check.adapters import OURS
from smoothmix.check.peers import PEERS, kornia_cutmix

ROOT = Path(__file__).parents[2]
NAMES = [law.name for law in LAWS]


def test_the_page_explains_every_law():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "mixcheck.md").read_text(), re.M)
    assert rows == NAMES


def test_the_scoreboard_has_every_operation_and_ours_pass():
    text = (ROOT / "results" / "mixcheck.md").read_text()
    rows = re.findall(r"^\| ([^:]+): (.+?) \| (.*) \|$", text, re.M)
    assert re.findall(r"`(\w+)`", next(line for line in text.splitlines() if line.startswith("| operation"))) == NAMES
    assert [name for _, name, _ in rows] == [*OURS, *(name for makes in PEERS.values() for name in makes)]
    for library, name, verdicts in rows:
        assert len(verdicts.split(" | ")) == len(NAMES)
        assert library != "ours" or set(verdicts.split(" | ")) <= {"✓", "n/a"}, name


def test_a_scoreboard():
    report = Report(
        "op", (Entry("a", "A.", "pass", "1"), Entry("b", "B.", "FAIL", "2"), Entry("c", "C.", "not applicable", "3"))
    )
    text = to_markdown([("lib 1.0: op", report), ("other: op", "No module named 'other'")])
    assert "| lib 1.0: op | ✓ | **✗** | n/a |" in text
    assert "- other: op: No module named 'other'" in text
    assert "- lib 1.0: op, `b`: 2" in text
    assert "- lib 1.0: op, `c`: 3" in text


def test_cutmix_of_kornia_has_a_row_of_labels_for_each_image_and_cut(monkeypatch):
    """kornia stacks its cuts: (cuts, N, 3), with both labels and the share of the second."""

    def operation(images, labels):
        partners = labels.flip(0)
        return images, torch.stack([labels, partners, torch.full_like(labels, 0.25)], 1)[None]

    kornia = SimpleNamespace(augmentation=SimpleNamespace(RandomCutMixV2=lambda **options: operation))
    monkeypatch.setitem(sys.modules, "kornia", kornia)
    _, targets = kornia_cutmix(num_classes=3)(torch.zeros(3, 3, 4, 4), torch.tensor([0.0, 1.0, 2.0]))
    assert torch.equal(targets, torch.tensor([[0.75, 0, 0.25], [0, 1, 0], [0.25, 0, 0.75]]))
