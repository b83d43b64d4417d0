"""Table files: common overrides, seeds of a row, claims, and a sentence for every mistake."""

from copy import deepcopy

import pytest

from scripts.reproduction.tables import load_table, read_table, table_runs
from tests.mistakes import refused

CONTENT = {
    "title": "three rows",
    "seeds": 3,
    "overrides": ["recipe.epochs=2", "precision=fp32"],
    "rows": {
        "A": "mixing=identity",
        "B": {"overrides": "mixing=cutmix 'method=my cutmix'", "seeds": 2},
        "C": "mixing=mixup",
    },
    "claims": [
        {
            "id": "ab", "sentence": "A beats B", "source": "Table 1", "rows": ["A", "B"], "endpoint": "last_top1",
            "direction": "less", "primary": True,
        },
        {
            "id": "abc", "sentence": "A is like both", "source": "Table 1", "rows": ["A", ["B", "C"]],
            "endpoint": "corrupted", "within": 1,
        },
        {"id": "a", "sentence": "low", "source": "-", "rows": ["A", 3], "endpoint": "best_top1", "direction": "less"},
    ],
}  # fmt: skip


def test_overrides_and_seeds_of_a_row():
    runs = table_runs(read_table("mine", CONTENT))
    assert [run.overrides for run in runs if run.row == "B"] == [
        ("recipe.epochs=2", "precision=fp32", "mixing=cutmix", "method=my cutmix", f"seed={seed}") for seed in (0, 1)
    ]
    assert [run.row for run in runs] == ["A"] * 3 + ["B"] * 2 + ["C"] * 3
    assert len(table_runs(read_table("mine", CONTENT), seeds=4)) == 12
    assert len(table_runs(read_table("mine", CONTENT), preset="quick")) == 3


def test_claims():
    first, second, third = read_table("mine", CONTENT).claims
    assert (first.row, first.to, first.direction, first.margin, first.primary) == ("A", ("B",), "less", 0.0, True)
    assert (second.to, second.within, second.primary) == (("B", "C"), 1, False)
    assert third.to == 3.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 3}, ["seed", "seeds?"]),
        ({"weights": "first"}, ["weights", "'first'", "last"]),
        ({"images": 0}, ["images", 0]),
        ({"seeds": 0}, ["seeds", 0]),
        ({"seeds": 10**7}, ["seeds", 10**7, 1000]),
        ({"rows": ["A"]}, ["rows"]),
        ({"rows": {"A": {"override": "x"}}}, ["row A"]),
        ({"rows": {"A": {"overrides": "x", "seeds": "5"}}}, ["row A", "seeds"]),
        ({"overrides": ["x=1"] * 10_000}, ["1,000"]),
        ({"overrides": "precision=fp32"}, ["overrides"]),
        ({"claims": {"id": "x"}}, ["claims"]),
    ],
)
def test_mistakes_of_a_table(change, words):
    with refused(*words):
        read_table("mine", {**CONTENT, "claims": []} | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row": "A"}, ["claim ab", "row", "rows?"]),
        ({"sentence": ""}, ["claim ab", "sentence", "''"]),
        ({"source": None}, ["claim ab", "source", None]),
        ({"trend": {1: ["A", "B"]}}, ["claim ab", "direction", "trend"]),
        ({"endpoint": "last_top"}, ["claim ab", "last_top;", "last_top5?"]),
        ({"within": 1.0}, ["claim ab", "direction", "within"]),
        ({"direction": "lower"}, ["claim ab", "direction", "'lower'"]),
        ({"margin": -1}, ["claim ab", "margin", -1]),
        ({"primary": "yes"}, ["claim ab", "primary"]),
        ({"rows": ["A"]}, ["claim ab", "rows"]),
        ({"rows": ["A", "D"]}, ["claim ab", "D", "A, B, C"]),
        ({"rows": ["A", ["B", "A"]]}, ["claim ab", "rows"]),
        ({"rows": ["A", []]}, ["claim ab", "rows"]),
        ({"id": "abc"}, ["abc"]),
    ],
)
def test_mistakes_of_a_claim(change, words):
    content = deepcopy(CONTENT)
    content["claims"][0] |= change
    with refused(*words):
        read_table("mine", content)


def test_a_missing_kind_and_a_stable_number():
    content = deepcopy(CONTENT)
    del content["claims"][0]["direction"]
    with refused("claim ab", "direction"):
        read_table("mine", content)
    content["claims"][0] |= {"stable": True, "rows": ["A", 3]}
    with refused("claim ab", 3):
        read_table("mine", content)
    del content["claims"][0]["rows"]
    with refused("claim ab", "rows"):
        read_table("mine", content)


@pytest.mark.parametrize(
    "content",
    [b"title: [", b"x: !!python/object/apply:os.system [x]", "title: \xe9".encode("latin1"), b"[" * 3000, b"a: \t b"],
)
def test_a_table_file_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch, content):
    monkeypatch.setattr("scripts.reproduction.tables.CONFIGS", tmp_path / "configs")
    (tmp_path / "configs" / "table").mkdir(parents=True)
    (tmp_path / "configs" / "table" / "mine.yaml").write_bytes(content)
    with refused("configs/table/mine.yaml"):
        load_table("mine")


def test_a_trend():
    content = deepcopy(CONTENT)
    given = content["claims"][0]
    del given["direction"], given["rows"]
    trend = {10: ["A", "B"], 50.5: ["C", "B"]}
    (claim,) = read_table("mine", content | {"claims": [given | {"trend": trend}]}).claims
    assert claim.trend == {10.0: ("A", "B"), 50.5: ("C", "B")}
    for wrong in ({10: ["A", "B"]}, {10: ["A", "B"], -1: ["A", "C"]}, {10: ["A"], 20: ["A", "B"]}, ["A", "B"], 3):
        with refused("claim ab", "trend"):
            read_table("mine", content | {"claims": [given | {"trend": wrong}]})


@pytest.mark.parametrize("name", ["low_data", "data_size", "digits_claims"])
def test_the_tables_of_the_repository_compose(name):
    table = load_table(name)
    runs = table_runs(table)
    assert len({run.directory for run in runs}) == len(runs)
    assert {claim.row for claim in table.claims} <= {*table.rows, ""}
    assert any(claim.primary for claim in table.claims)
