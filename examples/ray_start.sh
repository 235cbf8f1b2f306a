#!/usr/bin/env bash
# Train on plain machines that share this folder and reach each other by ssh, without a password.
#   examples/ray_start.sh "node1 node2 node3" batch_size=6 epochs=100 data=msd_brain data.root=...
# The first host is the head and must be this machine. The rest goes to train.py.
# "localhost" may stand for any host: its node then runs here, to try this file out.
set -euo pipefail
hosts=($1)
shift
port=${RAY_PORT:-$((20000 + $$ % 10000))}
node_options=${RAY_NODE_OPTIONS:-} # such as --num-cpus=8, for each node
head=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
# Only who knows its token can use this Ray, from version 2.55 on. No file keeps it, where later clusters of this home
# would find it, and no command line, where other users would.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
pipes=() shells=()
start() { # start HOST OPTIONS: its commands come through a pipe, whose end, or that of this script, is the node's end
  local host=$1 pipe shell=(bash -s)
  shift
  [ "$host" = localhost ] || shell=(ssh "$host" bash -s)
  exec {pipe}> >(exec setsid "${shell[@]}") # not of this terminal: Ctrl-C is for train.py, which saves
  shells+=($!) pipes+=("$pipe")
  cat >&"$pipe" <<COMMANDS
cd '$PWD'
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$RAY_AUTH_TOKEN
trap 'kill \$node; wait \$node' EXIT
'$(command -v ray)' start --block --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 $* $node_options >/dev/null </dev/null & node=\$!
COMMANDS
}
stop() {
  local pipe
  for pipe in "${pipes[@]}"; do exec {pipe}>&-; done
  wait "${shells[@]}" || true
}
trap stop EXIT
start localhost --head --node-ip-address="$head" --port="$port" --ray-client-server-port=$((port + 10000)) --include-dashboard=false
for _ in $(seq 60); do ! (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null || break; sleep 1; done
for host in "${hosts[@]:1}"; do start "$host" --address="$head:$port"; done
python train.py parallel=data nodes=${#hosts[@]} parallel.address="$head:$port" parallel.wait_for_nodes=120 "$@"
