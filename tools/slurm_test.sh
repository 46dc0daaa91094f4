#!/usr/bin/env bash
# tools/slurm_test.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT [options of tools/test.py]
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS and DEVICE are those of tools/slurm_train.sh.
set -euo pipefail
: "${3:?usage: tools/slurm_test.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT [options]}"
source "$(dirname "$0")/srun.sh"
exec "${srun[@]}" python -u "$(dirname "$0")/test.py" "${@:3}" --launcher slurm
