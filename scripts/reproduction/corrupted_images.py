"""Whether the corrupted images of a benchmark are here, or can be generated: known before anything trains."""

from collections.abc import Iterable
from pathlib import Path

from datasets.corrupted_sets import find_set
from scripts.reproduction.jobs import Job
from smoothmix.evaluation.generated import unavailable


def obstacles(jobs: Iterable[Job]) -> list[str]:
    """Return a sentence about everything that evaluations of `jobs` would miss, with the remedy."""
    of_jobs = {(job.table.evaluation, job.source, job.run.config.dataset.options.get("root")) for job in jobs}
    found: list[str] = []
    for evaluation, source, root in sorted(of_jobs, key=str):
        if evaluation is None:
            continue
        benchmark, corrupted_set = evaluation.benchmark, find_set(evaluation.benchmark)
        folder = Path(root or "data", corrupted_set.folder).expanduser()
        if source == "generate":
            for name, reason in unavailable(evaluation.corruptions, corrupted_set.constants).items():
                found.append(f"{name} of {benchmark} cannot be generated on this machine: {reason}")
        elif not folder.is_dir():
            found.append(
                f"there is no folder {folder} with the images of {benchmark}; download it or give source=generate"
            )
    return found
