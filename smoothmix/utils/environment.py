"""Where the numbers of a record were made: code, machine, versions, command."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("device", "threads", "versions", "git_commit", "git_note", "command")


def environment(device: torch.device) -> dict[str, Any]:
    """Return the device's name, CPU threads, versions, commit of this repository, and the command line.

    To be called when work begins: a commit that is checked out later did not run. The commit is None where git cannot
    tell it, and ``git_note`` then says why.
    """
    commit, note = _git_commit()
    versions = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "timm"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    script = Path(sys.argv[0]).absolute()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else sys.argv[0]
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "git_commit": commit,
        **({"git_note": note} if note else {}),
        "command": shlex.join([str(name), *sys.argv[1:]]),  # as a shell takes it from the repository's root
    }


def start(device: torch.device, **position: int) -> dict[str, Any]:
    """Return the time (UTC, ISO 8601), `position` (where the work begins) and the :func:`environment`."""
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), **position, **environment(device)}


def environment_of(start_or_record: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries that :func:`environment` makes."""
    return {key: start_or_record[key] for key in KEYS if key in start_or_record}


@cache  # the commit that this process began with
def _git_commit() -> tuple[str | None, str]:
    """Return the commit of this repository, with ``-dirty`` for changed files, or None; and why it is None."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return None, "git is not on the PATH"
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"git failed: {error}"
    if done.returncode or not done.stdout.strip():
        reason = done.stderr.strip().splitlines() or ["no output"]
        return None, f"git failed: {reason[0].removeprefix('fatal: ')}"
    return done.stdout.strip(), ""


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
