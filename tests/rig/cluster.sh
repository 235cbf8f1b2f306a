#!/usr/bin/env bash
# A cluster on one machine, for tests and benchmarks: nodes n1..nN with network addresses, host names and processes of their own,
# and a real Slurm over them. They share this machine's disk, as the nodes of a cluster share a file system; /tmp/ray is each one's own.
#   tests/rig/cluster.sh up [N=2] [MBIT=0, no limit]    CPUS_PER_NODE=1  SLURM=1  RIG_WAIT=0 (seconds to wait for another rig's end)
#   tests/rig/cluster.sh on n1 COMMAND...               on `head`, the login node, sbatch, squeue and scancel work
#   tests/rig/cluster.sh slow n1 MBIT | cut n1 | mend n1 | down
# Needs root and: apt-get install slurm-wlm munge iproute2. Nothing outside of /run/unet3d-rig is changed: network, /etc/hosts, Slurm's
# settings and munge's key are those of the rig's namespaces, so that a Slurm of the machine's own, or another network, is not touched.
set -euo pipefail
RIG=/run/unet3d-rig NET=10.99.0 HEAD=254
say() { echo "rig: $*" >&2; }

# A node is a first process with namespaces of its own, which reaps what is orphaned; the others enter them. Its end is the node's end.
boot() { # boot NAME ADDRESS CORES
  local name=$1 inner= outer
  taskset -c "$3" unshare --net --uts --mount --pid --fork --kill-child --mount-proc bash -c '
    hostname "$0"; ip link set lo up
    mkdir -p /tmp/ray; mount -t tmpfs tmpfs /tmp/ray; mount --bind "$1/hosts" /etc/hosts
    touch "$1/$0.up"; sleep infinity & wait' "$name" "$RIG" >/dev/null 2>"$RIG/$name.log" </dev/null &
  outer=$!
  for _ in $(seq 100); do [ ! -e "$RIG/$name.up" ] || break; sleep 0.1; done
  inner=$(pgrep -P "$outer")
  echo "$3" >"$RIG/$name.cores"
  echo "$inner $(readlink "/proc/$inner/ns/net")" >"$RIG/$name.node"
  [ "$name" = head ] || {
    in_net head ip link add "v$name" type veth peer name eth0 netns "$inner"
    in_net head ip link set "v$name" master rig0 up
    in_net "$name" ip addr add "$2/24" dev eth0
    in_net "$name" ip link set eth0 up
    in_net "$name" ip route add default via $NET.$HEAD
  }
}
node() { # node NAME [RIG]: the id of its first process, which might be given again once that has ended
  local pid network
  read -r pid network 2>/dev/null <"${2:-$RIG}/$1.node" && [ "$(readlink "/proc/$pid/ns/net")" = "$network" ] && echo "$pid" || {
    say "$1 is not a node that runs"; exit 2; }
}
in_net() { local pid; pid=$(node "$1"); shift; nsenter --net --target "$pid" "$@"; }
on() {
  local pid cores
  pid=$(node "$1")
  cores=$(cat "$RIG/$1.cores")
  shift
  SLURM_CONF=$RIG/slurm/slurm.conf exec taskset -c "$cores" \
    nsenter --net --uts --mount --pid --target "$pid" --wd="$PWD" "$@"
}
slow() { # both directions
  in_net "$1" tc qdisc del dev eth0 root 2>/dev/null || true
  in_net head tc qdisc del dev "v$1" root 2>/dev/null || true
  [ "$2" = 0 ] || {
    in_net "$1" tc qdisc add dev eth0 root tbf rate "$2mbit" burst 256kb latency 100ms
    in_net head tc qdisc add dev "v$1" root tbf rate "$2mbit" burst 256kb latency 100ms
  }
}

up() {
  local count=${1:-2} mbit=${2:-0} cpus=${CPUS_PER_NODE:-1} machine i k cores missing=
  [ "$(id -u)" = 0 ] || { say "needs root"; exit 3; }
  for i in ip tc nsenter unshare taskset $([ "${SLURM:-1}" = 0 ] || echo slurmctld slurmd munged); do
    command -v "$i" >/dev/null || missing+=" $i"
  done
  [ -z "$missing" ] || { say "missing:$missing; apt-get install slurm-wlm munge iproute2"; exit 3; }
  # Whoever started a rig and died without `down` needs it no more.
  [ ! -e $RIG/owner ] || kill -0 "$(cat $RIG/owner)" 2>/dev/null || down
  end_all
  # Held by the first process of each node, thus as long as there is one.
  exec 9>/run/unet3d-rig.lock
  flock -w "${RIG_WAIT:-0}" 9 || { say "another rig is up; end it with: tests/rig/cluster.sh down"; exit 4; }
  rm -rf $RIG; mkdir -p $RIG/slurm $RIG/state $RIG/munge
  [ -z "${RIG_OWNER:-}" ] || echo "$RIG_OWNER" >$RIG/owner
  machine=$(nproc)
  { echo "127.0.0.1 localhost"; echo "$NET.$HEAD head"; for i in $(seq "$count"); do echo "$NET.$i n$i"; done; } >$RIG/hosts
  boot head $NET.$HEAD "0-$((machine - 1))"
  in_net head ip link add rig0 type bridge
  in_net head ip addr add $NET.$HEAD/24 dev rig0
  in_net head ip link set rig0 up
  in_net head ip route add default dev rig0
  for i in $(seq "$count"); do
    cores=; for k in $(seq "$cpus"); do cores+=${cores:+,}$((((i - 1) * cpus + k - 1) % machine)); done
    boot "n$i" $NET.$i "$cores"
    [ "$mbit" = 0 ] || slow "n$i" "$mbit"
  done
  [ "${SLURM:-1}" = 0 ] || slurm "$count" "$cpus"
  say "$count nodes are up"
}

slurm() { # slurm COUNT CPUS
  local i
  cat >$RIG/slurm/slurm.conf <<CONF
ClusterName=rig
SlurmctldHost=head($NET.$HEAD)
# A requeued job starts again after cred_expire seconds.
AuthType=auth/munge
AuthInfo=socket=$RIG/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$RIG/state
SlurmdSpoolDir=$RIG/spool.%n
SlurmctldLogFile=$RIG/slurmctld.log
SlurmdLogFile=$RIG/slurmd.%n.log
SlurmctldPidFile=$RIG/slurmctld.pid
SlurmdPidFile=$RIG/slurmd.%n.pid
SlurmUser=root
MailProg=/bin/true
ReturnToService=2
SlurmdTimeout=20
KillWait=30
SchedulerParameters=sched_interval=5,bf_interval=5
JobRequeue=1
SlurmdParameters=config_overrides
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  for i in $(seq "$1"); do
    echo "NodeName=n$i NodeHostname=n$i NodeAddr=$NET.$i CPUs=$2 RealMemory=8000 State=UNKNOWN" >>$RIG/slurm/slurm.conf
    mkdir -p "$RIG/spool.n$i"
  done
  (umask 077; head -c 128 /dev/urandom >$RIG/munge/key)
  (on head munged --force --key-file=$RIG/munge/key --socket=$RIG/munge/socket --pid-file=$RIG/munge/pid \
    --log-file=$RIG/munge/log --seed-file=$RIG/munge/seed) >>$RIG/head.log 2>&1
  (on head slurmctld) >>$RIG/head.log 2>&1
  for i in $(seq "$1"); do (on "n$i" slurmd -N "n$i") >>"$RIG/n$i.log" 2>&1; done
  for _ in $(seq 60); do [ "$(on head sinfo -h -t idle -o %D 2>/dev/null | head -1)" != "$1" ] || return 0; sleep 0.5; done
  say "the nodes did not become idle; $RIG/slurmctld.log may say why"; exit 5
}

down() {
  local ours
  # Apart first: as soon as the last process has ended, a rig that waits begins, in a folder of its own.
  ours=$(mktemp -d "$RIG.XXXXXX")
  mv -T $RIG "$ours" 2>/dev/null || rmdir "$ours"
  end_all
}
end_all() { # what `down` was told to end; the end of a node's first process ends its other processes, network and mounts
  local folder file pid pids
  for folder in $RIG.??????; do
    pids=()
    for file in "$folder"/*.node; do
      pid=$(node "$(basename "$file" .node)" "$folder" 2>/dev/null) || continue
      pids+=("$pid")
      kill -9 "$pid"
    done
    for _ in $(seq 200); do
      kill -0 "${pids[@]}" 2>/dev/null || break
      sleep 0.1
    done
    ! kill -0 "${pids[@]}" 2>/dev/null || say "a process of the rig does not end"
    rm -rf "$folder"
  done
}

case ${1:-} in
  up) shift; up "$@" ;;
  down) down ;;
  on) shift; on "$@" ;;
  slow) slow "$2" "$3" ;;
  cut) in_net head ip link set "v$2" down ;;
  mend) in_net head ip link set "v$2" up ;;
  *) sed -n 2,9p "$0"; exit 2 ;;
esac
