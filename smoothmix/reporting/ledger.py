"""The ledger: every claim of the paper, what its own numbers say of it, and what our runs say."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from smoothmix.reporting.study_page import evidence
from smoothmix.utils.errors import UserError

NOT_RUN = "not run"


def ledger(listed: pd.DataFrame, audited: pd.DataFrame, judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a line for each claim of the paper, all text: claim, where, its own numbers, our runs, command, records.

    Args:
        listed: results/paper/claims.csv: claim, where, and separated by semicolons the claims of the `audit` and the
            ``table:id`` of the claims `judged` that are about it; `elsewhere` is a page with other measurements.
        audited: what :func:`smoothmix.reporting.audit.audit` returns.
        judged: what :func:`smoothmix.reporting.verdicts.judge` returns, by the name of the table; those that were not
            run are left out.

    Raises:
        UserError: `listed` names a claim that the audit or a judged table has not.
    """
    rows = []
    for number, line in enumerate(listed.fillna("").itertuples(), 1):
        ids = [tuple(part.split(":")) for part in line.judged.split(";") if part]
        tables = dict.fromkeys(table for table, _ in ids)
        records = [f"results/{table}/README.md" for table in tables if table in judged]
        records += [line.elsewhere] if line.elsewhere else []
        measured = [_judged(judged[table], table, name) for table, name in ids if table in judged]
        rows.append(
            {
                "": str(number),
                "claim": line.claim,
                "where": line.where,
                "the paper's own numbers": "; ".join(_audited(audited, part) for part in line.audit.split(";") if part),
                "our runs": "; ".join(measured) or ("see the records" if line.elsewhere else NOT_RUN),
                "command": ", ".join(f"`python scripts/claims.py table={table}`" for table in tables),
                "records": ", ".join(
                    f"[{Path(path).parent.name}]({path.removeprefix('results/')})" for path in records
                ),
            }
        )
    return pd.DataFrame(rows)


def _audited(audited: pd.DataFrame, claim: str) -> str:
    found = audited[audited["claim"] == claim]
    if found.empty:
        raise UserError(f"the audit has no claim {claim!r}")
    return "; ".join(
        f"{line.verdict} (printed: {line.printed}; recomputed: {line.recomputed})" for line in found.itertuples()
    )


def _judged(judged: pd.DataFrame, table: str, name: str) -> str:
    found = judged[judged["id"] == name]
    if found.empty:
        raise UserError(f"results/{table}/claims.csv has no claim {name}")
    return f"{found.iloc[0].verdict}: {', '.join(evidence(line) for line in found.itertuples())}"
