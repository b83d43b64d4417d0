"""Train and evaluate the missing runs of a table.

    python scripts/reproduce.py table=1 [preset=quick] [launcher=local] [seeds=3] [jobs=2] [OVERRIDES] [--status]

table=      1 to 8, demo or another of configs/table/; several, as in table=1,4
preset=     paper (the default) or quick: a small network, one epoch
launcher=   local (the default): on this machine; slurm: submit; print: only print the commands
seeds=      how many seeds, instead of the table's own number
jobs=       with launcher=local, how many runs at once; by default one per GPU, one without a GPU
source=     corrupted images from files (the default, except for demo) or generate
sbatch=     with launcher=slurm, options for sbatch: sbatch="--partition=gpu --time=24:00:00"
--status    print the state of each row and launch nothing
Every other KEY=VALUE is an override of train.py: output=results dataset.root=/data precision=bf16
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reproduction.arguments import command


def main() -> int:
    """Show the help, or the state of the jobs, or launch them; return the exit status."""
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    from scripts.reproduction.launch import launch

    return launch(sys.argv[1:])


if __name__ == "__main__":
    command(main)
