"""The LaTeX tables: by the rules of the format, and by LaTeX itself where there is one."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from smoothmix.reporting import markup

HEAD = ["row", "top-1: ours, best epoch", "a_b & 50 % #1"]
BODY = [["[8,16] {x}", "14.81 ± 0.26 (2 of 5)", r"$5 \ ~ ^"], ["`", "†1", "-"]]


def document(*tables):
    parts = [r"\documentclass{article}", r"\usepackage{booktabs,graphicx,rotating}", r"\begin{document}"]
    return "\n".join([*parts, "\\clearpage\n".join(tables), r"\end{document}"])


def faults(tex):
    """Return what is wrong in the source of a table."""
    found = []
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", tex):
        depth += 1 if brace == "{" else -1
        found += ["a closing brace too many"] if depth < 0 else []
    found += ["an open brace"] if depth > 0 else []
    ((columns, tabular),) = re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*)\\end\{tabular\}", tex, re.S)
    for line in tabular.splitlines():
        if not line.endswith("rule") and len(re.split(r"(?<!\\)&", line)) != len(columns):
            found.append(f"not {len(columns)} cells: {line}")
    bare = re.sub(r"^%.*|\\label\{.*?\}|(?<=\{)%$|\\pm|\\dagger", "", tex, flags=re.M)
    found += [f"not escaped: {sign}" for sign in re.findall(r"(?<!\\)[%#_^~]", bare)]
    return found


@pytest.fixture
def every_table(run, tmp_path):
    (tmp_path / "records").mkdir()
    assert run("--table", *"12345678")[0] == 0
    return [path.read_text() for path in sorted((tmp_path / "tables").glob("*.tex"))]


def test_every_table_of_the_paper_keeps_the_rules(every_table):
    assert [faults(tex) for tex in every_table] == [[]] * 8


def latex(head, body, *others):
    return markup.latex(pd.DataFrame(body, columns=head), *others)


def test_any_text_keeps_the_rules_and_faults_are_seen():
    tex = latex(HEAD, BODY, "50 % of a_b", "tab:x", ["# {"], ["`run a_b/c`"])
    assert faults(tex) == []
    for sign in "%#_":
        assert faults(tex.replace(f"\\{sign}", sign, 1)) == [f"not escaped: {sign}"]
    assert "not 3 cells: " in faults(tex.replace("14.81", "14 & 81"))[0]
    assert faults(tex + "{") == ["an open brace"]


def test_latex_sets_every_table_inside_the_margins(tmp_path, every_table):
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex; apt-get install texlive-latex-base texlive-latex-recommended")
    wide = [*HEAD, *(f"column {number}" for number in range(10))]
    made = [
        latex(HEAD, BODY, "50 % of a_b", "tab:x", ["# {"], [f"`run={'a_b/' * 60}`"]),
        latex(wide, [["14.81 ± 0.26 / 14.95 / +0.14"] * len(wide)] * 3, "wide", "tab:y", [], []),
    ]
    (tmp_path / "all.tex").write_text(document(*every_table, *made))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert not re.findall(r"^(?:Overfull|LaTeX Warning: Float|! ).*", log, re.M)
    assert "Output written on all.pdf" in log
