#!/usr/bin/env bash
# tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# PROCESSES are those of one machine. On several machines, set NNODES (their number), NODE_RANK (0 on the first),
# MASTER_ADDR (address of the first) and PORT (default: 29500) on each. MAX_RESTARTS starts a failed training again.
# RENDEZVOUS_TIMEOUT_S (default: 600): seconds that a machine waits for the others.
set -euo pipefail
processes=${2:?usage: tools/dist_train.sh CONFIG PROCESSES [options]}
source "$(dirname "$0")/rendezvous.sh"
exec "${launch[@]}" --nproc_per_node="$processes" \
    "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
