"""Ray Tune as its PyTorch tutorial uses it: random samples, ASHA, a checkpoint with each report.

Two trials run at a time on a processor each, for a time budget; a trial that runs when it ends is
stopped, as Tune does. The checkpoint with the best validation accuracy predicts the test images.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when ray is imported

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from safetensors.torch import load_file, save_file

ROOT = str(Path(__file__).resolve().parents[2])
sys.path.insert(0, ROOT)  # it is run as a script

from benchmarks.rivals.task import EPOCHS, Task, parser
from benchmarks.rivals.their_space import (
    ADAMW_RATE,
    BATCH_SIZE,
    DEPTH,
    DROPOUT,
    KERNEL,
    OPTIMIZER,
    SCHEDULE,
    SGD_RATE,
    STAGES,
    WEIGHT_DECAY,
    WIDTH,
    Config,
    Net,
    make_optimizer,
    predict,
    train_loader,
)
from benchmarks.tutorial import steps

END_SECONDS = 12.0  # to stop the trials, predict the test images and shut Ray down
CONCURRENT = 2  # trials, with a processor each
WEIGHTS = "weights.safetensors"


def search_space() -> Config:
    """Return what Tune samples from."""
    return {
        "stages": tune.randint(STAGES[0], STAGES[1] + 1),
        "depth": tune.randint(DEPTH[0], DEPTH[1] + 1),
        "width": tune.choice(WIDTH),
        "kernel": tune.choice(KERNEL),
        "dropout": tune.uniform(*DROPOUT),
        "batch_size": tune.choice(BATCH_SIZE),
        "optimizer": tune.choice(OPTIMIZER),
        "sgd_rate": tune.loguniform(*SGD_RATE),
        "adamw_rate": tune.loguniform(*ADAMW_RATE),
        "weight_decay": tune.loguniform(*WEIGHT_DECAY),
        "schedule": tune.choice(SCHEDULE),
    }


def train(config: Config, task: Task) -> None:
    """Train one trial; report each epoch's validation accuracy with a checkpoint."""
    torch.manual_seed(task.seed)
    network = Net(config)
    optimizer, schedule = make_optimizer(network, config)
    batches = train_loader(task.train_images, task.train_labels, batch_size=config["batch_size"])
    for _ in range(EPOCHS):
        for _ in steps(network, batches, optimizer):
            pass
        if schedule is not None:
            schedule.step()
        classes = predict(network, task.held_out_images)
        accuracy = float((classes == task.held_out_labels).mean())
        with tempfile.TemporaryDirectory() as folder:
            save_file(network.state_dict(), Path(folder) / WEIGHTS)
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"accuracy": accuracy}, checkpoint=checkpoint)


def search(task: Task) -> Any:
    """Run trials until the time budget ends; return Tune's results."""
    trainable = tune.with_parameters(train, task=task)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=search_space(),
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=2),
            search_alg=BasicVariantGenerator(random_state=task.seed, max_concurrent=CONCURRENT),
            num_samples=-1,  # as many as the time allows
            time_budget_s=task.deadline - END_SECONDS - time.time(),
        ),
        run_config=tune.RunConfig(storage_path=str(task.out.absolute()), verbose=1),
    )
    return tuner.fit()


def main() -> None:
    """Search until the time budget ends; predict with the best checkpoint."""
    task = Task.of(parser("Ray Tune: ASHA").parse_args())
    os.environ["PYTHONPATH"] = ROOT  # of the processes that Ray starts
    ray.init("local", num_cpus=CONCURRENT, include_dashboard=False, _node_ip_address="127.0.0.1")
    try:
        results = search(task)
    finally:
        ray.shutdown()
    best = results.get_best_result(scope="all")
    network = Net(best.config)
    checkpoint = best.get_best_checkpoint("accuracy", "max")
    network.load_state_dict(load_file(Path(checkpoint.path) / WEIGHTS))
    task.answer(
        predict(network, task.test_images),
        trials=len(results),
        epochs=sum(len(result.metrics_dataframe) for result in results if result.metrics),
        validation_accuracy=float(best.metrics_dataframe["accuracy"].max()),
        versions={"ray": ray.__version__, "torch": torch.__version__},
    )


if __name__ == "__main__":
    main()
