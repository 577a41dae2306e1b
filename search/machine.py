"""How many cores and GPUs there are here for workers."""

import os
from pathlib import Path

GPU_WORKERS = 2  # the steps of one fill the gaps of the other
NVIDIA_GPU = Path("/dev/nvidia0")


def usual_workers() -> int:
    """Return how many processes work here unless somebody says otherwise."""
    return min(usable_cores(), GPU_WORKERS) if has_gpu() else usable_cores()


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def has_gpu() -> bool:
    """Whether a GPU is here and may be used."""
    return NVIDIA_GPU.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
