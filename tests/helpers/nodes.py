"""Machines of a cluster as their users call them, on this one: torchrun and a stand-in of srun.

Both start tools by forking, see :mod:`tests.helpers.warm_python`.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import warm_python

# Starts what it is told as Slurm does, with all tasks on this machine; it notes its options first.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$(dirname "$0")/srun.txt"
while [[ $1 == -* ]]; do
    [[ $1 != --ntasks=* ]] || export SLURM_NTASKS="${1#*=}"
    shift
done
export SLURM_JOB_ID=1 SLURM_NODELIST=localhost SLURM_NTASKS=${SLURM_NTASKS:-1}
for task in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""


class Cluster:
    """Starts scripts with ``torchrun``, ``srun`` and ``python`` of ``folder/bin`` on the path."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        python, env = warm_python({**os.environ, "OMP_NUM_THREADS": THREADS})
        self._env = {**env, "PATH": f"{self.bin}:{env['PATH']}"}
        self.write("torchrun", f'#!/bin/sh\nexec {python} -m torch.distributed.run "$@"\n')
        self.write("python", f'#!/bin/sh\nexec {python} "$@"\n')
        self.write("srun", SRUN)

    def write(self, name: str, text: str) -> None:
        """Put a program on the path."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def start(self, *command: object, folder: Path = ROOT, **variables: object) -> subprocess.Popen:
        env = self._env | {name: str(value) for name, value in variables.items()}
        return subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: object, **variables: object) -> str:
        process = self.start(*command, **variables)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-3000:]
        return output

    def run_nodes(self, *commands: tuple, **variables: object) -> list[str]:
        """Output of one command for each node, all at the same time."""
        place = dict(NNODES=len(commands), MASTER_ADDR="127.0.0.1", PORT=free_port(), **variables)
        place.setdefault("RENDEZVOUS_TIMEOUT_S", 60)
        nodes = [
            self.start(*command, NODE_RANK=number, **place)
            for number, command in enumerate(commands)
        ]
        outputs = [node.communicate(timeout=300)[0] for node in nodes]
        assert not any(node.returncode for node in nodes), "".join(o[-3000:] for o in outputs)
        return outputs


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
