#!/usr/bin/env bash
# Train over plain machines that share this folder and reach each other by ssh.
#   examples/ray_start.sh "node1 node2 node3" epochs=100 data=msd_brain data.root=...
# The first host is the head, and is this machine. What follows goes to train.py.
# "localhost" may stand for any host: its node then runs here, which is how to try this file out.
set -euo pipefail
hosts=($1)
shift
port=${RAY_PORT:-6379}
node_options=${RAY_NODE_OPTIONS:-}   # such as --num-cpus=8, for each node
ray=$(command -v ray)
# Ray 2.55 and newer lets in who knows the token; older ones ignore these two.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$("$ray" get-auth-token --generate) && export RAY_AUTH_TOKEN
head_address=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
on() { # on HOST COMMAND: here, or by ssh in this same folder
  if [ "$1" = localhost ]; then bash -c "$2"; else ssh "$1" "cd '$PWD' && RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$RAY_AUTH_TOKEN $2"; fi
}
stop() { for host in "${hosts[@]}"; do on "$host" "$ray stop" >/dev/null 2>&1 || true; done; }
trap stop EXIT
"$ray" start --head --node-ip-address="$head_address" --port="$port" --include-dashboard=false $node_options >/dev/null
for host in "${hosts[@]:1}"; do
  on "$host" "$ray start --address=$head_address:$port $node_options" >/dev/null
done
python train.py parallel=data nodes=${#hosts[@]} parallel.address="$head_address:$port" \
  parallel.wait_for_nodes=120 "$@"
