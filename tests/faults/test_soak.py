"""What the soak calls flat, on made-up samples and on a run that leaks."""

import json
import mmap
from dataclasses import replace

import pytest
from torch import nn

from smoothmix.utils.errors import UserError
from tests.commands import here
from tests.faults import soak

FLAT = [soak.Sample(100 * i, 0.3 * i, 800_000_000 + 4096 * (i % 2), 5, 2, 4, 27_000 + 500 * i) for i in range(200)]
WHAT = ["resident", "open files", "threads", "files in", "size of", "time per step"]


def not_flat(samples):
    return [line["what"] for line in soak.judge(samples) if not line["flat"]]


def changed(**functions):
    """Return the flat samples, a field of each replaced by a function of its index and value."""
    return [
        replace(one, **{name: change(i, getattr(one, name)) for name, change in functions.items()})
        for i, one in enumerate(FLAT)
    ]


def test_numbers_of_a_known_line():
    lines = soak.judge(changed(resident=lambda i, value: 1000 * i, bytes=lambda i, value: 300 * i))
    measured = {line["what"]: line["measured"] for line in lines}
    assert measured["resident memory, slope"] == pytest.approx(10)
    assert measured["size of the run directory, slope"] == pytest.approx(3)
    assert measured["time per step, last quarter / first quarter"] == pytest.approx(1)
    assert not_flat(FLAT) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("resident", lambda i, value: value + 20_000 * i),  # 200 bytes a step
        ("open_files", lambda i, value: value + (i == 150)),
        ("threads", lambda i, value: value + i // 100),
        ("files", lambda i, value: value + i // 50),
        ("bytes", lambda i, value: 5000 * i),
        ("seconds", lambda i, value: value * (1 + i / 400)),
    ],
)
def test_each_thing_that_grows_is_seen_alone(name, change):
    (what,) = not_flat(changed(**{name: change}))
    fields = ["resident", "open_files", "threads", "files", "bytes", "seconds"]
    assert what.startswith(WHAT[fields.index(name)])


def test_what_happens_in_the_warm_up_does_not_count():
    early = {"open_files": lambda i, value: value + (i < 40), "resident": lambda i, value: value - 10**8 * (i < 40)}
    assert not_flat(changed(**early)) == []


def test_too_few_steps(tmp_path):
    with pytest.raises(UserError, match="--steps must be at least 200, one for each sample, not 199"):
        soak.soak(199, tmp_path)


def test_the_command_leaves_a_record_and_a_page(tmp_path):
    done = here("tests/faults/run.py", "soak", "--steps", 200, "--output", tmp_path / "soak.json")
    record, page = json.loads((tmp_path / "soak.json").read_text()), (tmp_path / "soak.md").read_text()
    assert done.returncode == (0 if all(line["flat"] for line in record["verdicts"]) else 1), done.stderr
    assert len(record["samples"]) == 200
    assert page.startswith("Soak: ")
    assert f"| time per step, last quarter / first quarter | {record['verdicts'][-1]['measured']:.3g} | 1.2 |" in page


class Leaking(nn.Module):
    """Keeps two pages of memory of every training batch, not from the heap's free space, and a file of every 500th."""

    def __init__(self):
        super().__init__()
        self.inner, self.kept, self.files = soak.trivial_network(), [], []

    def forward(self, images):
        if self.training:
            self.kept.append(mmap.mmap(-1, 8192))
            self.kept[-1].write(b"x" * 8192)
            if len(self.kept) % 500 == 0:
                self.files.append(open("/dev/null"))  # noqa: SIM115 (the leak)
        return self.inner(images)


@pytest.mark.slow
def test_four_thousand_steps_are_flat_and_a_leak_is_seen(tmp_path):
    """The bound of 100 bytes a step is for 20,000 steps; a page more or less weighs more in a short run."""
    lines = {line["what"]: line for line in soak.judge(soak.soak(4000, tmp_path / "sound"))}
    assert lines["resident memory, slope"]["measured"] < 500
    assert all(line["flat"] for what, line in lines.items() if not what.startswith(("resident", "time")))
    model = Leaking()
    lines = {line["what"]: line for line in soak.judge(soak.soak(4000, tmp_path / "leaking", model))}
    for file in model.files:
        file.close()
    assert lines["resident memory, slope"]["measured"] > 4000  # 8,192 bytes a step are kept
    assert lines["open files, most minus least"]["measured"] >= 5
