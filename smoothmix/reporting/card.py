"""A card: one page about one network, from the records that its evaluations leave beside the weights."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import yaml

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.averages import incomplete, means, summarize, wilson_interval
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting import figures
from smoothmix.reporting.frames import LEVELS, TOP1
from smoothmix.reporting.methods import name_of
from smoothmix.reporting.page import Block, Markdown, Page, Picture, code_block, heading
from smoothmix.reporting.statistics import interval, number
from smoothmix.utils.errors import UserError

ALEXNETS = "imagenet_c"  # the benchmark on which mCE is defined
SHOWN = {TOP1: ("error (%)", ".2f"), **MEASURES}
FACTS = {
    "weights": "weights_file",
    "SHA-256 of the weights begins with": "weights_sha256",
    "parameters": "parameters",
    "image size": "image_size",
    "mean": "mean",
    "standard deviation": "std",
    "fingerprint of the images": "data_fingerprint",
    "seed": "seed",
    "configuration": "config_hash",
    "code": "git_commit",
    "device": "device",
}
AnyRecord = CleanRecord | CorruptionRecord


def of_weights(
    records: Iterable[AnyRecord],
    folder: Path,
    problems: list[str],
    weights: str | None = None,
    digest: str | None = None,
) -> list[AnyRecord]:
    """Return the records in `folder` of one file of weights: of that name, of the only one, or of "best".

    Those of other weights than the first, or than the `digest`, are named in `problems`.

    Raises:
        UserError: there are none, or it has to be said which.
    """
    here = sorted((record for record in records if record.path.parent == folder), key=lambda record: record.path)
    stems = sorted({record.weights for record in here})
    chosen = weights or (stems[0] if len(stems) == 1 else "best")
    if chosen not in stems:
        known = f"it has records of {', '.join(stems)}" if stems else "run eval.py first"
        raise UserError(f"{folder} holds no record of the weights {chosen}; {known}")
    found = [record for record in here if record.weights == chosen]
    digest = digest or found[0].weights_sha256
    for record in found:
        if record.weights_sha256 != digest:
            problems.append(f"{record.path} belongs to other weights than those with digest {digest}; move it away")
    return [record for record in found if record.weights_sha256 == digest]


def card(records: Sequence[AnyRecord], after_title: Sequence[Block] = ()) -> Page:
    """Return the card of the `records` of one network; `after_title` are blocks of its beginning."""
    first = records[0]
    page = Page(f"{first.model} on {' and '.join(dict.fromkeys(record.dataset for record in records))}")
    page.add(_about(first), *after_title)
    if clean := [record for record in records if isinstance(record, CleanRecord)]:
        page.add(heading("Clean images"), pd.DataFrame(map(_clean_line, clean)))
        page.add("Intervals are Wilson's, 95 %. NLL: negative log-likelihood; ECE: expected calibration error.")
    for record in records:
        if isinstance(record, CorruptionRecord):
            page.add(*_corrupted(record))
    starts = [start for record in records for start in record.starts]
    commands = dict.fromkeys(f"python {start['command']}" for start in starts if "command" in start)
    page.add(heading("Commands"), code_block(list(commands)))
    page.add(heading("Provenance"), pd.DataFrame(_provenance(records), columns=["", "value"]))
    return page


def usage(folder: Path, half: bool) -> list[Block]:
    """Return the blocks of a card that say how to use the exported weights in `folder`."""
    lines = f"""```python
# CLONE: where the repository is
network = torch.hub.load("CLONE", "pretrained", "{folder.name}", source="local")
# or, with the clone first on sys.path
network = smoothmix.load_pretrained("{folder.name}")
network.predict(image)       # of a photograph, a PIL image: {{class: probability}}
```"""
    blocks: list[Block] = [heading("Use"), Markdown(lines)]
    blocks.append("A batch is float32 (N, 3, S, S), values 0 to 1, minus mean, over std (config.json has both).")
    if half:
        blocks.append("The weights are stored in half precision; the numbers here were measured before the conversion.")
    return blocks


def front_matter(records: Sequence[AnyRecord]) -> str:
    """Return the YAML that model hubs read at the top of a card: licence, tags and the error on the test images."""
    first = records[0]
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": record.dataset, "name": f"{record.dataset} {record.split}"},
            "metrics": [{"type": "accuracy", "value": round(100 - record.top1_error, 2)}],
        }
        for record in records
        if isinstance(record, CleanRecord)
    ]
    content = {
        "license": "mit",
        "pipeline_tag": "image-classification",
        "tags": ["smoothmix", first.method],
        "model-index": [{"name": first.model, "results": results}],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---\n\n"


def _about(record: AnyRecord) -> str:
    if record.recipe == "external":
        return "Trained elsewhere; measured here."
    if record.recipe == "published":
        return f"Published by the CutMix authors (method {record.method}); measured here."
    trained = f"{record.epochs} epoch{'' if record.epochs == 1 else 's'} of recipe {record.recipe}, seed {record.seed}"
    return f"{name_of(record.method)}, {trained}, {record.weights} weights."


def _clean_line(record: CleanRecord) -> dict[str, str]:
    part = f" of {record.split_images:,}, a subset" if record.is_subset else ""
    return {
        "images": f"{record.dataset} {record.split}, {record.images:,}{part}",
        "top-1 error (%)": f"{record.top1_error:.2f}",
        "95 % interval": interval(*wilson_interval(record.top1_error, record.images)),
        "top-5 error (%)": f"{record.top5_error:.2f}",
        **{title: f"{getattr(record, measure):{form}}" for measure, (title, form) in MEASURES.items()},
    }


def _corrupted(record: CorruptionRecord) -> Iterator[Block]:
    """Yield the blocks about an evaluation on corrupted images."""
    yield heading(f"Corrupted images: {record.benchmark}")
    yield f"Images: {record.source}."
    if isinstance(images := record.fact("images"), int) and record.path.stem.endswith(f"-{images}"):
        low, high = wilson_interval(record.clean_top1_error, images)
        yield f"A subset of {images:,} images: the clean error's 95 % interval is {low:.2f} to {high:.2f} %."
    measured = {measure: record.measured(measure) for measure in SHOWN}
    averages = {measure: means(cells) for measure, (_, cells) in measured.items()}
    if complete := averages[TOP1]:
        lines = pd.DataFrame(
            [
                {"corruption": name, "label": name_of(record.method), "method": record.method}
                | dict(zip(LEVELS, (record.top1_errors[name][severity] for severity in SEVERITIES), strict=True))
                for name in complete
            ]
        )
        name = f"{record.path.stem.removeprefix(f'{record.weights}.')}.svg"
        yield Picture(name, figures.svg(figures.severities(lines)), "error at each severity, mean over a category")
        yield "Top-1 error (%) at severities 1 to 5, and means over them:"
        yield pd.DataFrame(
            {
                "corruption": name,
                "category": CORRUPTIONS[name].category,
                **{str(severity): f"{error:.2f}" for severity, error in sorted(record.top1_errors[name].items())},
                **{f"mean {title}": mean for title, mean in _shown(averages, name).items()},
            }
            for name in complete
        )
    rows = {
        measure: {"clean": clean, **summarize(cells, clean, measure == TOP1 and record.benchmark == ALEXNETS)}
        for measure, (clean, cells) in measured.items()
    }
    yield pd.DataFrame([{"": name, **_shown(rows, name)} for name in rows[TOP1]])
    if "mCE" not in rows[TOP1]:
        yield "mCE and relative mCE are defined by AlexNet's errors on the 15 corruptions of ImageNet-C only."
    if unfinished := incomplete(record.top1_errors, record.top1_errors):
        yield f"Not evaluated at all severities, and left out: {', '.join(unfinished)}."


def _shown(values: dict[str, dict[str, float]], name: str) -> dict[str, str]:
    """Return the value of `name` in each measure as text, by the measure's title."""
    return {title: number(values[of].get(name, math.nan), form) for of, (title, form) in SHOWN.items()}


def _provenance(records: Sequence[AnyRecord]) -> Iterator[tuple[str, str]]:
    """Yield what is known of weights, images and machine; what differs between records, once each."""
    for title, name in FACTS.items():
        if values := dict.fromkeys(str(value) for record in records if (value := record.fact(name)) is not None):
            yield title, "; ".join(values)
    for title, name in (("measured", "time"), ("versions", "versions")):
        values = dict.fromkeys(_plain(start[name]) for record in records for start in record.starts if name in start)
        yield title, "; ".join(values)


def _plain(value: object) -> str:
    return ", ".join(f"{key} {of}" for key, of in value.items()) if isinstance(value, dict) else str(value)
