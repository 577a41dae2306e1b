"""How long a network takes to predict a batch, measured where it is trained."""

import time

import torch

from spaces.architecture import Architecture
from spaces.network import build_network
from workers.device import DevicePlan

LATENCY_SECONDS = 0.3  # to measure for
FEWEST_PASSES = 5
LONGEST_SECONDS = 3.0


def measure_latency(
    architecture: Architecture,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    batch: int,
    plan: DevicePlan,
) -> float:
    """Return the seconds to predict `batch` images of (height, width, channels), all views.

    Other work on the host only ever slows a pass down, so the lower quartile of many is taken.
    Weights are random: they do not change the time.
    """
    height, width, channels = image_shape
    network = build_network(architecture, channels=channels, classes=classes, seed=0)
    placed = plan.place(network).eval()
    images = torch.zeros(batch, channels, height, width, device=plan.torch_device)
    if plan.channels_last:
        images = images.to(memory_format=torch.channels_last)
    times: list[float] = []
    with torch.inference_mode(), plan.autocast():
        placed(images)  # the first pass chooses and compiles kernels
        begin = time.perf_counter()
        while _goes_on(len(times), time.perf_counter() - begin):
            before = time.perf_counter()
            placed(images).float().sum().item()  # waits for a GPU
            times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 4]


def _goes_on(passes: int, seconds: float) -> bool:
    """Whether there are too few passes yet; of a very slow one a second says enough."""
    if seconds >= LONGEST_SECONDS:
        return passes == 0
    return passes < FEWEST_PASSES or seconds < LATENCY_SECONDS
