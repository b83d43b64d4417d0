"""A card: one Markdown page about one network, from the records that its evaluations leave beside the weights."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import incomplete, means, summarize, wilson_interval
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.figures import category_curves, save
from smoothmix.reporting.markup import markdown
from smoothmix.reporting.mean import interval, number
from smoothmix.reporting.records import CORRUPTED
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import write_text

CLEAN = re.compile(r".+\..+-(test|val|train)(-\d+)?\.json")
ALEXNETS = "imagenet_c"  # the benchmark on which mCE is defined
SHOWN = {"top1_error": ("error (%)", ".2f"), **MEASURES}


class Evaluations(NamedTuple):
    """The records of one network, and a sentence about each file that is not one of them."""

    clean: list[CleanRecord]
    corrupted: list[CorruptionRecord]
    problems: list[str]

    @property
    def all(self) -> list[CleanRecord | CorruptionRecord]:
        """All records."""
        return [*self.clean, *self.corrupted]


def read_evaluations(folder: Path, weights: str | None = None, digest: str | None = None) -> Evaluations:
    """Return the records in `folder` of the file of weights with this stem: by default the only one, or "best".

    Those that are of other weights than the first, or than the `digest`, are not among them.

    Raises:
        UserError: there are none, or it has to be said which.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    records, problems = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(_read(path))
        except UserError as error:
            problems.append(str(error))
    found = [record for record in records if record is not None]
    stems = sorted({record.weights for record in found})
    chosen = weights or (stems[0] if len(stems) == 1 else "best")
    if chosen not in stems:
        known = f"; it has records of {', '.join(stems)}: give one as --weights" if stems else ""
        damaged = f" ({'; '.join(problems)})" if problems else ""
        raise UserError(f"{folder} holds no record of the weights {chosen}{damaged}{known or '; run eval.py first'}")
    found = [record for record in found if record.weights == chosen]
    digest = digest or found[0].weights_sha256
    for record in found:
        if record.weights_sha256 != digest:
            problems.append(f"{record.path} belongs to other weights than those with digest {digest}; move it away")
    same = [record for record in found if record.weights_sha256 == digest]
    clean = [record for record in same if isinstance(record, CleanRecord)]
    return Evaluations(clean, [record for record in same if isinstance(record, CorruptionRecord)], problems)


def _read(path: Path) -> CleanRecord | CorruptionRecord | None:
    """Return the record in a file, None if its name is not that of one."""
    if CORRUPTED.fullmatch(path.name):
        record = CorruptionRecord.read(path)
        record.check_weights()
        return record
    return CleanRecord.read(path) if CLEAN.fullmatch(path.name) else None


def usage(folder: Path, half: bool) -> list[str]:
    """Return the paragraphs of a card that say how to load the exported weights in `folder`."""
    code = f"""```python
# CLONE: where the repository is
network = torch.hub.load("CLONE", "pretrained", "{folder.name}", source="local")
# or, with the clone first on sys.path
network = smoothmix.load_pretrained("{folder.name}")
```"""
    parts = ["## Use", code]
    parts.append("Images are float32 (N, 3, S, S), values 0 to 1, minus `mean`, over `std` (see config.json).")
    if half:
        parts.append("The weights are stored in half precision; the numbers here were measured before the conversion.")
    return parts


def write_card(found: Evaluations, path: Path, after_title: Sequence[str] = ()) -> None:
    """Write the card to `path`, and a picture beside it for each evaluation on corrupted images.

    `after_title` are paragraphs of its beginning.

    Raises:
        UserError: the file system refuses.
    """
    first = found.all[0]
    parts = [f"# {first.model} on {' and '.join(dict.fromkeys(record.dataset for record in found.all))}", _about(first)]
    parts += after_title
    if found.clean:
        parts += ["## Clean images", markdown(pd.DataFrame(map(_clean_line, found.clean)))]
        parts.append("Intervals are Wilson's, 95 %. NLL: negative log-likelihood; ECE: expected calibration error.")
    for record in found.corrupted:
        picture = f"{path.stem}.{record.path.stem.removeprefix(f'{record.weights}.')}"
        parts += _corrupted_section(record, path.with_name(picture))
    starts = [start for record in found.all for start in record.starts]
    commands = dict.fromkeys(str(start["command"]) for start in starts if "command" in start)
    parts += ["## Commands", "```sh\n" + "\n".join(f"python {command}" for command in commands) + "\n```"]
    parts += ["## Provenance", markdown(pd.DataFrame(_provenance(found.all), columns=["", "value"]))]
    write_text(path, "\n\n".join(parts) + "\n")


def _about(record: CleanRecord | CorruptionRecord) -> str:
    if record.recipe == "external":
        return "Trained elsewhere; measured here."
    if record.recipe == "published":
        return f"Published by the CutMix authors (method {record.method}); measured here."
    trained = f"{record.epochs} epoch{'' if record.epochs == 1 else 's'} of recipe {record.recipe}, seed {record.seed}"
    return f"Method {record.method}, {trained}, {record.weights} weights."


def _clean_line(record: CleanRecord) -> dict[str, str]:
    part = f" of {record.split_images:,}, a subset" if record.is_subset else ""
    return {
        "images": f"{record.dataset} {record.split}, {record.images:,}{part}",
        "top-1 error (%)": f"{record.top1_error:.2f}",
        "95 % interval": interval(*wilson_interval(record.top1_error, record.images)),
        "top-5 error (%)": f"{record.top5_error:.2f}",
        **{title: f"{getattr(record, measure):{form}}" for measure, (title, form) in MEASURES.items()},
    }


def _corrupted_section(record: CorruptionRecord, picture: Path) -> list[str]:
    """Return the paragraphs about an evaluation on corrupted images, and draw its picture."""
    parts = [f"## Corrupted images: {record.benchmark}", f"Images: {record.source}."]
    if isinstance(images := record.fact("images"), int) and record.path.stem.endswith(f"-{images}"):
        low, high = wilson_interval(record.clean_top1_error, images)
        parts.append(f"A subset of {images:,} images: the clean error's 95 % interval is {low:.2f} to {high:.2f} %.")
    measured = {measure: record.measured(measure) for measure in SHOWN}
    averages = {measure: means(cells) for measure, (_, cells) in measured.items()}
    if complete := averages["top1_error"]:
        save(category_curves(record), picture)
        parts.append(f"![error at each severity, mean over the corruptions of a category]({picture.name}.svg)")
        lines = [
            {
                "corruption": name,
                "category": CORRUPTIONS[name].category,
                **{str(severity): f"{error:.2f}" for severity, error in sorted(record.top1_errors[name].items())},
                **{f"mean {title}": mean for title, mean in _shown(averages, name).items()},
            }
            for name in complete
        ]
        parts.append("Top-1 error (%) at severities 1 to 5, and means over them:")
        parts.append(markdown(pd.DataFrame(lines)))
    rows = {
        measure: {"clean": clean, **summarize(cells, clean, measure == "top1_error" and record.benchmark == ALEXNETS)}
        for measure, (clean, cells) in measured.items()
    }
    parts.append(markdown(pd.DataFrame([{"": name, **_shown(rows, name)} for name in rows["top1_error"]])))
    if "mCE" not in rows["top1_error"]:
        parts.append("mCE and relative mCE are defined by AlexNet's errors on the 15 corruptions of ImageNet-C only.")
    if unfinished := incomplete(record.top1_errors, record.top1_errors):
        parts.append(f"Not evaluated at all severities, and left out: {', '.join(unfinished)}.")
    return parts


def _shown(values: dict[str, dict[str, float]], name: str) -> dict[str, str]:
    """Return the value of `name` in each measure as text, by the measure's title."""
    return {title: number(values[of].get(name, math.nan), form) for of, (title, form) in SHOWN.items()}


def _provenance(records: Sequence[CleanRecord | CorruptionRecord]) -> Iterable[tuple[str, str]]:
    """Yield what is known of weights, images and machine; what differs between records, once each."""
    facts = {
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
    for title, name in facts.items():
        if values := dict.fromkeys(str(value) for record in records if (value := record.fact(name)) is not None):
            yield title, "; ".join(values)
    for title, name in (("measured", "time"), ("versions", "versions")):
        values = dict.fromkeys(_text(start[name]) for record in records for start in record.starts if name in start)
        yield title, "; ".join(values)


def _text(value: object) -> str:
    return ", ".join(f"{key} {of}" for key, of in value.items()) if isinstance(value, dict) else str(value)
