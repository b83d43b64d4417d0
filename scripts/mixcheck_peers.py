"""Check the mixing operations of this package and of other libraries, and write results/mixcheck.md.

    python scripts/mixcheck_peers.py

Install the libraries with `pip install ".[peers]"`; those that cannot be imported are listed. openmixup is in no
package registry: put a checkout of it on PYTHONPATH.
"""

import platform
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

import torch

from smoothmix.check import LAWS, Report, check_mixing
from smoothmix.check.adapters import OURS
from smoothmix.check.peers import PEERS
from smoothmix.check.report import FAIL, NOT_APPLICABLE, PASS
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

OUTPUT = Path("results/mixcheck.md")
MARKS = {PASS: "✓", FAIL: "**✗**", NOT_APPLICABLE: "n/a"}


def main() -> None:
    """Run all checks and write the scoreboard."""
    torch.set_num_threads(1)
    rows: list[tuple[str, Report | str]] = []
    for library, makes in {"smoothmix": OURS, **PEERS}.items():
        for name, make in makes.items():
            try:
                found: Report | str = check_mixing(make)
            except UserError as error:  # an import that fails
                found = str(error).splitlines()[0].split(". Wrap it")[0]
            rows.append((f"{label(library)}: {name}", found))
            print(rows[-1][0], found if isinstance(found, str) else "passed" if found.passed else "failed", flush=True)
    OUTPUT.write_text(to_markdown(rows), encoding="utf-8")
    print(OUTPUT)


def label(library: str) -> str:
    """Return the library with the version that is installed."""
    if library == "smoothmix":
        return "ours"
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return library


def to_markdown(rows: list[tuple[str, Report | str]]) -> str:
    """Return the scoreboard: a table of operations and laws, then the evidence of what failed or does not apply."""
    laws = [law.name for law in LAWS]
    lines = [
        "# mixcheck: who obeys which law",
        "",
        f"Written by `python scripts/mixcheck_peers.py` with torch {torch.__version__}, Python "
        f"{platform.python_version()}, on a CPU. ✓ passed, **✗** failed, n/a not applicable. The laws, and the "
        "failures of other libraries reproduced by hand, are in [docs/mixcheck.md](../docs/mixcheck.md).",
        "",
        "| operation | " + " | ".join(f"`{law}`" for law in laws) + " |",
        "|---|" + ":-:|" * len(laws),
    ]
    reports = {name: found for name, found in rows if isinstance(found, Report)}
    for name, report in reports.items():
        lines.append(f"| {name} | " + " | ".join(MARKS[entry.verdict] for entry in report.entries) + " |")
    if missing := [f"- {name}: {found}" for name, found in rows if isinstance(found, str)]:
        lines += ["", "Not checked:", "", *missing]
    for verdict, title in ((FAIL, "What failed"), (NOT_APPLICABLE, "What does not apply, and why")):
        lines += ["", f"## {title}", ""]
        for name, report in reports.items():
            lines += [f"- {name}, `{e.law}`: {e.evidence}" for e in report.entries if e.verdict == verdict]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(main)
