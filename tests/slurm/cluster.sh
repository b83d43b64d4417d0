#!/usr/bin/env bash
# A real SLURM of two one-CPU nodes on this machine, to try scripts/job.sbatch on: cluster.sh start|stop|prove
#
# `prove` brings it up, runs the tests marked `slurm` on it, with the arguments that follow, and stops it.
#
# Needs root and Debian's packages slurm-wlm and munge (`start` installs them where they are missing). Partitions:
# `main`, and `urgent`, whose jobs send those of `main` back into the queue after 20 seconds of grace. Everything lies
# in one folder, /etc/slurm is left alone; the SLURM commands find it by SLURM_CONF, as `start` prints.
set -euo pipefail
home=${SMOOTHMIX_CLUSTER:-/tmp/smoothmix-cluster}
export SLURM_CONF=$home/slurm.conf

start() {
  if sinfo >/dev/null 2>&1; then
    echo "the cluster is up: export SLURM_CONF=$SLURM_CONF"
    return
  fi
  if ! command -v slurmctld slurmd munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
  fi
  mkdir -p "$home/state" "$home/n1" "$home/n2"
  install -d -o munge -g munge -m 755 /run/munge
  if ! munge </dev/null >/dev/null 2>&1; then
    runuser -u munge -- munged --pid-file=/run/munge/munged.pid
    touch "$home/munged"  # ours to stop
  fi
  cat >"$SLURM_CONF" <<CONF
ClusterName=smoothmix
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
StateSaveLocation=$home/state
SlurmctldPidFile=$home/slurmctld.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdSpoolDir=$home/%n
SlurmdPidFile=$home/%n.pid
SlurmdLogFile=$home/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=17101 CPUs=1
NodeName=n2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=17102 CPUs=1
PartitionName=main Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=n1,n2 PriorityTier=2 PreemptMode=OFF
CONF
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF" -N n1
  slurmd -f "$SLURM_CONF" -N n2
  for _ in $(seq 30); do
    if [ "$(sinfo --noheader --partition=main --states=idle --format=%D)" = 2 ]; then
      echo "two idle nodes: export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 1
  done
  echo "error: the nodes are not idle after 30 s; see $home/*.log" >&2
  exit 1
}

stop() {
  if [ ! -e "$SLURM_CONF" ]; then
    echo "there is no cluster in $home"
    return
  fi
  scancel --user=root || true
  for _ in $(seq 30); do  # jobs have KillWait seconds to save
    [ -n "$(squeue --noheader)" ] || break
    sleep 1
  done
  for name in n1 n2 slurmctld; do
    [ ! -s "$home/$name.pid" ] || end "$(cat "$home/$name.pid")"
  done
  if [ -e "$home/munged" ]; then
    end "$(cat /run/munge/munged.pid)"
  fi
  rm -rf "$home"/{state,n1,n2,munged,slurm.conf} "$home"/*.{log,pid}
  rmdir --ignore-fail-on-non-empty "$home"
}

prove() {
  cd "$(dirname "${BASH_SOURCE[0]}")/../.."
  export PATH=$PWD/.venv/bin:$PATH
  start
  trap stop EXIT
  python -m pytest -m slurm tests/slurm -v --durations=0 "$@"
}

end() {
  kill "$1" || true
  while kill -0 "$1" 2>/dev/null; do sleep 0.2; done
}

[ "$(id -u)" = 0 ] || { echo "error: a cluster of one's own needs root; run it as root" >&2; exit 2; }
case ${1:-} in
  start | stop | prove) "$@" ;;
  *) echo "usage: cluster.sh start|stop|prove" >&2; exit 2 ;;
esac
