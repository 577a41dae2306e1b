"""How many cores and GPUs there are here for workers, and what a process has taken of them."""

import math
import os
from pathlib import Path

from search.control_groups import group_folders

MOST_WORKERS = 8  # as many as a finalist has trainings at most: more would idle in a landing
GPU_WORKERS = 2  # while one samples, validates and writes, the other's steps have the GPU
DEVICES, NVIDIA_GPU = Path("/dev"), "nvidia[0-9]*"  # a container may be given any one of them


def usual_workers() -> int:
    """Return how many processes work here unless somebody says otherwise."""
    return min(usable_cores(), GPU_WORKERS if has_gpu() else MOST_WORKERS)


def processor_seconds() -> float:
    """Return what this process has taken of processors, with its children that have ended."""
    return sum(os.times()[:4])


def usable_cores() -> int:
    """Return how many processor cores this process may use, whole ones of a container's limit."""
    return max(1, int(min(len(os.sched_getaffinity(0)), _granted_cores())))


def has_gpu() -> bool:
    """Whether a GPU is here and may be used."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(DEVICES.glob(NVIDIA_GPU))


def _granted_cores() -> float:
    """Return how many cores' time the containers' limits leave; infinite where there is none."""
    limits = [math.inf]
    for folder in group_folders("cpu"):
        limits.append(_share(folder / "cpu.max"))
        limits.append(_share(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"))
    return min(limits)


def _share(*files: Path) -> float:
    """Return the microseconds of processor time in each period, by their files, over the period."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        most = float(quota) / float(period)  # version 2 says "max" where there is no limit,
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return most if most > 0.0 else math.inf  # version 1 a negative number
