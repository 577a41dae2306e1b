"""One finalist on one fold: trained on all of its rows, predicted on those left out."""

import copy
import json
import math
import time
from dataclasses import asdict
from typing import Any

from safetensors.torch import save as save_tensors

from search.draws import Draws
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.marks import Marks
from search.plan import Plan
from search.race import DRAWS, RIGHT
from search.store import FoldTask, Lease, TrialRecord
from spaces.recipe import Candidate
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.device import DevicePlan
from workers.distillation import taught
from workers.epoch_report import EpochReport
from workers.evaluation import predict
from workers.files import write_array, write_atomically
from workers.fold_files import FoldFiles
from workers.gentler import gentler, is_gentler
from workers.memory import batch_pieces
from workers.retention import tidy
from workers.rows import Rows
from workers.training import Diverged, Training
from workers.workbench import Workbench

LARGEST_BATCH = 256  # larger ones train no faster on processors
ALWAYS_ALLOWED, STEPS_AN_EPOCH = 64, 10  # of few rows a batch of more than 64 is a tenth at most
FASTER = 1.5  # than its trial a finalist may be: its batches are larger
MAX_EPOCHS = 60  # more than this gave nothing on small data, however much time is left,
MAX_IMAGES = 96_000  # but where that many have not been seen: 640 rows gained 1 point, 160 three
EXACT_COST = 3.0  # predicting in float32 against the number type of the search, at most
PACE_IMAGES = 64  # predicted on the processor to measure its pace
LEAST_LEFT = 0.5  # of a fold's time, with which a training that diverged begins again
OVERHEAD = 0.5  # seconds to build the network, gather its rows and write its files


def run_fold(
    bench: Workbench, task: FoldTask, lease: Lease, *, record: TrialRecord, seconds: float
) -> None:
    """Train and record one fold within `seconds`, resuming its last epoch if there is one.

    In a race, where all have the same time, what was trained before counts. A first divergence is
    answered by a gentler attempt, if half of the time is left.

    Raises:
        Stopped: the work must stop here; whoever claims the fold next goes on with it.
        Diverged: the training failed, and the second attempt, too; the fold has no result.
    """
    assert record.candidate is not None
    end = bench.heartbeat.used + seconds - fold_overhead(bench, task, record)
    rows = taught(bench, bench.fold_rows(task.fold), fold=task.fold)
    all_fences = bench.files.finalist(task.trial, task.fold)
    folder = all_fences / str(lease.fence)
    resumed = load_checkpoint(all_fences)
    count = len(rows.train_labels)
    races = task.fold == JUDGING_FOLD
    if resumed is not None:
        candidate = resumed[0]
    else:  # a race is run with the recipe of the training that it is run for
        times = _times_race(bench) if races else 1.0
        candidate = lengthened(record, bench.plan, rows=count, seconds=times * seconds)
    training = _training(bench, task, candidate, rows)
    bench.heartbeat.expect_steps()  # what its former holder took for an epoch says little of us
    if resumed is not None:
        training.restore(resumed[1])
        training.schedule.keep_length()  # part of its time is spent; what is left is others', too
        end -= training.seconds if races else 0.0

    def on_epoch(training: Training, report: EpochReport) -> None:
        if training.finished:  # no checkpoint, hence no progress: the next holder would repeat it
            bench.heartbeat.expect(training.next_epoch_seconds)
            return
        state, trained = training.state(), training.candidate
        bench.write(lambda: save_checkpoint(folder, state, candidate=trained, epoch=report.epoch))
        # who lost the lease ends here
        bench.heartbeat.progressed(next_in=training.next_epoch_seconds)

    def run() -> None:
        limited = not math.isinf(seconds)
        training.run(
            on_epoch=on_epoch,
            interrupt=bench.heartbeat.check,
            seconds_left=(lambda: bench.heartbeat.seconds_until(end)) if limited else None,
        )

    again = False
    try:
        run()
    except Diverged:
        left = bench.heartbeat.seconds_until(end)
        if is_gentler(candidate) or left < LEAST_LEFT * seconds < math.inf:
            raise
        again = True
    if again:  # outside the except block: the failure's frames hold the first training
        del training  # before the next one, as both may not fit in memory
        tidy(all_fences, until=lease.fence)
        training = _training(bench, task, gentler(candidate), rows)
        bench.heartbeat.expect_steps()
        run()
    _record(bench, task, training, FoldFiles(folder))
    tidy(all_fences, keep=folder, until=lease.fence)


def _times_race(bench: Workbench) -> float:
    tasks = bench.store.folds.all(bench.job.id)
    return bench.plan.times_race(finalists=len({task.trial for task in tasks}))


def _training(bench: Workbench, task: FoldTask, candidate: Candidate, rows: Rows) -> Training:
    return Training(
        candidate,
        rows,
        plan=bench.device,
        metric=bench.metric,
        seed=bench.seed("finalist", task.trial, task.fold),
        evaluation=bench.exact,
        clock=bench.heartbeat.clock,
        validate_every=None,
        pieces=batch_pieces(candidate, bench.plan, rows=len(rows.train_labels))[0],
    )


def processor_pace(training: Training) -> float:
    """Return the seconds to predict an image as the exported folder will: on the processor.

    A training on a GPU is measured on a sample, as its own predictions say nothing about it.
    """
    last = training.curve[-1]
    if training.evaluation.device == "cpu" and last.validation_seconds is not None:
        return last.validation_seconds / len(training.rows.validation_labels)
    network = copy.deepcopy(training.network).float().to("cpu")
    images = training.rows.validation_images[:PACE_IMAGES]
    begin = time.perf_counter()
    predict(network, images, normalisation=training.normalisation, plan=DevicePlan())
    return (time.perf_counter() - begin) / len(images)


def fold_overhead(bench: Workbench, task: FoldTask, record: TrialRecord) -> float:
    """Return the seconds that a fold takes besides training: mostly to predict in float32."""
    predicted = len(bench.predicted_rows(task.fold))
    # a trial that was cut short has no pace of its own; to train on an image takes longer
    pace = record.predict_pace or bench.plan.speed.seconds_per_image(record.macs or 0)
    return OVERHEAD + EXACT_COST * predicted * pace


def lengthened(record: TrialRecord, plan: Plan, *, rows: int, seconds: float) -> Candidate:
    """Return a trial's candidate for a training that lasts about `seconds` on so many rows.

    Batch, rate and, within the space, augmentation follow the length that the trial's pace
    predicts, or that of the host if the trial did not train to its end; there are epochs to spare,
    as larger batches may be faster, and the deadline cuts the schedule to size.
    """
    assert record.candidate is not None
    expected = planned = plan.finalist_epochs
    images = plan.finalist_images.get(record.number)
    if images is not None:
        expected = planned = math.ceil(images / rows)
    if not math.isinf(seconds):
        pace = record.train_pace or plan.speed.seconds_per_image(record.macs or 0)
        epochs = seconds / (pace * rows)
        expected, planned = math.ceil(epochs), math.ceil(FASTER * epochs)
    most = max(MAX_EPOCHS, math.ceil(MAX_IMAGES / rows))
    expected, planned = (min(max(count, 1), most) for count in (expected, planned))
    recipe = record.candidate.recipe.lengthened(
        epochs=planned,
        expected=expected,
        times=expected * rows / (record.candidate.recipe.epochs * plan.search_rows),
        largest_batch=min(LARGEST_BATCH, max(ALWAYS_ALLOWED, rows // STEPS_AN_EPOCH)),
        augmentations=plan.space.recipe.augmentations,
    )
    if images is not None and math.isinf(seconds):  # an epoch leaves out what is no whole batch
        size = min(recipe.batch_size, rows)
        epochs = math.ceil(images / (rows // size * size))
        recipe = recipe.model_copy(update={"epochs": min(epochs, most)})
    return record.candidate.model_copy(update={"recipe": recipe})


def _for_the_race(bench: Workbench, training: Training) -> dict[str, Any]:
    """Return what a heat is compared by."""
    probabilities, rows = training.validation_probabilities, training.rows
    assert probabilities is not None
    labels, groups = rows.validation_labels, rows.validation_groups
    if bench.metric.name == "accuracy":
        return {RIGHT: Marks(probabilities.argmax(1) == labels, groups).text}
    seed = bench.seed("error of a heat")  # with which all heats draw the same rows
    draws = Draws.of(bench.metric, labels, probabilities, seed=seed, groups=groups)
    return {DRAWS: draws.written}


def _record(bench: Workbench, task: FoldTask, training: Training, files: FoldFiles) -> None:
    """Write the files, then the row that makes them count."""
    last = training.curve[-1]
    assert training.validation_probabilities is not None
    assert last.validation_score is not None
    tensors = training.weights()
    report: dict[str, Any] = {
        "epochs": round(training.schedule.step / training.batches.per_epoch, 2),
        "images": sum(epoch.images for epoch in training.curve),
        "train_loss": last.train_loss,
        "train_accuracy": last.train_accuracy,
        "train_seconds": training.seconds,
        "predict_pace": processor_pace(training),
    }
    if task.fold != ALL_ROWS:  # whose few predicted rows it has learnt
        report["validation_accuracy"] = last.validation_accuracy
        report["validation_score"] = last.validation_score
    if task.fold == JUDGING_FOLD:
        report |= _for_the_race(bench, training)
    meta = {
        "candidate": training.candidate.to_json(),
        "normalisation": {
            "mean": training.normalisation.mean,
            "std": training.normalisation.std,
        },
        "scale": None if training.scale is None else asdict(training.scale),
        "report": report,
        "curve": [asdict(epoch) for epoch in training.curve],
    }
    probabilities = training.validation_probabilities

    def write() -> None:
        write_atomically(files.weights, save_tensors(tensors))
        write_array(files.predictions, probabilities)
        write_atomically(files.meta, json.dumps(meta, indent=1).encode())

    bench.write(write)
    bench.store.folds.record(
        task,
        files=bench.files.relative(files.folder),
        score=None if task.fold == ALL_ROWS else last.validation_score,
        report=report,
    )
