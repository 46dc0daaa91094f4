"""Trains the runs of a plan, one per device at a time. Finished runs are not trained again."""

from __future__ import annotations

import csv
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config

from etram_mmdet.analysis.runs.evaluations import RESULTS_FILE
from etram_mmdet.analysis.runs.plan import Plan, Variant
from etram_mmdet.engine.config.load import complete_config
from etram_mmdet.engine.hooks.run_record import RUN_FILE
from etram_mmdet.engine.runner.work_folder import check_free
from etram_mmdet.evaluation.results_table import evaluations
from etram_mmdet.utils.claims import claim
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.utils.interruption import stop_once
from etram_mmdet.utils.jobs import Command, Jobs, last_line
from etram_mmdet.utils.json_files import read_json
from etram_mmdet.utils.plain_config import read_plain_config
from etram_mmdet.utils.text import changes

LOG_FILE = "train.log"
# Settings that change no result. Earlier versions had other values.
_FREE = ("default_hooks.visualization", "visualizer", "vis_backends", "env_cfg.rank_timeout_s")
CLAIM_FILE = ".ablation"


def run_folder(out: Path, variant: Variant, seed: int) -> Path:
    """Returns the work folder of a run.

    Args:
        out: folder of the ablation.
        variant: row of the table.
        seed: seed of the run.
    """
    return out / variant.name / f"seed_{seed}"


def finished_result(folder: Path, variant: Variant) -> dict | None:
    """Returns run.json and the metrics of a run's last step; ``None`` if it is not finished.

    Args:
        folder: work folder of the run.
        variant: row of the table; it knows the number of steps.

    Raises:
        InputError: a file in the folder is damaged.
    """
    table = folder / RESULTS_FILE
    record = folder / RUN_FILE
    if not table.is_file() or not record.is_file():
        return None
    advice = "delete this run's folder, then the run is trained again"
    content = read_json(record, advice)
    try:
        rows = [
            row for row in evaluations(table, "val", content) if int(row["step"]) == variant.steps
        ]
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{table}, {record.name}: not the results of a run ({error}); {advice}"
        ) from error
    if not rows:
        return None
    return content | dict(
        metrics={key: float(value) for key, value in rows[-1].items() if "/" in key and value}
    )


def check_order(out: Path, variant: Variant, seed: int) -> Path:
    """Returns the path of a run's config and checks that no other run was begun there.

    Args:
        out: folder of the ablation.
        variant: row of the table.
        seed: seed of the run.

    Raises:
        InputError: a run with other settings was begun in this place.
    """
    path = _order_file(run_folder(out, variant, seed))
    if path.is_file():
        ours = variant.config_for(seed)
        begun = Config(read_plain_config(path))
        complete_config(begun)  # version 0.1 left out settings that follow from others
        found = changes(begun.to_dict(), ours.to_dict())
        differing = [line for line in found if not line.startswith(_FREE)]
        if differing:
            raise InputError(
                f"{path.with_suffix('')}: a run with other settings was begun there "
                f"({'; '.join(differing[:5])}); delete the folder and its .py, or choose another "
                "--out"
            )
    return path


def default_devices() -> list[str]:
    """Lists the GPUs of this process as CUDA_VISIBLE_DEVICES names them; ``["cpu"]`` if none."""
    if not torch.cuda.is_available():
        return ["cpu"]
    numbers = ",".join(map(str, range(torch.cuda.device_count())))
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or numbers).split(",")


class Launcher:
    """Trains the runs of a plan, each in a process of its own that logs into its folder.

    Args:
        plan: the runs.
        out: folder of the ablation.
        devices: number of each GPU to use, or "cpu" once for each run that trains at the same time;
            these share the cores. Local jobs share out these GPUs.
        train_tool: path of tools/train.py.
        say: prints progress. Default: ``print``.
        jobs: runs the trainings as jobs; Slurm decides about their devices. Default:
            none, as processes of this machine.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        devices: list[str],
        train_tool: Path,
        say: Callable = print,
        jobs: Jobs | None = None,
    ) -> None:
        self.plan = plan
        self.out = out
        self.devices = devices
        self.train_tool = train_tool
        self.say = say
        self.jobs = jobs
        self.processes: set[subprocess.Popen] = set()
        self.stopped = threading.Event()
        self.starting = threading.Lock()
        self.failed: list[str] = []
        self.seconds: list[float] = []

    def run(self) -> list[str]:
        """Trains what is not finished and returns a sentence for each run that failed.

        If this process is stopped, all its training processes are stopped too.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with stop_once(), claim(self.out / CLAIM_FILE, str(self.out)):
            return self._run()

    def _run(self) -> list[str]:
        waiting = queue.SimpleQueue()
        for variant, seed in self.plan.runs:
            path = check_order(self.out, variant, seed)
            with atomic_write(path) as aside:
                aside.write_text(variant.config_for(seed).pretty_text)
        for run in self.plan.runs:
            # A training may still run although its launcher was killed.
            check_free(run_folder(self.out, *run))
        todo = [
            run
            for run in self.plan.runs
            if finished_result(run_folder(self.out, *run), run[0]) is None
        ]
        self.say(f"{len(self.plan.runs)} runs, {len(self.plan.runs) - len(todo)} already finished")
        if self.jobs is not None:
            return self._run_jobs(todo)
        for run in todo:
            waiting.put(run)
        threads = [
            threading.Thread(target=self._work, args=(d, waiting), daemon=True)
            for d in self.devices
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():  # short waits, so that Ctrl-C is noticed
                    thread.join(0.2)
        finally:
            with self.starting:
                self.stopped.set()
            running = list(self.processes)
            for process in running:
                process.terminate()
            for process in running:  # each finishes its step and saves a checkpoint
                process.wait()
        return self.failed

    def _run_jobs(self, todo: list[tuple[Variant, int]]) -> list[str]:
        runs = {f"{variant.name} seed {seed}": (variant, seed) for variant, seed in todo}
        sharing = {} if self.jobs.is_array else self.jobs.share_of_cores
        self.jobs.share_gpus([device for device in self.devices if device != "cpu"])
        commands = {
            name: Command(self._command(run_folder(self.out, *run)), sharing)
            for name, run in runs.items()
        }
        left = len(runs)
        with self.jobs as jobs:
            for name, code, log in jobs.run(commands):
                left -= 1
                folder = run_folder(self.out, *runs[name])
                result = self._finished(code != 0, name, folder, runs[name][0], log)
                if result is not None:
                    ap = result["metrics"]["coco/AP"]
                    self.say(f"{name}: AP {ap:.4f}, {left} runs left")
        return self.failed

    def _finished(
        self, has_failed: bool, name: str, folder: Path, variant: Variant, log: Path
    ) -> dict | None:
        """The result of a run that has ended; a run that failed is noted and told."""
        result = finished_result(folder, variant)
        if has_failed or result is None:
            self.failed.append(f"{name}: {last_line(log)} ({log})")
            self.say(f"FAILED {self.failed[-1]}")
            return None
        return result

    def _work(self, device: str, waiting: queue.SimpleQueue) -> None:
        while not self.stopped.is_set():
            try:
                variant, seed = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._train(device, variant, seed, waiting)
            except Exception as error:  # of one run; the other runs go on
                self.failed.append(f"{variant.name} seed {seed}: {type(error).__name__}: {error}")
                self.say(f"FAILED {self.failed[-1]}")

    def _train(self, device: str, variant: Variant, seed: int, waiting: queue.SimpleQueue) -> None:
        folder = run_folder(self.out, variant, seed)
        start = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG_FILE).open("a") as log:
            with self.starting:  # so that a stop finds every started process
                if self.stopped.is_set():
                    return
                process = subprocess.Popen(
                    self._command(folder),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(device),
                )
                self.processes.add(process)
            code = process.wait()
            self.processes.discard(process)
        if self.stopped.is_set():
            return
        minutes = (time.monotonic() - start) / 60
        self.seconds.append(60 * minutes)
        name = f"{variant.name} seed {seed}"
        result = self._finished(bool(code), name, folder, variant, folder / LOG_FILE)
        if result is None:
            return
        left = waiting.qsize() * sum(self.seconds) / len(self.seconds) / len(self.devices) / 60
        ap = result["metrics"]["coco/AP"]
        self.say(f"{name} on {device}: AP {ap:.4f} in {minutes:.1f} min, about {left:.0f} min left")

    def _command(self, folder: Path) -> list[str]:
        config = str(_order_file(folder))
        return [
            sys.executable,
            str(self.train_tool),
            config,
            "--work-dir",
            str(folder),
            "--resume",
            "auto",
        ]

    def _environment(self, device: str) -> dict[str, str]:
        if device != "cpu":
            return {**os.environ, "CUDA_VISIBLE_DEVICES": device}
        threads = max(1, len(os.sched_getaffinity(0)) // self.devices.count("cpu"))
        return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads)}


def _order_file(folder: Path) -> Path:
    """Returns the path of the config from which the run in ``folder`` is trained.

    It is next to the folder, because training writes a completed config of the same name into the
    folder.
    """
    return folder.with_name(f"{folder.name}.py")
