"""How a command ends, in processes of their own."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.commands import ROOT

# Each case is a child of one process, which imports the package once. It ends as any Python program does.
SCRIPT = """
import io, json, os, signal, sys
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

def begin(number, body, closed=False, unbuffered=False, encoding="utf-8"):
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer if closed else os.open(f"{number}.out", os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(os.open(f"{number}.err", os.O_WRONLY | os.O_CREAT), 2)
    binary = open(1, "wb", 0 if unbuffered else -1, closefd=False)
    sys.stdout = io.TextIOWrapper(binary, encoding=encoding, write_through=unbuffered)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    scope = globals()
    exec("def main():\\n    " + body, scope)
    run(scope["main"])
    sys.exit()

for number, case in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        begin(number, **case)
    _, status = os.wait()
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
LESS = (
    "choose a smaller batch (recipe.batch_size in training, batch_size in evaluation), fewer workers or a smaller "
    "network\n"
)
CLOSED = (128 + signal.SIGPIPE, "", "")
CASES = [  # what the command does, how its output is opened; exit status, what it prints, what it complains
    ({"body": "print('said')"}, (0, "said\n", "")),
    ({"body": "return 1"}, (1, "", "")),
    ({"body": "raise UserError('lr=-1 is wrong')"}, (2, "", "error: lr=-1 is wrong\n")),
    ({"body": "raise KeyboardInterrupt"}, (130, "", "interrupted\n")),
    ({"body": "signal.raise_signal(signal.SIGINT)"}, (130, "", "interrupted\n")),
    ({"body": "sys.exit('no run')"}, (1, "", "no run\n")),
    ({"body": "raise MemoryError"}, (2, "", f"error: this machine is out of memory (MemoryError); {LESS}")),
    (
        {"body": "raise RuntimeError('CUDA out of memory')"},
        (2, "", f"error: the GPU is out of memory (CUDA out of memory); {LESS}"),
    ),
    ({"body": "raise BrokenPipeError('of a worker')"}, (1, "", "BrokenPipeError: of a worker\n")),
    ({"body": "raise RuntimeError('of a tensor')"}, (1, "", "RuntimeError: of a tensor\n")),
    ({"body": "print('\\u2020 \\u00b1')", "encoding": "ascii"}, (0, "\\u2020 \\xb1\n", "")),
    *[
        ({"body": body, "closed": True, "unbuffered": unbuffered}, CLOSED)
        for body in ("print('x')", "sys.exit(print())")
        for unbuffered in (False, True)
    ],
]


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    """What became of each case."""
    folder = tmp_path_factory.mktemp("commands")
    command = [sys.executable, "-c", SCRIPT, json.dumps([case for case, _ in CASES])]
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=settings, stdout=subprocess.PIPE, text=True, timeout=120)
    texts = [[folder / f"{number}.{name}" for name in ("out", "err")] for number in range(len(CASES))]
    texts = [[path.read_text() if path.exists() else "" for path in pair] for pair in texts]
    return [(int(status), *pair) for status, pair in zip(done.stdout.split(), texts, strict=True)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["body"] for case, _ in CASES])
def test_exit_status_and_sentence(endings, number):
    status, said, complaint = endings[number]
    if "Traceback" in complaint:  # a bug keeps it
        complaint = complaint.splitlines(keepends=True)[-1]
    assert (status, said, complaint) == CASES[number][1]
    assert ("Traceback" in endings[number][2]) == (" of a " in CASES[number][1][2])
