"""How a command ends, in processes of their own."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.commands import ROOT
from tests.mistakes import one_line

# Each case is a child of one process, which imports the package once. It ends as any Python program does.
SCRIPT = r"""
import io, json, os, pwd, signal, sys
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
pwd.getpwuid = {}.__getitem__  # a user without an entry in /etc/passwd

def begin(number, body, out="file", unbuffered=False, encoding="utf-8", lossy=False):
    reader, unread = os.pipe()
    os.close(reader)
    opened = {"file": f"{number}.out", "full": "/dev/full"}.get(out, os.devnull)
    os.dup2(unread if out == "unread" else os.open(opened, os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(os.open(f"{number}.err", os.O_WRONLY | os.O_CREAT), 2)
    binary = open(1, "wb", 0 if unbuffered else -1, closefd=False)
    sys.stdout = io.TextIOWrapper(binary, encoding=encoding, write_through=unbuffered)
    if "closed" in out:  # what Python makes of it as it starts
        sys.stdout = os.close(1)
    if out == "all closed":
        sys.stdin, sys.stderr = os.close(0), os.close(2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    scope = globals()
    exec("def main():\n    " + body, scope)
    run(scope["main"], lossy)
    sys.exit()

for number, case in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        begin(number, **case)
    _, status = os.wait()
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
AGAIN = (130, "", ["again"])
UNREAD = (128 + signal.SIGPIPE, "", [])
FULL = (2, "", ["error: ", "No space left on device"])
# no file that is opened later may become a standard stream: libraries write to those
GOES_ON = "print('x', flush=True); sys.stderr.write('y'); return int(open('any', 'w').fileno() < 3)"
CASES = [  # what the command does, how its output is opened; exit status, what it prints, words of its complaint
    ({"body": "print('said')"}, (0, "said\n", [])),
    ({"body": "return 1"}, (1, "", [])),
    ({"body": "raise UserError('lr=-1 is wrong')"}, (2, "", ["error: lr=-1 is wrong"])),
    ({"body": "raise KeyboardInterrupt"}, AGAIN),
    ({"body": "signal.raise_signal(signal.SIGINT)"}, AGAIN),
    (  # again, while the first is dealt with
        {"body": "try: signal.raise_signal(signal.SIGINT)\n    finally: signal.raise_signal(signal.SIGINT)"},
        (-signal.SIGINT, "", []),
    ),
    ({"body": "sys.exit('no run')"}, (1, "", ["no run"])),
    ({"body": "raise MemoryError"}, (2, "", ["error: ", "memory", "batch_size"])),
    ({"body": "raise RuntimeError('CUDA out of memory')"}, (2, "", ["error: ", "GPU", "memory", "batch_size"])),
    ({"body": "raise OSError(24, 'Too many open files')"}, (2, "", ["error: ", "Too many open files", "ulimit -n"])),
    ({"body": "raise BrokenPipeError('of a worker')"}, (1, "", ["BrokenPipeError: of a worker"])),
    ({"body": "raise RuntimeError('of a tensor')"}, (1, "", ["RuntimeError: of a tensor"])),
    ({"body": "print('\\u2020 \\u00b1')", "encoding": "ascii"}, (0, "\\u2020 \\xb1\n", [])),
    ({"body": "import getpass; print(getpass.getuser())"}, (0, f"uid{os.getuid()}\n", [])),
    ({"body": "print('x')", "out": "full"}, FULL),
    ({"body": "print('x', flush=True)", "out": "full"}, FULL),
    *[
        ({"body": GOES_ON, "out": "full", "lossy": True, "unbuffered": unbuffered}, (0, "", ["y"]))
        for unbuffered in (False, True)
    ],
    ({"body": "print('said')", "lossy": True}, (0, "said\n", [])),
    ({"body": GOES_ON, "out": "closed"}, (0, "", ["y"])),
    ({"body": GOES_ON, "out": "all closed"}, (0, "", [])),
    *[
        ({"body": body, "out": "unread", "unbuffered": unbuffered, "lossy": lossy}, UNREAD)
        for body in ("print('x')", "sys.exit(print())")
        for unbuffered, lossy in ((False, False), (True, False), (False, True))
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
    *expected, words = CASES[number][1]
    assert ([status, said], bool(complaint)) == (expected, bool(words))
    is_bug = any(" of a " in word for word in words)  # which keeps its traceback
    assert ("Traceback" in complaint, complaint.count("\n") > 1) == (is_bug, is_bug)
    for line in complaint.splitlines()[-1:]:
        one_line(line, *words)
