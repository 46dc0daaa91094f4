#!/usr/bin/env bash
# tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
set -euo pipefail
exec torchrun --standalone --nproc_per_node="${2:?usage: tools/dist_train.sh CONFIG PROCESSES [options]}" \
    "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
