#!/usr/bin/env bash
# tools/dist_test.sh [CONFIG] CHECKPOINT PROCESSES [options of tools/test.py]
set -euo pipefail
paths=()
while [[ $# -gt 0 && ! $1 =~ ^[0-9]+$ ]]; do paths+=("$1"); shift; done
processes=${1:?usage: tools/dist_test.sh [CONFIG] CHECKPOINT PROCESSES [options]}
exec torchrun --standalone --nproc_per_node="$processes" \
    "$(dirname "$0")/test.py" "${paths[@]}" --launcher pytorch "${@:2}"
