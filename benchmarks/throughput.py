"""Throughput of training, against the tutorials' loop, a bare step, and the processor's peak.

    python benchmarks/throughput.py --quick        under a minute
    python benchmarks/throughput.py                about five minutes
    python benchmarks/throughput.py --compiled     eight; needs a C++ compiler

Three sizes of one network (0.08, 0.3 and 1.2 million parameters) learn real Fashion-MNIST with
shift and flip. On processors we train as a search does, one process with one thread a core, and
the tutorials' loop as its users run it: one process that has all threads, and two workers for its
data. Arms alternate, a slice of each in turn, so that other work on the machine meets all of them;
the median slice counts. Prints a table and, as its last line, one JSON object:

    bf16                  whether bfloat16 is used on this host
    speedup_vs_tutorial   images a second against the tutorials' loop (float32, DataLoader with
                          two workers, torchvision transforms), geometric mean over the sizes
    speedup_float32       the same, with our training forced to float32 (on a GPU without TF32,
                          which the tutorials' loop has)
    speedup_one_process   the same as the first, in one process that has all threads, as the
                          tutorials' loop has them (not with --quick)
    speedup_huge_pages    our training in huge pages of memory against the system's usual ones (not
                          with --quick)
    pipeline_overhead     our whole step against the bare step on one staged random batch
    fraction_of_peak      of a large matrix product's speed, reached by the convolutions
    sizes                 all of this for each size, and what the rest of a step is spent on
    compile_speedup       the bare step compiled by torch.compile against the bare step, and
    compile_seconds       what a network's compilation takes (both only with --compiled)
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script
from athanor.places import Places
from benchmarks.arms import (
    BATCH,
    WARM_UP_STEPS,
    Processes,
    architecture,
    our_steps,
    take,
)
from benchmarks.results import machine, print_table
from benchmarks.side_by_side import environment
from spaces.complexity import measure_complexity
from workers.data import ImageData, load_data
from workers.device import DevicePlan
from workers.host_speed import host_speed

WIDTHS = (16, 32, 64)
SETTLE_SECONDS = 1.0  # in which the tutorials' loaders fill their queues again
PEAK_SIDE = 2048  # of the square matrices whose product is the peak
RATIOS = (
    "speedup_vs_tutorial",
    "speedup_float32",
    "speedup_one_process",
    "speedup_huge_pages",
    "pipeline_overhead",
    "fraction_of_peak",
    "compile_speedup",
)
KINDS = {  # of a step's operations, by what torch calls them
    "convolution": ("convolution",),
    "norm": ("batch_norm",),
    "pooling": ("pool", "aten::fill_"),  # the gradient of max pooling begins with zeros
    "activation": ("threshold", "clamp_min", "relu", "silu"),
    "gather and normalise": ("aten::index", "aten::sub", "aten::flip"),
    "optimizer": ("Optimizer", "_foreach"),
}


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast each arm trains one size of the network.

    Attributes:
        images_per_second: the median slice of each arm.
        warm_up: seconds of each arm's first steps, compilation included.
    """

    images_per_second: dict[str, float]
    warm_up: dict[str, float]


def measure_speeds(
    plan: DevicePlan, *, slots: int, quick: bool, compiled: bool
) -> dict[int, Speeds]:
    """Measure all arms on each size; slices alternate.

    Args:
        slots: of our processes that train at a time.
        compiled: whether torch.compile is measured, too.
    """
    cores = len(os.sched_getaffinity(0))
    float32 = plan.model_copy(update={"dtype": "float32"})
    ours = Processes(count=slots, threads=1)
    tutorial = Processes(count=1, threads=None)
    started = [ours, tutorial]
    arms = {
        "ours": (ours, "ours", plan),
        "float32": (ours, "ours", float32),
        "bare": (ours, "bare", plan),
        "tutorial": (tutorial, "tutorial", float32),
    }
    if not quick:
        one = Processes(count=1, threads=cores)
        usual = Processes(count=slots, threads=1, variables={"GLIBC_TUNABLES": ""})
        started += [one, usual]
        arms["one_process"] = (one, "ours", plan)
        arms["usual_pages"] = (usual, "ours", plan)
    if compiled:
        arms["compiled"] = (ours, "compiled", plan)
    rounds, seconds = (3, 0.3) if quick else (9, 2.0)
    measured: dict[int, Speeds] = {}
    for width in WIDTHS:
        print(f"width {width}", file=sys.stderr)
        warm_up: dict[str, float] = {}
        for name, (processes, loop, how) in arms.items():
            begin = time.perf_counter()
            processes.images_per_second(loop, width=width, plan=how, seconds=0.0)
            warm_up[name] = time.perf_counter() - begin
        speeds: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(rounds):
            for name, (processes, loop, how) in arms.items():
                speed = processes.images_per_second(loop, width=width, plan=how, seconds=seconds)
                speeds[name].append(speed)
                if loop == "tutorial":
                    time.sleep(SETTLE_SECONDS)
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        measured[width] = Speeds(medians, warm_up)
    for processes in started:
        processes.close()
    return measured


def peak_flops(plan: DevicePlan) -> float:
    """Measure a large matrix product, in floating-point operations a second."""
    a = torch.randn(PEAK_SIDE, PEAK_SIDE, device=plan.torch_device).to(plan.torch_dtype)

    def product() -> float:
        plan.wait()
        begin = time.perf_counter()
        torch.mm(a, a)
        plan.wait()
        return time.perf_counter() - begin

    product()
    return 2.0 * PEAK_SIDE**3 / min(product() for _ in range(4))


def where_time_goes(data: ImageData, *, width: int, plan: DevicePlan, count: int) -> dict[str, Any]:
    """Profile some steps on one thread: each kind's share, and the convolutions' speed."""
    loop = our_steps(data, width, plan)
    cuda = plan.on_gpu
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    # the kernels of a CUDA graph belong to no operation
    with patch("workers.cuda_graphs.EAGER_STEPS", sys.maxsize):
        take(loop, count=WARM_UP_STEPS)
        with profile(activities=activities) as profiler:
            take(loop, count=count)
            plan.wait()
    shares: dict[str, float] = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profiler.key_averages():
        if event.device_type.name != "CPU":
            continue  # a kernel, whose time its operation has as well
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


def describe_size(
    speeds: Speeds, data: ImageData, *, width: int, plan: DevicePlan, count: int
) -> dict[str, Any]:
    """Return all figures of one size of the network."""
    profiled = where_time_goes(data, width=width, plan=plan, count=count)
    complexity = measure_complexity(architecture(width), image_shape=(28, 28, 1), classes=10)
    median = speeds.images_per_second
    more = {}
    if "one_process" in median:
        more["speedup_one_process"] = median["one_process"] / median["tutorial"]
        more["speedup_huge_pages"] = median["ours"] / median["usual_pages"]
    if "compiled" in median:
        more["compile_speedup"] = median["compiled"] / median["bare"]
        more["compile_seconds"] = speeds.warm_up["compiled"]
    return {
        "width": width,
        "parameters": complexity.parameters,
        "mmacs": round(complexity.macs / 1e6, 2),
        "images_per_second": {name: round(speed) for name, speed in median.items()},
        "speedup_vs_tutorial": median["ours"] / median["tutorial"],
        "speedup_float32": median["float32"] / median["tutorial"],
        "pipeline_overhead": median["bare"] / median["ours"],
        "fraction_of_peak": profiled["convolution_flops"] / peak_flops(plan),
        **more,
        "shares": profiled["shares"],
    }


def summary(sizes: list[dict[str, Any]], *, plan: DevicePlan) -> dict[str, Any]:
    """Combine the sizes: geometric means."""

    def mean(name: str) -> float:
        return round(math.exp(statistics.fmean(math.log(size[name]) for size in sizes)), 3)

    names = [name for name in (*RATIOS, "compile_seconds") if name in sizes[0]]
    return {
        "bf16": plan.dtype == "bfloat16",
        **{name: mean(name) for name in names},
        "sizes": sizes,
        "machine": machine(),
    }


def plot(sizes: list[dict[str, Any]], path: Path) -> None:
    """Draw the speed of each arm and size, as a multiple of the tutorials' loop."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    arms = ("tutorial", "float32", "one_process", "ours", "bare", "compiled")
    known = [arm for arm in arms if arm in sizes[0]["images_per_second"]]
    for index, arm in enumerate(known):
        places = [position + 0.16 * index for position in range(len(sizes))]
        speeds = [size["images_per_second"] for size in sizes]
        heights = [speed[arm] / speed["tutorial"] for speed in speeds]
        axes.bar(places, heights, 0.15, label=arm.replace("_", " "))
    axes.set_xticks(
        [position + 0.32 for position in range(len(sizes))],
        [f"width {size['width']}\n{size['mmacs']:g} MMACs" for size in sizes],
    )
    axes.set_ylabel("images a second, times the tutorials' loop")
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--compiled", action="store_true", help="measure torch.compile, too")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--slots", type=int, help="our processes; one a core, or one on a GPU")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--plot", type=Path, help="picture of the speeds")
    options = parser.parse_args()
    cache = Places.of(None, None).cache
    data = load_data("fashion-mnist", cache=cache)
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # as our workers compute
    _, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    if options.prepare:
        return
    slots = options.slots or (1 if plan.on_gpu else len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as cold, environment({"TORCHINDUCTOR_CACHE_DIR": cold}):
        speeds = measure_speeds(plan, slots=slots, quick=options.quick, compiled=options.compiled)
    profiled = 3 if options.quick else 20
    sizes = [
        describe_size(speeds[width], data, width=width, plan=plan, count=profiled)
        for width in WIDTHS
    ]
    flat = [{**size, **size["images_per_second"]} for size in sizes]
    print_table(flat, ("width", "mmacs", *sizes[0]["images_per_second"]))
    print_table(sizes, ("width", *(ratio for ratio in RATIOS if ratio in sizes[0])))
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
