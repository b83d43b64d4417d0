"""The ledger of the paper's claims: the audit and the judged claims find their places in it."""

from pathlib import Path

import pandas as pd
import pytest

import scripts.ledger
from scripts.reproduction.tables import load_table
from smoothmix.reporting.audit import audit
from smoothmix.reporting.claims import ENDPOINTS
from smoothmix.reporting.ledger import ledger
from smoothmix.reporting.verdicts import judge
from smoothmix.utils.errors import UserError

RESULTS = Path(__file__).parents[2] / "results"
PAPER = RESULTS / "paper"


@pytest.fixture(scope="module")
def listed():
    return pd.read_csv(PAPER / "claims.csv")


@pytest.fixture(scope="module")
def audited():
    return audit(PAPER)


def runs():
    rows = {"Baseline": [50.0, 51.0, 52.5], "SmoothMix_C": [45.0, 46.2, 47.4]}
    lines = [
        {"row": row, "seed": seed, **dict.fromkeys(ENDPOINTS), "last_top1": error}
        for row, errors in rows.items()
        for seed, error in enumerate(errors)
    ]
    return pd.DataFrame(lines)


def test_the_committed_page_is_what_the_files_give(listed, audited):
    assert scripts.ledger.page() == (RESULTS / "claims.md").read_text()
    found = ledger(listed, audited, {})
    assert len(found) == len(listed) >= 20
    assert set(found["our runs"]) == {"not run", "see the records"}


def test_every_claim_of_the_study_stands_in_it(listed):
    named = {part for cell in listed["judged"].dropna() for part in cell.split(";")}
    assert named == {f"low_data:{claim.id}" for claim in load_table("low_data").claims}


def test_verdicts_enter_with_their_evidence(listed, audited):
    judged = judge(runs(), load_table("low_data").claims)
    found = ledger(listed, audited, {"low_data": judged})
    (line,) = (line for line in found.itertuples() if line.claim.startswith("SmoothMix_C improves on the baseline"))
    (expected,) = judged[judged["id"] == "c-baseline"].itertuples()
    assert expected.verdict == "supported"
    effect = f"{expected.effect:+.2f} [{expected.low:+.2f}, {expected.high:+.2f}]"
    assert f"supported: SmoothMix_C / Baseline {effect}, n = 3" in found.loc[line.Index, "our runs"]
    assert found.loc[line.Index, "records"] == "[low_data](low_data/README.md)"
    assert "confirmed (printed: 0.87; recomputed: 0.87)" in found.loc[line.Index, "the paper's own numbers"]
    assert found.loc[line.Index, "command"] == "`python scripts/claims.py table=low_data`"


def test_names_that_are_nowhere(listed, audited):
    judged = {"low_data": judge(runs(), load_table("low_data").claims)}
    for column, name, sentence in (
        ("audit", "no such claim", "the audit has no claim 'no such claim'"),
        ("judged", "low_data:no-such", "results/low_data/claims.csv has no claim no-such"),
    ):
        changed = listed.copy()
        changed.loc[0, column] = name
        with pytest.raises(UserError, match=sentence):
            ledger(changed, audited, judged)
