"""Commands that are printed or documented, read as bash and zsh read them, and composed as Hydra composes them."""

import argparse
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scripts.reproduction.jobs import distinct, jobs_of
from scripts.reproduction.launch import launch
from scripts.reproduction.launch import parse as launch_parse
from scripts.reproduction.tables import CONFIGS, load_table, table_runs
from smoothmix.config.run_directory import run_directory
from smoothmix.config.schema import check

ROOT = Path(__file__).parents[2]
SHELLS = [shell for shell in (["bash"], ["zsh", "-f"]) if shutil.which(shell[0])]
PROGRAMS = ("python", "torchrun", "sbatch", "make", "pip", "tar")
AWKWARD = "é, it's lr=0.1 (x) [1]"


def words_of(lines):
    """Return the arguments of each command; every shell must read the same ones."""
    commands = [shlex.split(line, comments=True) for line in lines]
    text = "".join(f"printf '%s\\n' {line}\nprintf '\\n'\n" for line in lines)
    for shell in SHELLS:
        done = subprocess.run([*shell, "-o", "interactivecomments" if shell[0] == "zsh" else "posix"], input=text,
                              cwd=ROOT, capture_output=True, text=True)  # fmt: skip
        assert done.stderr == ""
        assert [block.splitlines() for block in done.stdout.split("\n\n")[:-1]] == commands
    return commands


def composed(words):
    """Return what a command line of train.py or an evaluation composes to; of a sweep, the first run."""
    (script,) = (word for word in words if word.endswith(".py"))
    overrides = [word for word in words[words.index(script) + 1 :] if word != "-m"]
    if "-m" in words:
        overrides = [word if "[" in word else word.split(",")[0] for word in overrides]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(Path(script).stem, overrides)


def test_the_printed_commands_are_those_of_the_runs(tmp_path, capsys):
    overrides = [f'output="{tmp_path}/{AWKWARD}"', f'dataset.root="{tmp_path}/{AWKWARD}"']
    jobs = []
    for name in ("4", "low_data"):
        assert launch([f"table={name}", "seeds=1", "source=generate", "launcher=print", *overrides]) == 0
        runs = table_runs(load_table(name), overrides=tuple(overrides), seeds=1)
        jobs += distinct(jobs_of(load_table(name), runs, "generate"))
    lines = iter(words_of(capsys.readouterr().out.splitlines()))
    for job in jobs:
        assert run_directory(check(composed(next(lines)))) == job.directory
        if job.table.benchmark:
            evaluation = composed(next(lines))
            assert Path(evaluation.run) == job.directory
            assert (evaluation.source, evaluation.dataset.root) == ("generate", f"{tmp_path}/{AWKWARD}")
            assert (evaluation.weights, evaluation.images) == (job.table.weights, job.table.images)
    assert list(lines) == []


class Parsed(BaseException):
    """The arguments of a script were read, and it is not to do more."""


def parse(monkeypatch, script, arguments):
    """Read the arguments as the script does."""
    if script == "scripts/reproduce.py":
        launch_parse(arguments)
        return
    if "argparse" not in (ROOT / script).read_text(encoding="utf-8"):
        assert arguments == []
        return
    for name in ("parse_args", "parse_intermixed_args"):
        original = getattr(argparse.ArgumentParser, name)

        def parse_and_stop(parser, original=original):
            original(parser)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, name, parse_and_stop)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def documented(page):
    """Return the commands in the blocks and in the lines of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", "")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"^    (\S.*)$", text, re.M)
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text) if "..." not in code]
    return [line for line in lines if line.startswith(tuple(f"{program} " for program in PROGRAMS))]


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.stem)
def test_documented_commands_can_be_pasted(page, monkeypatch):
    others = ("vertical_concat", "model=tiny", "--help")  # what the page makes, run by test_docs.py
    lines = [line for line in documented(page) if not any(word in line for word in others)]
    for line, words in zip(lines, words_of(lines), strict=True):
        quoted = r"'[^']*'|\"[^\"]*\"|#.*"
        assert not re.search(r"[\[?]", re.sub(quoted, "", line)), f"zsh takes it for a pattern: {line}"
        for script in (word for word in words if re.fullmatch(r"[\w./]+\.(py|sbatch)", word)):
            assert (ROOT / script).exists(), script
            if Path(script).stem in ("train", "eval", "eval_corruption", "export"):
                composed(words)
            elif re.fullmatch(r"scripts/\w+\.py", script):
                with monkeypatch.context() as patch:
                    parse(patch, script, words[words.index(script) + 1 :])


def test_the_scripts_that_made_the_results_are_there():
    for page in {*(ROOT / "results").rglob("*.md")} - {*(ROOT / "results").rglob("plan.md")}:  # plans are frozen
        for script in re.findall(r"(?:python|torchrun [^ ]+) ([\w/]+\.py)", page.read_text(encoding="utf-8")):
            assert (ROOT / script).exists(), (page, script)
