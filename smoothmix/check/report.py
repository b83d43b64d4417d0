"""What a check found: one entry per law, in an order and a form to print."""

from dataclasses import dataclass

PASS, FAIL, NOT_APPLICABLE = "pass", "FAIL", "not applicable"


@dataclass(frozen=True)
class Entry:
    """The verdict of one law.

    Attributes:
        law: its name.
        sentence: what it says.
        verdict: "pass", "FAIL" or "not applicable".
        evidence: the numbers; for a failure the smallest batch that shows it; for "not applicable" the reason.
    """

    law: str
    sentence: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Report:
    """The verdicts of all laws on one operation; `print(report)` shows them."""

    operation: str
    entries: tuple[Entry, ...]

    @property
    def passed(self) -> bool:
        """Whether no law failed."""
        return all(entry.verdict != FAIL for entry in self.entries)

    def __getitem__(self, law: str) -> Entry:
        """Return the entry of a law."""
        return next(entry for entry in self.entries if entry.law == law)

    def __str__(self) -> str:
        width = max(len(entry.law) for entry in self.entries)
        lines = [f"{self.operation}: {'passed' if self.passed else 'FAILED'}"]
        for entry in self.entries:
            lines.append(f"  {entry.law:{width}}  {entry.verdict:14}  {entry.sentence}")
            lines.append(f"  {'':{width}}  {'':14}  {entry.evidence}")
        return "\n".join(lines)
