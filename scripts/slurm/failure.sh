# Sourced by the batch scripts: $SMOOTHMIX_FAILURE, where it is set, is the file that tells `reproduce.py --status` why
# the last attempt failed.
if [ -n "${SMOOTHMIX_FAILURE:-}" ]; then
  rm -f "$SMOOTHMIX_FAILURE"
fi

# note_failure STATUS: not for a job that was cancelled, or that SLURM requeues itself, which is no longer RUNNING
note_failure() {
  [ -n "${SMOOTHMIX_FAILURE:-}" ] && [ "$1" != 0 ] || return 0
  [ "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T)" = RUNNING ] || return 0
  mkdir -p "$(dirname "$SMOOTHMIX_FAILURE")"
  log=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *StdOut=//p')
  echo "job $SLURM_JOB_ID ended with exit status $1; see $log" >"$SMOOTHMIX_FAILURE"
}
