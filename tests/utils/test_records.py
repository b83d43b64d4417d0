"""What counts as a name, a count, a percentage and a loss; which files are JSON objects, and which are records."""

import math

import pytest

from smoothmix.utils import files, records
from smoothmix.utils.errors import UserError
from tests.mistakes import refused

NUMBERS = [-1, -0.5, 0, 0.5, 1, 99.99, 100, 100.01, 101, 2**63 - 1, 2**63, 10**400, math.inf, -math.inf, math.nan]
OTHERS = [True, False, None, "", "5", "a b", "a\nb", "\x1b[2J", [], {}, [1]]


@pytest.mark.parametrize(
    ("holds", "right"),
    [
        (records.is_percentage, [0, 0.5, 1, 99.99, 100]),
        (records.is_count, [0, 1, 100, 101, 2**63 - 1]),
        (records.is_loss, [0, 0.5, 1, 99.99, 100, 100.01, 101, 2**63 - 1, 2**63]),
        (records.is_name, ["5", "a b"]),
    ],
)
def test_each_rule(holds, right):
    accepted = [value for value in [*NUMBERS, *OTHERS] if holds(value)]
    assert accepted == right
    assert [type(value) for value in accepted] == [type(value) for value in right]


@pytest.mark.parametrize("text", ["", "[1]", "3", "null", "{", "[" * 100_000, '{"a":' * 50_000, "{1: 2}", "\ufeff{}"])
def test_what_is_no_object(text):
    with pytest.raises(ValueError, match=r"."):
        files.parse_object(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"best": 1}', '"\\ud800', '{"data_fingerprint": "abc"}'])
def test_what_is_no_record(tmp_path, text):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with refused(path):
        records.RunRecord.read(path)


def test_the_first_flaw_is_named():
    rules = {"a": records.is_count, "b": records.is_name}
    assert records.wrong_key({"a": 1, "b": "x", "c": None}, rules) is None
    assert records.wrong_key({"a": -1, "b": ""}, rules) == "a"
    assert records.wrong_key({"a": 1}, rules) == "b"


@pytest.mark.parametrize("error", [math.nan, -1, 100.5, True, "5"])
def test_a_record_with_an_error_that_is_no_percentage(tmp_path, error):
    errors = {"test_top1_error": error, "test_top5_error": 1.0}
    record = dict.fromkeys(("dataset", "model", "method", "recipe", "config_hash"), "x") | {"seed": 0, "epochs": 1}
    (tmp_path / "summary.json").write_text(str(record | {"best": errors, "last": errors}).replace("'", '"'))
    with refused(tmp_path / "summary.json"):
        records.RunRecord.read(tmp_path / "summary.json")


def test_a_user_error_is_one_line_that_no_terminal_obeys():
    assert str(UserError("a\nb\x1b[2J\tc\x00 \u00e9")) == "a b\\x1b[2J c\\x00 \u00e9"
