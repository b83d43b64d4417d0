"""Commands as a user types them: in a process of their own, or in this one, which has imported what takes seconds.

A process is forked from one that has imported the libraries, but nothing of this repository. What depends on how the
interpreter itself starts or ends belongs to subprocess: its options and PYTHON... variables, the seed of hashes, the
locale, the order of its last steps.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

import numpy

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
LIBRARIES = ["torch._dynamo", "torch.utils.tensorboard", "torchvision.transforms.v2", "timm"]
LIBRARIES += ["hydra", "pandas", "matplotlib.figure", "scipy.stats", "statsmodels.api", "cv2"]
SERVER = multiprocessing.get_context("forkserver")


class Command:
    """`python ARGUMENTS` in a folder: like a `subprocess.Popen` with a pipe for stdout; stderr is told at the end."""

    def __init__(self, *arguments, folder=ROOT, merged=False, **environment):
        with patch.dict(os.environ, ENVIRONMENT):
            forkserver.set_forkserver_preload(LIBRARIES)
            forkserver.ensure_running()
        reader, writer = SERVER.Pipe(duplex=False)
        self._complaints = tempfile.NamedTemporaryFile(mode="r", encoding="utf-8")  # noqa: SIM115
        self.args = list(map(str, arguments))
        settings = ENVIRONMENT | {name: str(value) for name, value in environment.items()}
        told = (self.args, folder, settings, writer, None if merged else self._complaints.name)
        self._process = SERVER.Process(target=_interpret, args=told)
        self._process.start()
        writer.close()
        self.pid = self._process.pid
        self.stdout = open(os.dup(reader.fileno()), encoding="utf-8")  # noqa: SIM115
        reader.close()

    @property
    def returncode(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            self._give_up(timeout)
        return self.returncode

    def communicate(self, timeout=None):
        said = []
        reader = threading.Thread(target=lambda: said.append(self.stdout.read()), daemon=True)
        reader.start()
        reader.join(timeout)
        if reader.is_alive():
            self._give_up(timeout)
        self.wait(timeout)
        return said[0], self._complaints.read()

    def _give_up(self, timeout):
        self.kill()
        raise subprocess.TimeoutExpired(self.args, timeout)

    def has_begun(self):
        """Wait until a training has said that its first epoch is done."""
        assert any(line.startswith("epoch 1/") for line in self.stdout)

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _interpret(arguments, folder, environment, stdout, stderr):
    """Do in this process what python does with these arguments: a script, -c CODE or -m MODULE."""
    gc.freeze()  # this process has what it was forked from
    multiprocessing.set_start_method(None, force=True)  # the system's own
    numpy.random.seed()  # each interpreter has its own
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(stderr, os.O_WRONLY) if stderr else 1, 2)
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    for module in ("tests", __name__):  # where this function is from
        del sys.modules[module]
    sys.path = [path for path in sys.path if path and Path(path) != ROOT]
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, str(folder))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = arguments
            sys.path.insert(0, str((folder / arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()


def python(*arguments, timeout=300, **environment):
    """Run `python ARGUMENTS`, as :class:`Command` does; return the completed process."""
    command = Command(*arguments, **environment)
    out, complaint = command.communicate(timeout)
    return subprocess.CompletedProcess(command.args, command.returncode, out, complaint)


def ranks(count, *arguments, timeout=300, **environment):
    """Run `python ARGUMENTS` once for each of `count` ranks, as torchrun does; return them as one completed process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    commands = [
        Command(*arguments, **environment, **place, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(count)
    ]
    out, complaints = map("".join, zip(*(command.communicate(timeout) for command in commands), strict=True))
    status = next((command.returncode for command in commands if command.returncode), 0)
    return subprocess.CompletedProcess(commands[0].args, status, out, complaints)


def here(script, *arguments, folder="."):
    """Do what `python SCRIPT ARGUMENTS` does in `folder`, in this process; return it as a completed process."""
    argv, out, complaint = [str(script), *map(str, arguments)], StringIO(), StringIO()
    thresholds = gc.get_threshold()
    with (
        patch.object(sys, "argv", argv), patch.object(sys, "path", [*sys.path]),
        redirect_stdout(out), redirect_stderr(complaint), chdir(folder),
    ):  # fmt: skip
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            gc.set_threshold(*thresholds)
    return subprocess.CompletedProcess(argv, status, out.getvalue(), complaint.getvalue())


def said(script, *arguments, folder="."):
    """Return the exit status, what is printed and what is complained of in :func:`here`."""
    done = here(script, *arguments, folder=folder)
    return done.returncode, done.stdout, done.stderr


def wait_until(condition, seconds=60):
    """Wait until `condition` holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
