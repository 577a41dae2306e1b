"""The same faults for Ray Tune with OptunaSearch: checkpoints each epoch, failures retried.

The trainable sleeps instead of training, like the objective for plain Optuna.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # it is run as a script
from benchmarks.mishaps.counting import Count
from benchmarks.mishaps.diary import Diary, epochs_repeated, read
from benchmarks.mishaps.places import Ground
from benchmarks.mishaps.staff import LOOK_SECONDS

TRIALS, EPOCHS, EPOCH_SECONDS = 12, 5, 0.2
NAME = "plain"
LIMIT_SECONDS = 300.0  # several times what an undisturbed experiment takes
BROKEN = 4  # the trial that meets a fault of its own, in the order in which they begin
Fault = Literal["none", "random kills", "stopped", "hang", "poison", "all killed"]


def train(config: dict[str, Any]) -> None:
    """Sleep for some epochs, with a checkpoint after each."""
    import tempfile

    from ray import tune

    folder = Path(config["folder"])
    diary = Diary(folder / "diary.jsonl")
    trial = tune.get_context().get_trial_id()
    start, checkpoint = 0, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as saved:
            start = int((Path(saved) / "epoch").read_text())
    attempt = time.time_ns()
    mine = folder / f"trial-{trial}"
    if not mine.exists():
        mine.write_text(str(len(list(folder.glob("trial-*")))))
    broken = mine.read_text() == str(BROKEN)
    for epoch in range(start + 1, EPOCHS + 1):
        values = {"key": trial, "fence": attempt, "owner": str(os.getpid()), "epoch": epoch}
        diary.note("epoch", **values)
        if broken and epoch == 2:
            _break(config["fault"], folder)
        time.sleep(EPOCH_SECONDS)
        with tempfile.TemporaryDirectory() as saved:
            (Path(saved) / "epoch").write_text(str(epoch))
            tune.report(
                {"score": config["x"] * epoch},
                checkpoint=tune.Checkpoint.from_directory(saved),
            )
    diary.note("end", key=trial)


def _break(fault: str, folder: Path) -> None:
    mark = folder / "broken"
    first = not mark.exists()
    mark.touch()
    if fault == "stopped" and first:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "hang" and first:
        threading.Event().wait()
    elif fault == "poison":
        os.kill(os.getpid(), signal.SIGSEGV)


def drive(folder: Path, fault: str) -> None:
    """Run the experiment, or restore it if there is one."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
    )
    stored = folder / NAME
    trainable = tune.with_resources(train, {"cpu": 1})
    if tune.Tuner.can_restore(str(stored)):
        tuner = tune.Tuner.restore(
            str(stored), trainable, resume_unfinished=True, restart_errored=True
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={
                "x": tune.uniform(0.0, 1.0),
                "folder": str(folder),
                "fault": fault,
            },
            tune_config=tune.TuneConfig(
                metric="score", mode="max", num_samples=TRIALS, search_alg=OptunaSearch(seed=0)
            ),
            run_config=tune.RunConfig(
                name=NAME,
                storage_path=str(folder),
                failure_config=tune.FailureConfig(max_failures=3),
                verbose=0,
            ),
        )
    results = tuner.fit()
    done = sum(results[number].error is None for number in range(len(results)))
    (folder / "results.json").write_text(json.dumps({"done": done, "all": len(results)}))


def ray_tune(ground: Ground, fault: Fault, *, seed: int, kills: int) -> Count:
    """Give one fault, or a number of kills, to an experiment; count what it did."""
    folder = ground.folder / f"tune-{fault.replace(' ', '-')}-{seed}"
    folder.mkdir()
    dice, faults = random.Random(seed), 0
    points = sorted(dice.randrange(1, TRIALS * EPOCHS) for _ in range(kills))
    driver, drivers = _start(folder, fault), 1
    end = time.monotonic() + LIMIT_SECONDS
    while driver.poll() is None and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        entries = read(folder / "diary.jsonl")
        if fault == "random kills" and points and len(entries) >= points[0]:
            points.pop(0)
            living = {int(e["owner"]) for e in entries if e["kind"] == "epoch"}
            with suppress(IndexError, ProcessLookupError):
                os.kill(dice.choice(sorted(filter(_lives, living))), signal.SIGKILL)
                faults += 1
        elif fault == "all killed" and len(entries) >= TRIALS * EPOCHS // 2 and drivers == 1:
            _kill_all(driver)
            driver, drivers, faults = _start(folder, fault), 2, 1
    hung = driver.poll() is None
    _kill_all(driver)
    entries = read(folder / "diary.jsonl")
    ended = [entry["key"] for entry in entries if entry["kind"] == "end"]
    results = folder / "results.json"
    done = len(set(ended))  # of an experiment that came to no end
    if results.exists():
        done = json.loads(results.read_text())["done"]
    return Count(
        runs=1,
        faults=max(faults, int(fault not in ("none", "random kills", "all killed"))),
        trials_lost=max(0, TRIALS - done),
        double_results=len(ended) - len(set(ended)),
        epochs_repeated_max=epochs_repeated(entries),
        not_landed=int(hung),
        notes={"trials_for_12": len({e["key"] for e in entries})},
    )


def _start(folder: Path, fault: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(Path(__file__)), str(folder), "--fault", fault]
    with (folder / "messages.txt").open("ab") as messages:
        return subprocess.Popen(command, stdout=messages, stderr=messages, start_new_session=True)


def _lives(process: int) -> bool:
    with suppress(OSError):
        return "ray::" in Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    return False


def _kill_all(driver: "subprocess.Popen[bytes]") -> None:
    """Kill the driver and what it started; Ray's own processes end with it."""
    from benchmarks.mishaps.kills import kill_tree

    if driver.poll() is None:
        kill_tree(driver.pid)
    driver.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fault", required=True)
    chosen = parser.parse_args()
    drive(chosen.folder, chosen.fault)
