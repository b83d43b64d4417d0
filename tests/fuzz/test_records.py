"""Records, logs and arrays with damaged or invented content, through what report.py calls."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.corrupted import CorruptedArrays
from scripts.reproduction.reported import PAPER
from scripts.reproduction.tables import load_table, table_runs
from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting import curves
from smoothmix.reporting.frames import ERRORS_OF, read_folders
from smoothmix.reporting.page import table as markdown
from smoothmix.reporting.report import Contents, report
from smoothmix.reporting.tables import fill
from smoothmix.utils.errors import UserError
from smoothmix.utils.records import RunRecord

IDENTITY = {
    "dataset": "cifar100",
    "model": "pyramidnet200",
    "method": "cutmix",
    "recipe": "cifar",
    "config_hash": "0123abcd",
    "seed": 0,
    "epochs": 300,
}
ERRORS = {"epoch": 1, "test_loss": 1.5, "test_top1_error": 20.0, "test_top5_error": 5.0}
RECORD = {**IDENTITY, "selected_on": "test", "best": ERRORS, "last": ERRORS}
CELLS = {name: {str(severity): 30.0 + severity for severity in range(1, 6)} for name in ("fog", "frost", "snow")}
CORRUPTED = {
    **IDENTITY,
    "benchmark": "cifar100_c",
    "weights": "best",
    "source": "published files",
    "clean_top1_error": 20.0,
    "top1_errors": CELLS,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.floats(0, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw, whole):
    """The text of a JSON object of which a value is replaced or dropped, or whose bytes are damaged."""
    content = json.loads(json.dumps(whole))
    node = content
    while True:
        key = draw(st.sampled_from(sorted(node)))
        if isinstance(node[key], dict) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        break
    if draw(st.integers(0, 3)):
        node[key] = draw(JSON)
    elif draw(st.booleans()):
        del node[key]
    else:
        node[draw(st.text(max_size=8))] = draw(JSON)
    raw = json.dumps(content).encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 9)) :]
    return raw


def percentage(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100


def is_text(value):
    return isinstance(value, str) and len(value) > 0 and not any(ord(character) < 32 for character in value)


def check_identity(record, published=False):
    assert all(is_text(getattr(record, key)) for key in ("dataset", "model", "method", "recipe", "config_hash"))
    for key in ("seed", "epochs"):
        assert type(getattr(record, key)) is int or (published and getattr(record, key) is None)


@pytest.fixture
def leave(tmp_path):
    """Return a function that writes a file in a run directory, and returns the folder above."""

    def write(name, content):
        path = tmp_path / "runs" / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return tmp_path / "runs"

    return write


def read(folder):
    """Return what was found; a sentence about a damaged record is raised."""
    found = read_folders([folder])
    for sentence in found.problems:
        raise UserError(sentence)
    return found


@cache
def cells(name):
    return table_runs(load_table(name))


def counted(fuzz, strategy, attempt):
    """Run `attempt` on examples; it returns whether one was accepted. Both outcomes must come."""
    seen = {True: 0, False: 0}

    @given(strategy)
    def property(content):
        try:
            attempt(content)
        except UserError as error:
            seen[False] += str(error).isprintable()
        else:
            seen[True] += 1

    fuzz(property)
    assert min(seen.values()) >= 3, seen


def pages(found):
    """Make every kind of page and table of what was found."""
    for name in ("1", "4"):
        filled = fill(name, name, cells(name), found, load_table(name).evaluation, PAPER / f"table{name}.csv")
        assert "nan" not in markdown(filled.text)
        filled.latex()
    return report("Results", found, Contents("command")).html()


def test_run_records(fuzz, leave):
    def attempt(content):
        folder = leave("summary.json", content)
        found = read(folder)
        (line,) = found.runs.to_dict("records")  # none is left out silently
        record = RunRecord.read(folder / "one" / "summary.json")
        check_identity(record)
        assert line["selected_on"] in ("test", "val")
        assert all(percentage(line[name]) for name in ERRORS_OF)
        record.write(folder / "again.json")
        assert RunRecord.read(folder / "again.json") == record
        pages(found)

    counted(fuzz, damaged(RECORD), attempt)


def test_records_of_corrupted_errors(fuzz, leave):
    def attempt(content):
        folder = leave("best.cifar100_c-files.json", content)
        found = read(folder)
        record = CorruptionRecord.read(folder / "one" / "best.cifar100_c-files.json")
        check_identity(record, published=True)
        assert found.errors.loc[found.errors["corruption"] == "clean", "clean"].map(percentage).all()
        of_top1 = found.errors[(found.errors["measure"] == "top1_error") & (found.errors["corruption"] != "clean")]
        assert set(of_top1["corruption"]) <= set(CORRUPTIONS)
        assert of_top1.filter(like="severity").stack().dropna().map(percentage).all()
        record.write(folder / "again.json")
        assert CorruptionRecord.read(folder / "again.json") == record
        pages(found)

    counted(fuzz, damaged(CORRUPTED), attempt)


def test_metrics_lines(fuzz, leave):
    lines = [{**ERRORS, "epoch": epoch, "lr": 0.1, "train_loss": 2.0} for epoch in (1, 2, 3)]

    @st.composite
    def logs(draw):
        rows = [json.dumps(line).encode() for line in lines]
        place = draw(st.integers(0, 2))
        rows[place] = draw(damaged(lines[place]))
        order = draw(st.sampled_from([(0, 1, 2)] * 4 + [(0, 2, 1), (0, 0, 1, 2), (0, 2), (1, 2)]))
        return b"\n".join(rows[number] for number in order) + b"\n" * draw(st.integers(0, 1))

    def attempt(content):
        folder = leave("metrics.jsonl", content)
        (folder / "one" / "summary.json").write_text(json.dumps(RECORD))
        table = curves.read_log(folder / "one" / "metrics.jsonl")
        assert set(table["epoch"]) <= {1, 2, 3}
        assert table["epoch"].is_monotonic_increasing
        assert all(0 <= error <= 100 for error in table["test_top1_error"])
        assert all(math.isfinite(loss) for loss in table["test_loss"])

    counted(fuzz, logs(), attempt)


N, SIDE = 3, 4


def test_headers_of_arrays(fuzz, tmp_path):
    """The bytes of the header, and headers that promise anything; what is accepted is the array that was written."""
    labels, whole = torch.arange(N), np.arange(5 * N * SIDE * SIDE * 3, dtype=np.uint8).reshape(5 * N, SIDE, SIDE, 3)
    np.save(tmp_path / "labels.npy", np.tile(labels.numpy(), 5))
    np.save(tmp_path / "fog.npy", whole)
    raw = (tmp_path / "fog.npy").read_bytes()
    reader, sizes = CorruptedArrays(tmp_path, labels, SIDE), st.integers(-(2**65), 2**65) | st.integers(0, 20)
    header = st.fixed_dictionaries(
        {
            "descr": st.sampled_from(["|u1", "<f8", "|O", "|V1", "<U9", ">u1", "|S0", "garbage", [("a", "|O")]]),
            "fortran_order": st.booleans() | st.none(),
            "shape": st.lists(sizes, max_size=5).map(tuple) | st.just((5 * N, SIDE, SIDE, 3)) | JSON,
        }
    ).map(lambda value: repr(value).encode())

    @st.composite
    def files(draw):
        if draw(st.booleans()):
            text = draw(header | st.binary(max_size=40) | st.sampled_from([b"(" * 5000, b"{" * 20000]))[:60000]
            return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + raw[128:]
        content = bytearray(raw)
        for _ in range(draw(st.integers(0, 2))):
            content[draw(st.integers(0, 127))] = draw(st.sampled_from([32, 32, 0, 10, 49, 57, 255]))
        return bytes(content)[: draw(st.sampled_from([len(raw)] * 3 + [len(raw) - 1, 128, 60, 0]))]

    def attempt(content):
        (tmp_path / "fog.npy").write_bytes(content)
        [(found, _)] = reader.batches("fog", 2, 100)
        assert (found.shape, found.dtype) == ((N, 3, SIDE, SIDE), torch.uint8)
        order = "F" if b"True" in content[:128] else "C"
        expected = np.reshape(np.frombuffer(content[-whole.size :], np.uint8), whole.shape, order=order)
        assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), expected[N : 2 * N])

    counted(fuzz, files(), attempt)
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["fog.npy", "labels.npy"]
