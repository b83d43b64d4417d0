#!/usr/bin/env bash
# Brings up a local SLURM of two nodes, runs the tests marked `slurm` on it, and stops it. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
export SLURM_CONF=${SMOOTHMIX_CLUSTER:-/tmp/smoothmix-cluster}/slurm.conf
scripts/slurm/local_cluster.sh start
trap 'scripts/slurm/local_cluster.sh stop' EXIT
python -m pytest -m slurm tests/scripts/test_slurm.py -v --durations=0 "$@"
