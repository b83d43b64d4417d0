"""The pages tell the truth: the worked example works when it is followed, and the tables name all that there is."""

import ast
import inspect
import json
import math
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import scipy.stats
import yaml

import smoothmix
from smoothmix.reporting.frames import read_folders
from smoothmix.reporting.methods import METHODS
from smoothmix.reporting.statistics import averages
from tests.commands import python

ROOT = Path(__file__).parents[1]
COMMON = {"num_classes", "generator", "ignore_index"}  # arguments of every strategy
SOURCES = ["configs", "datasets", "models", "results/paper", "scripts", "smoothmix", "tests"]
SOURCES += ["pyproject.toml", "train.py"]
# what stands before a block: the file that it is, or the place where it goes
BLOCK = re.compile(r"`([\w/.]+)`(?:, (above|below) `([^`]+)`)?:\n\n```(?:python|yaml)\n(.*?)```", re.S)


@pytest.fixture
def copy(tmp_path):
    """The repository as it is checked out, without its history and results."""
    for name in SOURCES:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


def follow(page, root):
    """Do what the page says: write its files, insert its lines; return its commands."""
    text = page.read_text()
    done = []
    for path, side, anchor, block in BLOCK.findall(text):
        target = root / path
        if not side:
            assert not target.exists(), f"{path} is there already"
            target.write_text(block)
        else:
            lines = target.read_text().splitlines(keepends=True)
            (place,) = (i for i, line in enumerate(lines) if line.strip() == anchor)
            place += side == "below"
            target.write_text("".join([*lines[:place], block, *lines[place:]]))
        done.append(path)
    assert len(done) == len(re.findall(r"```(?:python|yaml)\n", text)), "a block has no file"
    (commands,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    return done, [shlex.split(line) for line in commands.splitlines()]


def test_the_worked_example_of_adding_a_method(copy):
    written, commands = follow(ROOT / "docs" / "add-a-method.md", copy)
    assert len(written) == 6
    for path in written:
        if path.endswith(".py"):
            ast.parse((copy / path).read_text())
    printed = []
    assert len(commands) == 3
    for program, *arguments in commands:
        assert program == "python"
        done = python(*arguments, folder=copy)
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    assert "3 passed" in printed[0]
    assert re.search(r"^ *Baseline +1 .*\n *Vertical Concat +1 ", printed[2], re.M)


def test_a_network_and_a_data_set_of_one_s_own(copy):
    written, commands = follow(ROOT / "docs" / "add-a-network.md", copy)
    assert len(written) == 8
    ((program, *arguments),) = commands
    done = python(*arguments, "output=outputs/try", folder=copy)
    assert (program, done.returncode) == ("python", 0), done.stdout + done.stderr
    assert float(re.search(r"error last ([\d.]+)%", done.stdout)[1]) < 10
    assert list((copy / "outputs" / "try").glob("stripes/tiny/smoothmix_c/demo-*/seed0"))


def test_the_files_that_the_page_points_to_are_there():
    for page in (ROOT / "docs").glob("*.md"):
        for path in re.findall(r"`((?:smoothmix|configs|docs|scripts)/[\w/.]+\.(?:py|yaml|md))`", page.read_text()):
            example = any(name in path for name in ("vertical_concat", "tiny", "stripes"))
            assert example or (ROOT / path).exists(), (page.name, path)
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


def test_the_table_of_methods_names_every_mixing_and_every_experiment_of_it():
    text = (ROOT / "docs" / "methods.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for path in (ROOT / "configs" / "mixing").glob("*.yaml"):
        assert any(f"| `{path.stem}`" in row for row in rows), path.stem
        assert yaml.safe_load(path.read_text())["name"] == path.stem
        assert path.stem in METHODS
    named = {name.split("/")[-1] for row in rows for name in re.findall(r"`([\w*/]+)`", row.rsplit(" | ", 1)[1])}
    for path in (ROOT / "configs" / "experiment").glob("*/*.yaml"):
        assert path.stem in named, path
    for dataset, name in re.findall(r"`(\w+|\*)/(\w+)`", "\n".join(row.rsplit(" | ", 1)[1] for row in rows)):
        folders = ["cifar10", "cifar100", "imagenet"] if dataset == "*" else [dataset]
        for folder in folders:
            assert (ROOT / "configs" / "experiment" / folder / f"{name}.yaml").exists(), (folder, name)


@pytest.mark.parametrize("group", ["dataset", "recipe"])
def test_the_page_of_methods_lists_every_choice(group):
    lines = (ROOT / "docs" / "methods.md").read_text().splitlines()
    choices = next(line for line in lines if f"(`{group}=`)" in line)
    names = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")} - {"quick"}  # quick: a preset's
    assert set(re.findall(r"`(\w+)`", choices)) == names


def test_the_page_of_methods_lists_every_strategy_with_its_arguments():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name in (name for name in smoothmix.__all__ if name[0].isupper()):
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        given = set(inspect.signature(getattr(smoothmix, name)).parameters) - COMMON
        assert set(re.findall(r"`(\w+)`", line)) - {name} == (given if name != "Identity" else set())


def test_every_cell_of_the_tour_runs(monkeypatch, capsys):
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text())["cells"]
    shown = []
    display = SimpleNamespace(display=shown.append, Image=lambda png: png)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT / "docs")
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"tour.ipynb, {cell['id']}", "exec"), names)
    assert len(shown) == 2
    assert all(png.startswith(b"\x89PNG") for png in shown)
    assert [entry.law for entry in names["report"].entries if entry.verdict == "FAIL"] == ["label_weight", "rounding"]
    assert names["record"].error("last") < 90
    printed = capsys.readouterr().out
    assert "step 10: loss" in printed
    assert "top-1 error" in printed


def test_the_readme_s_results_are_those_of_the_recorded_runs():
    results = read_folders([ROOT / "results" / "low_data"])
    runs = results.runs.set_index("run").join(averages(results.errors).set_index("run")["corrupted"])
    wide = runs.assign(name=runs["method"].map(METHODS)).pivot(index="seed", columns="name")
    rows = re.findall(r"^\| (\w+) \| (\d.*) \|$", (ROOT / "README.md").read_text(), re.M)
    assert [name for name, _ in rows] == ["Baseline", "Cutout", "Mixup", "CutMix", "SmoothMix_S", "SmoothMix_C"]
    for name, text in rows:
        errors = [wide[endpoint, name] for endpoint in ("last_top1", "corrupted")]
        numbers = [number for one in errors for number in (one.mean(), one.std())]
        difference = errors[0] - wide["last_top1", "Baseline"]
        half = scipy.stats.t.ppf(0.975, 7) * difference.std() / math.sqrt(8)
        paired = [difference.mean() + part for part in (0, -half, half)]
        printed = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", text)]
        assert printed == pytest.approx(numbers + (paired if name != "Baseline" else []), abs=0.0051)
