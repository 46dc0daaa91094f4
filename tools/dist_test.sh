#!/usr/bin/env bash
# tools/dist_test.sh CHECKPOINT PROCESSES [options of tools/test.py]
set -euo pipefail
cd "$(dirname "$0")/.."
exec torchrun --standalone --nproc_per_node="${2:?usage: tools/dist_test.sh CHECKPOINT PROCESSES [options]}" \
    tools/test.py "$1" --launcher pytorch "${@:3}"
