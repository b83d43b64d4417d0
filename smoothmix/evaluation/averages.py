"""The averages of a corruption benchmark, each under its own name."""

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist, fmean

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.utils.errors import UserError, nearest

CATEGORIES = ("noise", "blur", "weather", "digital")

# The 15 corruptions of the benchmark, with AlexNet's top-1 errors in %, severities 1 to 5
# (github.com/hendrycks/robustness, issue 10).
ALEXNET = {
    "gaussian_noise": (69.528, 82.542, 93.554, 98.138, 99.452),
    "shot_noise": (71.224, 85.108, 93.574, 98.182, 99.146),
    "impulse_noise": (78.374, 89.808, 94.870, 98.720, 99.548),
    "defocus_blur": (65.624, 73.202, 85.036, 91.364, 94.714),
    "glass_blur": (64.308, 75.054, 88.806, 91.622, 93.344),
    "motion_blur": (58.430, 70.048, 82.108, 89.750, 92.638),
    "zoom_blur": (70.008, 76.992, 80.784, 84.198, 87.198),
    "brightness": (45.140, 48.502, 54.048, 62.166, 72.440),
    "fog": (67.474, 76.050, 84.378, 87.260, 94.500),
    "frost": (61.390, 79.734, 88.790, 89.942, 93.430),
    "snow": (71.726, 88.392, 86.468, 91.870, 94.952),
    "pixelate": (52.218, 54.620, 73.728, 87.092, 91.262),
    "contrast": (64.548, 76.150, 88.874, 97.760, 99.270),
    "elastic_transform": (52.596, 70.116, 55.686, 64.076, 80.554),
    "jpeg_compression": (51.002, 54.718, 57.294, 65.458, 74.778),
}
ALEXNET_CLEAN = 43.48  # torchvision's AlexNet has 56.52 % top-1 accuracy on the clean images
BENCHMARK = tuple(ALEXNET)

Z = NormalDist().inv_cdf(0.975)

Errors = Mapping[str, Mapping[int, float]]


def corruptions_of(constants: str, chosen: list[str] | None = None) -> list[str]:
    """Return the corruptions of a benchmark: those `chosen`, or 15 with "imagenet" constants, 19 with "cifar" ones.

    Raises:
        UserError: none is chosen, or one that does not exist.
    """
    if chosen == []:
        raise UserError("corruptions=[] evaluates nothing; name some, as in 'corruptions=[fog,snow]', or leave it out")
    for name in chosen or ():
        if name not in CORRUPTIONS:
            raise UserError(f"there is no corruption {name}; {nearest(name, CORRUPTIONS)}")
    return chosen or list(BENCHMARK if constants == "imagenet" else CORRUPTIONS)


def wilson_interval(percent: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval, in %, of a share of `percent` that was counted among `n` images."""
    share = percent / 100
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def complete(cells: Mapping[int, float]) -> bool:
    """Return whether the errors of a corruption, by severity, are there at all five; others count nowhere."""
    return cells.keys() >= set(SEVERITIES)


def incomplete(errors: Errors, names: Iterable[str]) -> list[str]:
    """Return those of the corruptions `names` that still have to be evaluated, at one severity or at all."""
    return [name for name in names if not complete(errors.get(name, {}))]


def means(errors: Errors) -> dict[str, float]:
    """Return the mean over the severities of each corruption of which all five are there."""
    return {
        name: fmean(cells[severity] for severity in SEVERITIES) for name, cells in errors.items() if complete(cells)
    }


def category_means(errors: Errors) -> dict[str, float]:
    """Return the mean over the corruptions of each category that has any."""
    members: dict[str, list[float]] = {category: [] for category in CATEGORIES}
    for name, error in means(errors).items():
        members[CORRUPTIONS[name].category].append(error)
    return {category: fmean(values) for category, values in members.items() if values}


def mean_of_category_means(errors: Errors) -> float:
    """Return what the SmoothMix paper calls Average.All in Table 5: categories weigh alike, whatever their size."""
    return fmean(category_means(errors).values())


def mean_corruption_error(errors: Errors) -> float:
    """Return mCE in %: each corruption's summed error divided by AlexNet's, averaged over the 15 (ICLR 2019, sec. 4).

    Raises:
        KeyError: one of the 75 cells is missing.
    """
    return 100 * fmean(_total(errors[name]) / sum(ALEXNET[name]) for name in BENCHMARK)


def relative_mean_corruption_error(errors: Errors, clean: float) -> float:
    """Return relative mCE in %: as mCE, of what corruption adds to the `clean` error (in %) of each network.

    Raises:
        KeyError: one of the 75 cells is missing.
    """
    n = len(SEVERITIES)
    return 100 * fmean(
        (_total(errors[name]) - n * clean) / (sum(ALEXNET[name]) - n * ALEXNET_CLEAN) for name in BENCHMARK
    )


def summarize(errors: Errors, clean: float, with_alexnet: bool) -> dict[str, float]:
    """Return all averages in %, by the names under which they are printed.

    An average over a fixed set of corruptions is there only if all of them are; `with_alexnet` adds mCE and relative
    mCE, which are defined on ImageNet-C only.
    """
    over_severities = means(errors)
    rows = {f"mean of {category}": error for category, error in category_means(errors).items()}
    if over_severities:
        rows[f"mean over {len(over_severities)} corruptions"] = fmean(over_severities.values())
        rows["mean of the category means"] = mean_of_category_means(errors)
    if over_severities.keys() >= set(BENCHMARK):
        if len(over_severities) > len(BENCHMARK):
            rows["mean over the 15 corruptions of the benchmark"] = fmean(over_severities[name] for name in BENCHMARK)
        if with_alexnet:
            rows["mCE"] = mean_corruption_error(errors)
            rows["relative mCE"] = relative_mean_corruption_error(errors, clean)
    return rows


def table(
    title: str,
    errors: Errors,
    clean: float,
    missing: Mapping[str, str],
    with_alexnet: bool,
    subset: int | None = None,
) -> str:
    """Return all errors as text: a line per corruption, the `clean` error, the averages, and why some are `missing`.

    Of a `subset` of this many images, the 95 % interval of the clean error is added.
    """
    lines = [f"{title}, top-1 error in %, severities 1 to 5 and their mean"]
    for name, mean in means(errors).items():
        row = " ".join(f"{error:6.2f}" for _, error in sorted(errors[name].items()))
        lines.append(f"{name:<18} {row}  {mean:6.2f}")
    rows = {"clean": clean, **summarize(errors, clean, with_alexnet)}
    lines += [f"{name:<53} {value:6.2f}" for name, value in rows.items()]
    if subset is not None:
        low, high = wilson_interval(clean, subset)
        lines.append(f"a subset of {subset} images: 95 % interval of the clean error {low:.2f} to {high:.2f}")
    lines += [f"not evaluated: {name}: {reason}" for name, reason in missing.items()]
    lines += [f"incomplete: these averages leave out {', '.join(missing)}"] if missing else []
    return "\n".join(lines)


def calibration_table(clean: Mapping[str, float], calibration: Mapping[str, Errors]) -> str:
    """Return the measures of calibration as text: on `clean` images, a line per corruption, and the mean over them."""
    columns = []
    for measure in MEASURES:
        cells = calibration.get(measure, {})
        columns.append({"clean": clean[measure], **means(cells), **summarize(cells, clean[measure], False)})
    heads = "".join(f"{title:>18}" for title, _ in MEASURES.values())
    lines = [f"{'calibration, mean over severities 1 to 5':<44}{heads}"]
    for name in columns[0]:
        values = zip(columns, MEASURES.values(), strict=True)
        row = "".join(f"{column.get(name, math.nan):18{form}}" for column, (_, form) in values)
        lines.append(f"{name:<44}{row}")
    return "\n".join(lines)


def _total(cells: Mapping[int, float]) -> float:
    return sum(cells[severity] for severity in SEVERITIES)
