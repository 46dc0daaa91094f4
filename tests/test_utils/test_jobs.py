"""Jobs by submitit: on a stand-in of Slurm, and as local processes."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from etram_mmdet.utils import jobs as jobs_module
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.jobs import Command, Jobs, last_line

pytest.importorskip("submitit")

# Runs every task of an array at once, and keeps the file that it was given.
SBATCH = """#!/usr/bin/env bash
here=$(dirname "$0")
cp "$1" "$here/submitted.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
export SLURM_ARRAY_JOB_ID=7 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=localhost
for task in $(seq 0 "${last:-0}"); do
    SLURM_JOB_ID=$((7 + task)) SLURM_ARRAY_TASK_ID=$task bash "$1" > /dev/null 2>&1 &
done
echo Submitted batch job 7
"""
SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do
    [[ $1 != --output ]] || { log=${2//%A/7}; log=${log//%a/$SLURM_ARRAY_TASK_ID}; }
    [[ $1 == --unbuffered ]] || shift
    shift
done
"$@" > "${log//%t/0}" 2>&1
"""
SACCT = "#!/bin/sh\necho 'JobID|State|NodeList'\n"
END = "import sys; print('on it'); print(sys.argv[1]); sys.exit(int(sys.argv[1]))"


def command(python: str, status: int) -> Command:
    return Command([python, "-c", END, str(status)])


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Folder of programs that take Slurm's place."""
    for name, text in dict(sbatch=SBATCH, srun=SRUN, sacct=SACCT).items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_jobs_of_slurm_are_one_array(slurm, tmp_path):
    options = dict(slurm_partition="cpu", cpus_per_task=2)
    commands = {str(status): command("python", status) for status in (0, 1, 3)}
    with Jobs(tmp_path / "jobs", "name", 2, options) as jobs:
        assert jobs.is_array
        ended = {name: (status, last_line(log)) for name, status, log in jobs.run(commands)}
    assert ended == {"0": (0, "0"), "1": (1, "1"), "3": (3, "3")}
    asked = re.findall(r"#SBATCH --(\S+)", (slurm / "submitted.sh").read_text())
    assert {"array=0-2%2", "partition=cpu", "cpus-per-task=2", "time=1440"} <= set(asked)


def test_local_jobs_end_with_the_block(tmp_path):
    """One job runs at a time; the one that runs when an error comes is stopped."""
    file = tmp_path / "alive"
    beat = f"while sleep 0.1; do date +%N > {file}; done"
    commands = dict(first=Command(["sh", "-c", "exit 4"]), second=Command(["sh", "-c", beat]))

    def look():
        if file.exists():
            raise KeyboardInterrupt

    ended = []
    with pytest.raises(KeyboardInterrupt), Jobs(tmp_path, "name", 1, dict(cluster="local")) as jobs:
        for name, status, _ in jobs.run(commands, look):
            assert not file.exists()
            ended.append((name, status))
    assert ended == [("first", 4)]
    last = file.read_text()
    time.sleep(0.4)
    assert file.read_text() == last


def test_local_jobs_share_out_the_gpus(tmp_path, monkeypatch):
    """No two jobs have a GPU at the same time, and the third job gets one that is free again."""
    monkeypatch.setattr(jobs_module, "LOOK_S", 0.1)
    gpu = "$CUDA_VISIBLE_DEVICES"
    alone = f"mkdir gpu{gpu} && sleep 0.5 && rmdir gpu{gpu} && echo on {gpu}"
    commands = {name: Command(["sh", "-c", f"cd {tmp_path} && {alone}"]) for name in "abc"}
    with Jobs(tmp_path / "jobs", "name", 2, dict(cluster="local")) as jobs:
        jobs.share_gpus(["3", "5"])
        ended = [(status, last_line(log)) for _, status, log in jobs.run(commands)]
    assert [status for status, _ in ended] == [0, 0, 0]
    assert {line for _, line in ended} == {"on 3", "on 5"}


def test_local_jobs_that_need_more_gpus_than_there_are_get_a_sentence(tmp_path):
    options = dict(cluster="local", gpus_per_node=2)
    jobs = Jobs(tmp_path, "name", 2, options)
    with pytest.raises(InputError, match=r"need 2 GPUs each, but this machine has 3 \(0, 1, 2\)"):
        jobs.share_gpus(["0", "1", "2"])
    jobs.share_gpus(["0", "1", "2", "3"])
    jobs.share_gpus([])  # without a GPU
    with pytest.raises(InputError, match="gpus_per_node=-1: expected 0 or more"):
        Jobs(tmp_path, "name", 2, dict(options, gpus_per_node=-1))
    Jobs(tmp_path, "name", 2, dict(options, gpus_per_node=None)).share_gpus(["0", "1"])


def test_a_job_that_is_stopped_while_it_waits_ends(tmp_path):
    """submitit calls `checkpoint` in a signal handler of the thread that waits for the command."""
    program = """
import signal
from etram_mmdet.utils.jobs import Command
command = Command(["sleep", "60"])
signal.signal(signal.SIGALRM, lambda *_: command.stop())
signal.setitimer(signal.ITIMER_REAL, 0.5)
print(command())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert done.stdout.split() == [b"-15"], done.stderr


def test_jobs_that_slurm_refuses_get_a_sentence(slurm, tmp_path):
    (slurm / "sbatch").write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
    with (
        pytest.raises(InputError, match=r"the jobs were not taken: .*check --submitit-options"),
        Jobs(tmp_path / "jobs", "name", 2, dict(slurm_partition="wrong")) as jobs,
    ):
        list(jobs.run(dict(one=command("python", 0))))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(cluster="loca"), "any executor named loca"),
        (dict(cluster="local", cpus=3), "'cpus' need to be prefixed"),
    ],
)
def test_options_that_submitit_does_not_know_get_a_sentence(tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        Jobs(tmp_path, "name", 1, options)
