"""The pages of a study as Markdown: its verdicts, its plan for a next one, and its results."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from smoothmix.reporting.claims import ENDPOINTS, Claim
from smoothmix.reporting.spread import spread
from smoothmix.reporting.study import EVALUATION, Study

SHOWN = ("last_top1", "best_top1", "test_loss", "corrupted", "noise", "corruption_gap")
LEGEND = """Runs of one seed share initialisation, order, crops and flips, so differences are within pairs. The effect
is the mean difference (first row minus second, in the endpoint's unit) or, of a claim of stability, the ratio of the
standard deviations, with its 95 % interval. A claim is *supported* or *contradicted* at p < 0.05 and else *undecided*;
p is of the two-sided paired t test, of two one-sided tests for a margin on both sides, of the Pitman-Morgan test for
stability, after Holm's correction over the primary claims. Against several rows a claim is supported if it is against
each of them, and one p is theirs together. *Detectable* is the smallest effect (of a margin on both sides, the smallest
margin) that so many seeds had an 80 % chance to see."""


def verdicts(table: pd.DataFrame, claims: Sequence[Claim]) -> str:
    """Return what `verdicts.judge` made of the `claims` as Markdown: primary ones first, a line for each comparison."""
    asked = {claim.id: _asked(claim) for claim in claims}
    parts = []
    for primary, title in ((True, "Primary claims"), (False, "Secondary claims, without correction")):
        of_kind = table[table["primary"] == primary]
        if of_kind.empty:
            continue
        shown = pd.DataFrame(
            {
                "claim": [f"{line.sentence} ({line.source})" for line in of_kind.itertuples()],
                "endpoint": of_kind["endpoint"],
                "comparison": [_comparison(line) for line in of_kind.itertuples()],
                "asked": of_kind["id"].map(asked),
                "n": of_kind["n"],
                "effect [95 % interval]": [_effect(line) for line in of_kind.itertuples()],
                "p": of_kind["p_holm" if primary else "p"].map(_p),
                "detectable": of_kind["detectable"].map(_number),
                "verdict": of_kind["verdict"],
            }
        )
        parts.append(f"## {title}\n\n{_markdown(shown)}")
    return "\n\n".join([*parts, LEGEND, _endpoints(table["endpoint"])])


def plan(table: pd.DataFrame) -> str:
    """Return what `verdicts.plan` made as Markdown."""
    shown = pd.DataFrame(
        {
            "claim": table["sentence"],
            "kind": table["primary"].map({True: "primary", False: "secondary"}),
            "endpoint": table["endpoint"],
            "comparison": [_comparison(line) for line in table.itertuples()],
            "pairs of the pilot": table["n"],
            "deviation of the difference": table["deviation"].map(_number),
            "effect to see": table["effect"].map(_number),
            "seeds": table["seeds"].map(lambda seeds: "" if math.isnan(seeds) else f"{seeds:.0f}"),
        }
    )
    return _markdown(shown)


def results(study: Study, rows: Sequence[str]) -> str:
    """Return the mean of each endpoint by row as Markdown, and of the first ones the paired difference to rows[0].

    A cell reads ``mean ± sample standard deviation``, of a difference ``mean [95 % interval]``.
    """
    runs, lines = study.runs, []
    endpoints = [name for name in SHOWN if runs[name].notna().any()]
    compared = [name for name in ("last_top1", "corrupted") if name in endpoints]
    for row in rows:
        of_row = runs[runs["row"] == row]
        line = {"row": row, "n": str(len(of_row))}
        for name in endpoints:
            line[name] = _mean(of_row[name].dropna())
        for name in compared:
            wide = runs.pivot(index="seed", columns="row", values=name)
            paired = (wide[row] - wide[rows[0]]).dropna() if {row, rows[0]} <= set(wide) else pd.Series(dtype=float)
            line[f"{name} - {rows[0]}"] = "" if row == rows[0] else _difference(paired)
        lines.append(line)
    return f"{_markdown(pd.DataFrame(lines))}\n\n{_endpoints(endpoints)}"


def made_with(study: Study) -> str:
    """Return on which devices, from which commits and in how many hours the runs were made, and how evaluated."""
    runs = study.runs
    facts = {
        "device": ", ".join(sorted(set(runs["device"].dropna().astype(str)))),
        "precision": ", ".join(sorted(set(runs["precision"].dropna().astype(str)))),
        "commit": ", ".join(dict.fromkeys(runs["git_commit"].dropna().str.replace(r"^(\w{10})\w*", r"\1", regex=True))),
        "training": f"{runs['seconds'].astype(float).sum() / 3600:.1f} hours in all",
    }
    evaluated = runs.dropna(subset=[*EVALUATION])
    if not evaluated.empty:
        weights, source = evaluated[[*EVALUATION]].iloc[0]
        facts["corrupted images"] = f"{source}, {weights} weights"
    return "\n".join(f"- {name}: {value or 'not recorded'}" for name, value in facts.items())


def evidence(line: Any) -> str:
    """Return one line of what `verdicts.judge` made as text: the comparison, its effect, n and p."""
    p = _p(line.p_holm if line.primary else line.p)
    parts = [f"{_comparison(line)} {_effect(line)}".strip(), f"n = {line.n}", *([f"p = {p}"] if p else [])]
    return ", ".join(parts).replace("p = <", "p <")


def _asked(claim: Claim) -> str:
    if claim.stable:
        return "ratio < 1"
    if claim.within is not None:
        return f"within ±{claim.within:g}"
    sign, bound = ("<", claim.margin) if claim.direction == "less" else (">", -claim.margin)
    return f"{sign} {bound:g}" if bound else f"{sign} 0"


def _comparison(line: Any) -> str:
    return f"{line.row} / {line.to if isinstance(line.to, str) else format(line.to, 'g')}"


def _endpoints(names: Iterable[str]) -> str:
    return "\n".join(f"- `{name}`: {ENDPOINTS[name]}" for name in dict.fromkeys(names))


def _effect(line: Any) -> str:
    form = "+z.2f" if line.measure == "difference" else ".2f"
    if math.isnan(line.effect):
        return ""
    return f"{line.effect:{form}}" + ("" if math.isnan(line.low) else f" [{line.low:{form}}, {line.high:{form}}]")


def _difference(values: "pd.Series[float]") -> str:
    found = spread(list(values))
    interval = f" [{found['low']:+z.2f}, {found['high']:+z.2f}]" if found["n"] > 1 else ""
    return f"{found['mean']:+z.2f}{interval}" if found["n"] else ""


def _mean(values: "pd.Series[float]") -> str:
    found = spread(list(values))
    deviation = f" ± {found['std']:.2f}" if found["n"] > 1 else ""
    return f"{found['mean']:.2f}{deviation}" if found["n"] else ""


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _p(value: float) -> str:
    return "" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _markdown(table: pd.DataFrame) -> str:
    return str(table.to_markdown(index=False, disable_numparse=True))
