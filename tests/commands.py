"""Commands in a process of their own, as a user types them, or in this one, which has imported what takes seconds."""

import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def python(*arguments, timeout=300, **environment):
    """Run `python ARGUMENTS` in the root folder; return the completed process."""
    command = [sys.executable, *map(str, arguments)]
    settings = ENVIRONMENT | environment
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=timeout)


def here(script, *arguments):
    """Do what `python SCRIPT ARGUMENTS` does, in this process; return it as a completed process."""
    argv, out, complaint = [str(script), *map(str, arguments)], StringIO(), StringIO()
    with (
        patch.object(sys, "argv", argv), patch.object(sys, "path", [*sys.path]),
        redirect_stdout(out), redirect_stderr(complaint),
    ):  # fmt: skip
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
    return subprocess.CompletedProcess(argv, status, out.getvalue(), complaint.getvalue())
