"""The batch files, jobs and commands of docs/cluster.md, with stand-ins of Slurm and torchrun."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess

import pytest
import yaml

from etram_mmdet.utils.shards import shard_of
from tests.helpers.nodes import Cluster
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "cluster.md").read_text()
FILES = dict(re.findall(r'```\w+ title="(\S+)"\n(.*?)```', PAGE, re.S))
COMMANDS = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.S)).splitlines()
EACH_NODE = '#!/bin/sh\nfor SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done\n'
TELL = '#!/bin/sh\necho "$@"\n'
# machines of these names do not exist, so that they cannot meet
MEETS = """#!/bin/sh
case "$*" in *utils.rendezvous*) while [ "$1" != torchrun ]; do shift; done; exec "$@" ;; esac
exec {python} "$@"
"""


@pytest.fixture
def cluster(tmp_path):
    """A cluster with a checkout in ``tmp_path``; each program tells how it is called."""
    for name in ("tools", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    cluster = Cluster(tmp_path)
    cluster.write("scontrol", "#!/bin/sh\necho node0\necho node1\n")
    cluster.write("torchrun", TELL)
    (cluster.bin / "python").rename(cluster.bin / "real_python")
    cluster.write("python", MEETS.format(python=cluster.bin / "real_python"))
    return cluster


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".sbatch")])
def test_batch_files_are_right_bash(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    done = subprocess.run(["bash", "-n", tmp_path / name], capture_output=True, check=True)
    assert not done.stderr
    asked = re.findall(r"^#SBATCH --([\w-]+)", FILES[name], re.M)
    known = "job-name array nodes ntasks-per-node gres cpus-per-task mem time signal requeue"
    assert set(asked) <= set(known.split()) and FILES[name].startswith("#!/bin/bash\n")
    # which srun does not take from the batch file
    assert ("cpus-per-task" in asked) == ("SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK" in FILES[name])


def test_tasks_of_the_array_make_all_recordings_and_one_summary(cluster, raw_sample, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "etram_raw").symlink_to(raw_sample)
    (tmp_path / "preprocess.sbatch").write_text(FILES["preprocess.sbatch"])
    count = 2  # of 8 in the file
    array = {"MIN": 0, "MAX": count - 1, "COUNT": count}
    for task in range(count):
        place = {f"SLURM_ARRAY_TASK_{key}": value for key, value in dict(array, ID=task).items()}
        output = cluster.run("bash", "preprocess.sbatch", folder=tmp_path, **place)
    assert "recordings of shard 2/2" in output and "all shards have ended:" in output
    assert "7 recordings preprocessed, 0 were finished before, 0 problems" in output


def test_indexed_job_divides_the_recordings():
    (job,) = yaml.safe_load_all(FILES["preprocess.yaml"])
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    words = container["command"]
    shard = words[words.index("--shard") + 1]
    places = [
        shard_of(shard, dict(JOB_COMPLETION_INDEX=str(index)))
        for index in range(spec["completions"])
    ]
    assert [(each.number, each.count) for each in places] == [(n + 1, 8) for n in range(8)]
    assert (spec["completionMode"], words[0]) == ("Indexed", "python")
    parse(shlex.join(words))


def test_torchrun_in_slurm_finds_the_first_machine(cluster, tmp_path):
    cluster.write(
        "srun", '#!/bin/sh\nfor SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done\n'
    )
    (tmp_path / "job").write_text(FILES["torchrun.sbatch"])
    said = cluster.run(
        "bash",
        "job",
        folder=tmp_path,
        SLURM_NNODES=2,
        SLURM_JOB_ID=41_234,
        SLURM_JOB_NODELIST="node[0-1]",
    )
    assert [line.split(" tools/")[0] for line in said.splitlines()] == [
        f"--nnodes=2 --node_rank={number} --master_addr=node0 --master_port=21234 "
        "--nproc_per_node=4"
        for number in (0, 1)
    ]
    assert said.count("--launcher pytorch --auto-scale-lr --resume auto") == 2


def test_pods_find_the_first_one(cluster, tmp_path):
    service, job = yaml.safe_load_all(FILES["train.yaml"])
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    name = job["metadata"]["name"]
    assert env["MASTER_ADDR"] == f"{name}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert int(env["NNODES"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    words = [*container["command"], *container["args"]]
    said = cluster.run(*words, folder=tmp_path, JOB_COMPLETION_INDEX=1, **env)
    assert said.startswith("--nnodes=2 --node_rank=1 --master_addr=train-0.train ")
    parse("python tools/train.py " + said.split("/train.py ")[1])


def parse(command: str) -> None:
    """Fails unless the tool knows the options."""
    _, tool, *words = shlex.split(command)
    names = runpy.run_path(str(ROOT / tool))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [tool, *words])
        names["parse_args"]()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_such_that_the_tools_know_them(command, cluster, tmp_path):
    cluster.write("srun", TELL)
    if command.startswith("python "):
        parse(command)
        return
    said = cluster.run("bash", "-c", command, folder=tmp_path)
    assert "tools/train.py" in said or "tools/test.py" in said
    parse("python tools/" + said.split("tools/")[1])


def test_there_are_files_and_commands():
    assert len(FILES) == 5 and len(COMMANDS) >= 9
