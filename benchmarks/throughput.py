"""Throughput of training, against the tutorials' loop, a bare step, and the processor's peak.

    python benchmarks/throughput.py --quick        under a minute
    python benchmarks/throughput.py                about four minutes

Three sizes of one network train on real Fashion-MNIST with shift and flip. Arms alternate, a
slice of each in turn, so that other work on the machine meets all of them; the median slice
counts. Prints a table and, as its last line, one JSON object:

    bf16                  whether bfloat16 is used on this host
    speedup_vs_tutorial   images a second against the tutorials' loop (float32, DataLoader with
                          two workers, torchvision transforms), geometric mean over the sizes
    speedup_float32       the same, with our training forced to float32
    pipeline_overhead     our whole step against the bare step on one staged random batch
    fraction_of_peak      of a large matrix product's speed, reached by the convolutions
    sizes                 all of this for each size, and what the rest of a step is spent on
"""

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script
from torch import nn
from torch.profiler import ProfilerActivity, profile

from athanor.places import Places
from benchmarks.results import machine, print_table
from benchmarks.tutorial import loader, steps
from spaces.architecture import Architecture, Stage, Stem
from spaces.complexity import measure_complexity
from spaces.network import build_network
from spaces.recipe import Candidate, Recipe
from workers.data import ImageData, load_data
from workers.device import DevicePlan, host_speed
from workers.stepping import StepSums
from workers.training import Rows, Training

WIDTHS = (16, 32, 64)
BATCH = 256
ROWS = 20_000
PEAK_SIDE = 2048  # of the square matrices whose product is the peak
KINDS = {  # of a step's operations, by what torch calls them
    "convolution": ("convolution",),
    "norm": ("batch_norm",),
    "pooling": ("pool",),
    "activation": ("threshold", "clamp_min", "relu", "silu"),
    "gather and normalise": ("aten::index", "aten::sub", "aten::flip"),
}


def architecture(width: int) -> Architecture:
    """Return the benchmark's plain network: three stages at 14, 7 and 4 pixels."""
    return Architecture(
        stem=Stem(width=width, stride=2),
        stages=(
            Stage(depth=2, width=width, downsampling="none"),
            Stage(depth=2, width=2 * width),
            Stage(depth=2, width=4 * width),
        ),
    )


def candidate(width: int) -> Candidate:
    """Return the network with the augmentation that tutorials use, too."""
    recipe = Recipe(augmentation="flip_shift", batch_size=BATCH, learning_rate=0.05, epochs=1000)
    return Candidate(architecture=architecture(width), recipe=recipe)


def our_steps(data: ImageData, *, width: int, plan: DevicePlan) -> Iterator[int]:
    """Train for ever, yielding the images of each step."""
    training = Training(candidate(width), _rows(data), plan=plan, seed=0)
    sums = StepSums(plan.torch_device)
    for epoch in itertools.count():
        for batch in training.batches.epoch(epoch):
            training.take_step(batch, sums)
            yield BATCH


def tutorial_steps(data: ImageData, *, width: int) -> Iterator[int]:
    """Train the same network by the tutorials' loop for ever."""
    network = build_network(architecture(width), channels=1, classes=data.classes, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    batches = loader(
        data.train_images[:ROWS], data.train_labels[:ROWS], batch_size=BATCH, augmented=True
    )
    while True:
        yield from steps(network, batches, optimizer)


def bare_steps(*, width: int, plan: DevicePlan) -> Iterator[int]:
    """Train on one random batch that lies ready: the least that a step can cost."""
    training_network = build_network(architecture(width), channels=1, classes=10, seed=0)
    network = plan.place(training_network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    layout = torch.channels_last if plan.channels_last else torch.contiguous_format
    images = torch.randn(BATCH, 1, 28, 28).to(plan.torch_device, memory_format=layout)
    labels = torch.randint(0, 10, (BATCH,), device=plan.torch_device)
    while True:
        with plan.autocast():
            loss = nn.functional.cross_entropy(network(images).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield BATCH


def alternate(
    arms: dict[str, Iterator[int]], *, rounds: int, seconds: float, plan: DevicePlan
) -> dict[str, float]:
    """Run a slice of each arm in turn; return each one's median images a second."""
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        _take(arm, images=4 * BATCH)
    for _ in range(rounds):
        for name, arm in arms.items():
            speeds[name].append(_slice(arm, seconds=seconds, plan=plan))
    return {name: statistics.median(values) for name, values in speeds.items()}


def _slice(arm: Iterator[int], *, seconds: float, plan: DevicePlan) -> float:
    _synchronise(plan)
    begin = time.perf_counter()
    images = 0
    while time.perf_counter() - begin < seconds:
        images += next(arm)
    _synchronise(plan)
    return images / (time.perf_counter() - begin)


def _take(arm: Iterator[int], *, images: int) -> None:
    while images > 0:
        images -= next(arm)


def _synchronise(plan: DevicePlan) -> None:
    if plan.torch_device.type == "cuda":
        torch.cuda.synchronize()


def peak_flops(plan: DevicePlan) -> float:
    """Measure a large matrix product, in floating-point operations a second."""
    a = torch.randn(PEAK_SIDE, PEAK_SIDE, device=plan.torch_device).to(plan.torch_dtype)

    def product() -> float:
        _synchronise(plan)
        begin = time.perf_counter()
        torch.mm(a, a)
        _synchronise(plan)
        return time.perf_counter() - begin

    product()
    return 2.0 * PEAK_SIDE**3 / min(product() for _ in range(8))


def where_time_goes(data: ImageData, *, width: int, plan: DevicePlan, count: int) -> dict[str, Any]:
    """Profile some steps: each kind's share of the time, and the convolutions' speed."""
    arm = our_steps(data, width=width, plan=plan)
    _take(arm, images=4 * BATCH)
    cuda = plan.torch_device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as profiler:
        _take(arm, images=count * BATCH)
        _synchronise(plan)
    shares: dict[str, float] = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profiler.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        shares[_kind(event.key)] += spent * 1e-6
    macs = measure_complexity(architecture(width), image_shape=(28, 28, 1), classes=10).macs
    # forward, and backward for the input and the weights; the stem's input needs no gradient
    stem = 14 * 14 * 9 * width
    flops = 2.0 * (3.0 * macs - stem) * BATCH * count
    total = sum(shares.values())
    return {
        "convolution_flops": flops / shares["convolution"],
        "shares": {kind: round(spent / total, 3) for kind, spent in shares.items()},
    }


def _kind(operation: str) -> str:
    for kind, words in KINDS.items():
        if any(word in operation for word in words):
            return kind
    return "other"


def measure_size(data: ImageData, *, width: int, plan: DevicePlan, quick: bool) -> dict[str, Any]:
    """Return all figures of one size of the network."""
    float32 = plan.model_copy(update={"dtype": "float32"})
    arms = {
        "ours": our_steps(data, width=width, plan=plan),
        "float32": our_steps(data, width=width, plan=float32),
        "bare": bare_steps(width=width, plan=plan),
        "tutorial": tutorial_steps(data, width=width),
    }
    rounds, seconds = (3, 0.5) if quick else (9, 2.0)
    speeds = alternate(arms, rounds=rounds, seconds=seconds, plan=plan)
    profiled = where_time_goes(data, width=width, plan=plan, count=6 if quick else 20)
    complexity = measure_complexity(architecture(width), image_shape=(28, 28, 1), classes=10)
    return {
        "width": width,
        "mmacs": round(complexity.macs / 1e6, 2),
        "images_per_second": {name: round(speed) for name, speed in speeds.items()},
        "speedup_vs_tutorial": speeds["ours"] / speeds["tutorial"],
        "speedup_float32": speeds["float32"] / speeds["tutorial"],
        "pipeline_overhead": speeds["bare"] / speeds["ours"],
        "fraction_of_peak": profiled["convolution_flops"] / peak_flops(plan),
        "shares": profiled["shares"],
    }


def summary(sizes: list[dict[str, Any]], *, plan: DevicePlan) -> dict[str, Any]:
    """Combine the sizes: geometric means."""

    def mean(name: str) -> float:
        return round(math.exp(statistics.fmean(math.log(size[name]) for size in sizes)), 3)

    names = ("speedup_vs_tutorial", "speedup_float32", "pipeline_overhead", "fraction_of_peak")
    return {
        "bf16": plan.dtype == "bfloat16",
        **{name: mean(name) for name in names},
        "sizes": sizes,
        "machine": machine(),
    }


def plot(sizes: list[dict[str, Any]], path: Path) -> None:
    """Draw images a second of each arm and size."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    arms = ("tutorial", "float32", "ours", "bare")
    for index, arm in enumerate(arms):
        places = [position + 0.2 * index for position in range(len(sizes))]
        axes.bar(places, [size["images_per_second"][arm] for size in sizes], 0.18, label=arm)
    axes.set_xticks(
        [position + 0.3 for position in range(len(sizes))],
        [f"width {size['width']}\n{size['mmacs']:g} MMACs" for size in sizes],
    )
    axes.set_ylabel("images a second, training")
    axes.legend()
    figure.savefig(path, dpi=120)


def _rows(data: ImageData) -> Rows:
    return Rows(
        train_images=data.train_images[:ROWS],
        train_labels=data.train_labels[:ROWS],
        validation_images=data.train_images[:BATCH],
        validation_labels=data.train_labels[:BATCH],
        classes=data.classes,
    )


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--plot", type=Path, help="picture of the speeds; needs matplotlib")
    options = parser.parse_args()
    cache = Places.of(None, None).cache
    data = load_data("fashion-mnist", cache=cache)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    _, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    if options.prepare:
        return
    sizes = []
    for width in WIDTHS:
        print(f"width {width}", file=sys.stderr)
        sizes.append(measure_size(data, width=width, plan=plan, quick=options.quick))
    flat = [{**size, **size["images_per_second"]} for size in sizes]
    names = ("width", "mmacs", "tutorial", "float32", "ours", "bare", "speedup_vs_tutorial")
    print_table(flat, (*names, "speedup_float32", "pipeline_overhead", "fraction_of_peak"))
    print_table(
        [{"width": size["width"], **size["shares"]} for size in sizes], ("width", *KINDS, "other")
    )
    figures = summary(sizes, plan=plan)
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot is not None:
        plot(sizes, options.plot)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
