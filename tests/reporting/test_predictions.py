"""What the report says of predictions, against other libraries and loops; and files that do not count."""

import json
import math
import re
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import confusion_matrix, recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from smoothmix.evaluation.classification import Predictions, errors, score
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.evaluation.predictions import write
from smoothmix.reporting import predictions
from smoothmix.reporting.frames import read_folders
from smoothmix.reporting.report import baseline_of, settings
from smoothmix.reporting.statistics import over_images_and_seeds
from tests.commands import here
from tests.reporting.made import NAMES, run

N = 240
CLASSES = ["NA", "nan", "10", "9", 'a,"b"', "ü"]


def logits_of(labels, classes, place, seed, hard):
    """Logits that are often right, more so for a later `place`; what is `hard` for one seed is for all."""
    generator = torch.Generator().manual_seed(10 * place + seed)
    logits = torch.randn(len(labels), classes, generator=generator) + (2 + 0.3 * place) * torch.arange(classes).eq(
        labels[:, None]
    )
    return 2 * (logits - hard[:, None] * torch.arange(classes).eq(labels[:, None]))


@pytest.fixture
def evaluated(tmp_path):
    """Return a function that writes runs with records and predictions, and returns labels and guesses."""

    def make(seeds=(0,), names=CLASSES, methods=("identity", "cutmix"), n=N):
        labels = torch.arange(n) % len(names)
        hard = 3 * torch.rand(n, generator=torch.Generator().manual_seed(9))
        guesses = {}
        for (place, method), seed in product(enumerate(methods), seeds):
            folder = tmp_path / method / str(seed)
            folder.mkdir(parents=True)
            run(method, seed=seed, data_fingerprint="f").write(folder / "summary.json")
            said = Predictions(torch.arange(n), *score(logits_of(labels, len(names), place, seed, hard), labels))
            facts = {**NAMES, "method": method, "config_hash": method, "seed": seed, "weights": "best", "split": "test"}
            record = CleanRecord(
                **facts, **errors(said), split_images=n, weights_sha256="x", data_fingerprint="f", extra={}
            )
            record.write(folder / "best.cifar100-test.json")
            write(folder / "best.cifar100-test.predictions.csv", said, names)
            guesses[method, seed] = said.classes[:, 0].numpy()
        return labels.numpy(), guesses

    return make


def found(folder):
    """What is read of the one setting in a folder, and the problems."""
    results = read_folders([folder])
    ((_, runs, _),) = settings(results)
    return predictions.read(runs, baseline_of(runs), results), results.problems


def test_classes_confusions_and_calibration(evaluated, tmp_path):
    labels, guesses = evaluated()
    ((one,), problems) = found(tmp_path)
    assert problems == []
    assert one.names == ["NA", 'a,"b"', "nan", "ü", "9", "10"]  # sorted, numbers as such
    codes = np.array([one.names.index(name) for name in CLASSES])
    wrong = {method: float((guess != labels).mean()) for (method, _), guess in guesses.items()}
    assert one.best == {"cutmix": "CutMix", "identity": "Baseline"}[min(wrong, key=wrong.get)] == "CutMix"
    frame = predictions.by_class(one).set_index("class").loc[one.names]
    for label, method in (("CutMix", "cutmix"), ("Baseline", "identity")):
        true, seen = codes[labels], codes[guesses[method, 0]]
        assert np.array_equal(predictions.confusion(one, label), confusion_matrix(true, seen))
        recall = recall_score(true, seen, average=None)
        assert frame[label].to_numpy() == pytest.approx(100 - 100 * recall)
        low, high = proportion_confint(np.round((1 - recall) * 40), 40, method="wilson")
        assert frame[[f"{label} low", f"{label} high"]].to_numpy() == pytest.approx(100 * np.stack([low, high], 1))
        record = json.loads((tmp_path / method / "0" / "best.cifar100-test.json").read_text())
        assert predictions.ece(one, label).mean == pytest.approx(record["ece"], rel=1e-9)
        bins = predictions.reliability(one, label)
        gaps = (bins["accuracy"] - bins["confidence"]).abs() * bins["images"] / N
        assert 100 * gaps.sum() == pytest.approx(record["ece"], rel=1e-9)
    worst = predictions.most_wrong(one, 3)
    own = pd.read_csv(tmp_path / "cutmix" / "0" / "best.cifar100-test.predictions.csv", keep_default_na=False)
    expected = own[own["correct"] == 0].nlargest(3, "p_1")
    assert worst[["image", "class", "taken for"]].to_numpy().tolist() == (
        expected[["image", "class", "class_1"]].to_numpy().tolist()
    )


def test_two_methods_of_one_seed(evaluated, tmp_path):
    labels, guesses = evaluated(methods=("identity", "cutmix", "mixup"))
    (one,), _ = found(tmp_path)
    right = {method: guess == labels for (method, _), guess in guesses.items()}
    tables = [pd.crosstab(right[method], right["identity"]) for method in ("mixup", "cutmix")]
    expected = multipletests([mcnemar(table, exact=True).pvalue for table in tables], method="holm")[1]
    table = predictions.versus(one).set_index("method").loc[["Mixup", "CutMix"]]
    assert table["p (McNemar)"].tolist() == ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in expected]
    counts = [[table.loc[True, False], table.loc[False, True]] for table in tables]
    assert table[["only it is right", "only Baseline is right"]].astype(int).to_numpy().tolist() == counts
    alone = predictions.only_one(one)
    assert len(alone) == np.sum(counts)
    for line in alone.sample(30, random_state=0).itertuples():
        method, place = line.method.lower(), int(line.image)
        assert right[method][place] == (line.right == line.method) != right["identity"][place]
    frame, best = predictions.by_class(one), right["mixup"]
    raw = []
    for name, gained, lost in frame[["class", "gained", "lost"]].itertuples(index=False):
        of_class = labels == CLASSES.index(name)
        assert gained == (best & ~right["identity"])[of_class].sum()
        assert lost == (~best & right["identity"])[of_class].sum()
        raw.append(stats.binomtest(int(gained), int(gained + lost)).pvalue if gained + lost else 1)
    assert frame["p"].to_numpy() == pytest.approx(multipletests(raw, method="holm")[1])


def test_several_seeds(evaluated, tmp_path):
    labels, guesses = evaluated(seeds=(0, 1, 2))
    shutil.rmtree(tmp_path / "identity" / "2")
    (one,), _ = found(tmp_path)
    own, others = (np.stack([guesses[method, seed] != labels for seed in (0, 1)]) for method in ("cutmix", "identity"))
    (line,) = predictions.versus(one).query("method == 'CutMix'").to_dict("records")
    low, high = stats.ttest_rel(100 * own.mean(1), 100 * others.mean(1)).confidence_interval()
    assert (line["n"], line["interval over seeds"]) == ("3", f"[{low:.2f}, {high:.2f}]")
    low, high = over_images_and_seeds(100.0 * own - 100.0 * others)
    mean = 100 * (own.mean() - others.mean())
    assert line["difference to Baseline"] == f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert float(line["only it is right"]) == (~own & others).sum() / 2
    assert "p" not in predictions.by_class(one)


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_bootstrap_is_that_of_a_loop(seeds):
    rng = np.random.default_rng(1)
    hard = rng.random(80) - 0.4
    differences = 100.0 * rng.choice([-1, 0, 1], (seeds, 80), p=[0.2, 0.7, 0.1]) * (hard > 0) + 5 * rng.normal(
        size=(seeds, 1)
    ).round(1)
    means = []
    for _ in range(6000):
        images, drawn = rng.integers(80, size=80), rng.integers(seeds, size=seeds)
        means.append(np.mean([[differences[seed, image] for image in images] for seed in drawn]))
    expected = np.percentile(means, [2.5, 97.5])
    assert over_images_and_seeds(differences) == pytest.approx(expected, abs=0.06 * (expected[1] - expected[0]))
    assert over_images_and_seeds(differences) == over_images_and_seeds(differences)


def test_many_classes_have_a_table_of_confusions(evaluated, tmp_path):
    names = [f"n{number:03}" for number in range(120)]
    labels, guesses = evaluated(names=names, n=480, methods=("identity",))
    (one,), _ = found(tmp_path)
    counts = {}
    for true, seen in zip(labels, guesses["identity", 0], strict=True):
        counts[true, seen] = counts.get((true, seen), 0) + (true != seen)
    table = predictions.most_confused(one)
    assert table["Baseline (%)"].tolist() == [25.0 * count for count in sorted(counts.values(), reverse=True)[:20]]
    for line in table.itertuples(index=False):
        assert 25.0 * counts[names.index(line[0]), names.index(line[1])] == line[2]
    blocks = predictions.blocks(one, "")
    assert [block.name for block in blocks if isinstance(block, predictions.Picture)] == ["reliability.svg"]
    (shown,) = (frame for frame in blocks if isinstance(frame, pd.DataFrame) and "images" in frame)
    assert len(shown) == 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("class_1", "prediction"), "has no column class_1; .*predictions=true"),
        (lambda text: text.replace("p_5", "logit_5"), "has an unknown column logit_5; "),
        (lambda text: text.rpartition("\n239,")[0] + "\n", "has 239 images, and its record 240; "),
        (lambda text: text.replace("\n17,", "\n16,"), "has 240 images, .*; evaluate again with"),
        (lambda text: text.replace("\n3,", "\n3x,"), "cannot be read .*; "),
        (lambda text: "", "cannot be read "),
        (
            lambda text: text.replace("class_1,class_2", "class_2,class_1"),
            "has other errors than best.cifar100-test.json",
        ),
        (lambda text: text.replace("NA", "x"), "has other images, or other classes of them, .*same data set"),
        (lambda text: text.replace("\n239,", "\n240,"), "has other images, or other classes of them, "),
    ],
)
def test_a_file_that_does_not_count_is_one_sentence(evaluated, tmp_path, change, sentence):
    evaluated()
    path = tmp_path / "identity" / "0" / "best.cifar100-test.predictions.csv"
    path.write_text(change(path.read_text()))
    (one,), (problem,) = found(tmp_path)
    assert re.search(sentence, problem)
    assert "\n" not in problem
    assert "/0/best.cifar100-test.predictions.csv" in problem
    assert len(one.runs) == 1


def test_through_the_commands(tmp_path):
    quick = ["recipe.epochs=2", "recipe.decay_epochs=[1]", "model.depth=8", "model.alpha=3", "recipe.batch_size=32"]
    runs = tmp_path / "runs"
    for mixing in ("identity", "cutmix"):
        assert here("train.py", *quick, "dataset.val_split=1200", f"mixing={mixing}", f"output={runs}").returncode == 0
    for path in runs.rglob("best.pt"):
        done = here("eval.py", f"run={path.parent}", "predictions=true")
        assert done.returncode == 0, done.stderr
    done = here("scripts/report.py", runs, "--output", tmp_path / "report")
    assert (done.returncode, done.stderr) == (0, "")
    assert "only Baseline is right" in done.stdout
    page = (tmp_path / "report" / "README.md").read_text()
    for picture in ("confusion.svg", "wrong.png", "reliability.svg"):
        assert f"]({picture})" in page
        assert (tmp_path / "report" / picture).stat().st_size > 1000
    alone = pd.read_csv(tmp_path / "report" / "only_one.csv")
    frames = [pd.read_csv(path) for path in sorted(runs.rglob("*.predictions.csv"))]  # cutmix, identity
    assert len(alone) == (frames[0]["correct"] != frames[1]["correct"]).sum()
    assert not math.isnan(alone["image"].sum())
    for path in runs.rglob("config.yaml"):
        path.write_text(path.read_text().replace("val_split: 1200", "val_split: 1100"))
    shutil.rmtree(tmp_path / "report")
    assert here("scripts/report.py", runs, "--output", tmp_path / "report").returncode == 0
    assert "They are not shown (the data set of " in (tmp_path / "report" / "README.md").read_text()
    assert not (tmp_path / "report" / "wrong.png").exists()
