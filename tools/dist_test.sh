#!/usr/bin/env bash
# tools/dist_test.sh [CONFIG] CHECKPOINT PROCESSES [options of tools/test.py]
# PROCESSES are those of one machine; for several machines see tools/dist_train.sh.
set -euo pipefail
paths=()
while [[ $# -gt 0 && ! $1 =~ ^[0-9]+$ ]]; do paths+=("$1"); shift; done
processes=${1:?usage: tools/dist_test.sh [CONFIG] CHECKPOINT PROCESSES [options]}
source "$(dirname "$0")/rendezvous.sh"
exec "${launch[@]}" --nproc_per_node="$processes" \
    "$(dirname "$0")/test.py" "${paths[@]}" --launcher pytorch "${@:2}"
