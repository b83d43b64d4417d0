"""How a command ends, in processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys, types
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.modules["smoothmix"] = types.ModuleType("smoothmix")  # without its __init__, which imports torch
sys.modules["smoothmix"].__path__ = ["smoothmix"]
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

def main():
    {body}

run(main)
"""

LESS = (
    "choose a smaller batch (recipe.batch_size in training, batch_size in evaluation), fewer workers or a smaller "
    "network\n"
)


def end(body, stdout=subprocess.PIPE, **environment):
    """Return the exit status and what `main` with this body printed and complained."""
    command = [sys.executable, "-c", SCRIPT.format(body=body)]
    settings = os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=settings, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print('said')", (0, "said\n", "")),
        ("return 1", (1, "", "")),
        ("raise UserError('lr=-1 is wrong')", (2, "", "error: lr=-1 is wrong\n")),
        ("raise KeyboardInterrupt", (130, "", "interrupted\n")),
        ("signal.raise_signal(signal.SIGINT)", (130, "", "interrupted\n")),
        ("sys.exit('no run')", (1, "", "no run\n")),
        ("raise MemoryError", (2, "", f"error: this machine is out of memory (MemoryError); {LESS}")),
        ("raise RuntimeError('CUDA out of memory')", (2, "", f"error: the GPU is out of memory (CUDA out of memory); {LESS}")),  # noqa: E501
    ],
)
def test_exit_status_and_sentence(body, expected):
    assert end(body) == expected


def test_a_bug_keeps_its_traceback():
    for bug in ("BrokenPipeError: of a worker", "RuntimeError: of a tensor"):
        status, _, complaint = end("raise {}('{}')".format(*bug.split(": ")))
        assert status == 1
        assert complaint.endswith(f"{bug}\n")


@pytest.mark.parametrize("body", ["print('x')", "sys.exit(print())"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_no_error(body, unbuffered):
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        assert end(body, reader.stdin, PYTHONUNBUFFERED=unbuffered) == (128 + signal.SIGPIPE, None, "")


def test_characters_that_the_terminal_lacks_are_escaped():
    assert end("print('\\u2020 \\u00b1')", PYTHONIOENCODING="ascii") == (0, "\\u2020 \\xb1\n", "")
