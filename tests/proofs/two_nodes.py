"""Do two machines with one process each train as one machine with two processes?

sudo env PATH="$PATH" python tests/proofs/two_nodes.py

The machines are two network namespaces of Linux with names of their own and one cable between
them, so they share no port and no loopback; they share the disk. Each starts tools/dist_train.sh as
docs/cluster.md says: ten steps, then a validation. The first line gives the largest difference
between weights and BatchNorm's statistics, the second the metrics that differ, the third the
entries of run.json that differ; only the number of the run may. Needs root and the command ip.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.simulation.sample import make_sample

ROOT = Path(__file__).parents[2]
CONFIG = "configs/patch2_sizeaware_demo.py"
OPTIONS = (
    "train_cfg.max_iters=10 train_cfg.val_interval=10 train_cfg.val_begin=1 "
    "default_hooks.checkpoint.interval=10 default_hooks.logger.interval=1 "
    "train_dataloader.num_workers=1 model.backbone.partition_size=(1,3) "
    "model.test_cfg.score_thr=0.0 randomness.seed=1"
).split()
LIMIT = 1e-6
NODES = [("etram0", "10.77.0.1"), ("etram1", "10.77.0.2")]


def connect() -> None:
    """Make both namespaces and the cable between them."""
    for name, _ in NODES:
        ip("netns", "add", name)
    ip(
        "link",
        "add",
        "cable",
        "netns",
        NODES[0][0],
        "type",
        "veth",
        "peer",
        "cable",
        "netns",
        NODES[1][0],
    )
    for name, address in NODES:
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
        ip("-n", name, "link", "set", "cable", "up")
        ip("-n", name, "link", "set", "lo", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def start(folder: Path, data: Path, processes: int, node: int | None = None) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["tools/dist_train.sh", CONFIG, str(processes), "--work-dir", str(folder)]
    words += ["--cfg-options", f"data_root={data}/", *OPTIONS]
    if node is not None:
        name, _ = NODES[node]
        env |= dict(NNODES="2", NODE_RANK=str(node), MASTER_ADDR=NODES[0][1])
        env |= dict(GLOO_SOCKET_IFNAME="cable")
        own_name = f'hostname {name} && exec "$@"'
        words = ["ip", "netns", "exec", name, "unshare", "-u", "bash", "-c", own_name, "-", *words]
    with folder.with_suffix(f".{node}.log").open("w") as log:
        return subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)


def finish(folder: Path, *processes: subprocess.Popen) -> None:
    if any([process.wait() for process in processes]):
        logs = [path.read_text()[-1500:] for path in folder.glob("*.log")]
        raise SystemExit("failed:\n" + "\n".join(logs))


def metrics(folder: Path) -> dict[str, str]:
    return list(csv.DictReader((folder / "results.csv").open()))[-1]


def compare(two: Path, one: Path) -> bool:
    """Print the differences; whether there are none that may not be."""
    ours, theirs = (load_checkpoint_file(f / "iter_10.pth")["state_dict"] for f in (two, one))
    gap = max(float((ours[k].double() - theirs[k].double()).abs().max()) for k in theirs)
    print(f"{len(theirs)} tensors, largest difference {gap:g}")
    rows = metrics(two), metrics(one)
    columns = {k for k in rows[1] if rows[0].get(k) != rows[1][k]}
    print(f"AP {rows[0]['coco/AP']}, columns of results.csv that differ: {sorted(columns)}")
    records = [json.loads((folder / "run.json").read_text()) for folder in (two, one)]
    entries = {k for k in records[1] if records[0].get(k) != records[1][k]}
    print(f"{len(records[1])} entries of run.json, differing: {sorted(entries)}")
    return ours.keys() == theirs.keys() and gap <= LIMIT and columns | entries <= {"run"}


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_sample(folder / "raw", width=96, height=64, recordings=(3, 2, 2), duration_s=2.0)
        preprocess_folder(folder / "raw", folder / "data")
        connect()
        try:
            finish(folder, *(start(folder / "two", folder / "data", 1, node) for node in (0, 1)))
        finally:
            print(
                (folder / "two.0.log").read_text()[-1500:] if not (folder / "two").is_dir() else ""
            )
            for name, _ in NODES:
                ip("netns", "del", name)
        finish(folder, start(folder / "one", folder / "data", 2))
        sys.exit(not compare(folder / "two", folder / "one"))


if __name__ == "__main__":
    main()
