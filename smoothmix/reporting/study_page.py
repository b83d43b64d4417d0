"""The pages of a study as Markdown: its verdicts, its plan for a next one, and its results."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from smoothmix.reporting.claims import ENDPOINTS, Claim
from smoothmix.reporting.markup import markdown
from smoothmix.reporting.mean import Mean, interval, number, p_value
from smoothmix.reporting.study import EVALUATION, Study

SHOWN = ("last_top1", "best_top1", "test_loss", "corrupted", "noise", "corruption_gap")
LEGEND = """Runs of one seed share initialisation, order, crops and flips, so differences are within pairs. The effect
is the mean difference (first row minus second, in the endpoint's unit) or, for a claim of stability, the ratio of the
standard deviations, with its 95 % interval. A claim is *supported* or *contradicted* at p < 0.05, otherwise
*undecided*; p is from the two-sided paired t test, from two one-sided tests for a margin on both sides, or from the
Pitman-Morgan test for stability, after Holm's correction over the primary claims. A claim against several rows is
supported if it is supported against each of them; they share one p. *Detectable* is the smallest effect (for a margin
on both sides, the smallest margin) that so many seeds had an 80 % chance of detecting."""


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
                "p": of_kind["p_holm" if primary else "p"].map(p_value),
                "detectable": of_kind["detectable"].map(number),
                "verdict": of_kind["verdict"],
            }
        )
        parts.append(f"## {title}\n\n{markdown(shown)}")
    return "\n\n".join([*parts, LEGEND, _endpoints(table["endpoint"])])


def plan(table: pd.DataFrame) -> str:
    """Return what `verdicts.plan` made as Markdown."""
    shown = pd.DataFrame(
        {
            "claim": table["sentence"],
            "kind": table["primary"].map({True: "primary", False: "secondary"}),
            "endpoint": table["endpoint"],
            "comparison": [_comparison(line) for line in table.itertuples()],
            "pilot pairs": table["n"],
            "standard deviation of the difference": table["deviation"].map(number),
            "effect to detect": table["effect"].map(number),
            "seeds": table["seeds"].map(lambda seeds: number(seeds, ".0f")),
        }
    )
    return markdown(shown)


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
            line[name] = str(Mean.of(list(of_row[name].dropna())))
        for name in compared:
            wide = runs.pivot(index="seed", columns="row", values=name)
            paired = (wide[row] - wide[rows[0]]).dropna() if {row, rows[0]} <= set(wide) else pd.Series(dtype=float)
            change = Mean.of(list(paired))
            shown = f"{number(change.mean, '+z.2f')} {change.interval('+z.2f')}"
            line[f"{name} - {rows[0]}"] = "" if row == rows[0] else shown.removesuffix(" -")
        lines.append(line)
    return f"{markdown(pd.DataFrame(lines))}\n\n{_endpoints(endpoints)}"


def made_with(study: Study) -> str:
    """Return on which devices, from which commits and in how many hours the runs were made, and how evaluated."""
    runs = study.runs
    facts = {
        "device": ", ".join(sorted(set(runs["device"].dropna().astype(str)))),
        "precision": ", ".join(sorted(set(runs["precision"].dropna().astype(str)))),
        "commit": ", ".join(dict.fromkeys(runs["git_commit"].dropna().str.replace(r"^(\w{10})\w*", r"\1", regex=True))),
        "training": f"{runs['seconds'].astype(float).sum() / 3600:.1f} hours in total",
    }
    evaluated = runs.dropna(subset=[*EVALUATION])
    if not evaluated.empty:
        weights, source = evaluated[[*EVALUATION]].iloc[0]
        facts["corrupted images"] = f"{source}, {weights} weights"
    return "\n".join(f"- {name}: {value or 'not recorded'}" for name, value in facts.items())


def evidence(line: Any) -> str:
    """Return one line of what `verdicts.judge` made as text: the comparison, its effect, n and p."""
    p = p_value(line.p_holm if line.primary else line.p)
    parts = [f"{_comparison(line)} {_effect(line)}", f"n = {line.n}", f"p = {p}"]
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
    return f"{number(line.effect, form)} {interval(line.low, line.high, form)}".removesuffix(" -")
