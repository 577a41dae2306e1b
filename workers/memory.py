"""How much memory a training step may take here, and into how many pieces a batch is cut for it."""

import os
from pathlib import Path

import torch

from search.control_groups import group_folders
from search.plan import Plan
from spaces.memory import StepMemory, measure_step_memory
from spaces.recipe import Candidate
from workers.device import DevicePlan

USED_SHARE = 0.8  # of the free memory; the rest is for the data, files and other programs
MARGIN = 1.5  # of the count: measured peaks were 1.1 to 1.5 of it, as a heap has gaps
WORKSPACE = 128 * 2**20  # bytes of kernels and their scratch space, as measured
SMALLEST_PIECE = 16  # images; batch norm's statistics of fewer are mostly noise
LEAST = 2 * WORKSPACE  # bytes; with less one can but try
UNLIMITED = 2**62


def memory_for_steps(plan: DevicePlan, *, workers: int) -> int:
    """Return the bytes that each of so many workers may use for its training steps."""
    if plan.on_gpu:
        free, _ = torch.cuda.mem_get_info(plan.torch_device)
    else:
        free = min(_free_memory(), _free_in_group())
    return max(LEAST, int(USED_SHARE * free / workers))


def batch_pieces(candidate: Candidate, plan: Plan, *, rows: int) -> tuple[int, float]:
    """Return into how many pieces a batch must be cut so that each fits into the plan's memory.

    The second number says by how much even the smallest piece exceeds it, as a share; at most
    0 fits.

    Args:
        rows: that are trained on; no batch is larger.
    """
    limit = plan.limits.memory
    if limit is None:
        return 1, -1.0
    memory = step_memory(candidate, plan)
    batch = min(candidate.recipe.batch_size, rows)
    peaks = {1: predicted_peak(memory, images=batch)}
    while batch // (2 * max(peaks)) >= SMALLEST_PIECE:
        pieces = 2 * max(peaks)
        peaks[pieces] = predicted_peak(memory, images=-(-batch // pieces))
    most = max(peaks)
    fewest = next((pieces for pieces, peak in peaks.items() if peak <= limit), most)
    return fewest, peaks[most] / limit - 1.0


def step_memory(candidate: Candidate, plan: Plan) -> StepMemory:
    """Count a candidate's training step as the plan computes it."""
    recipe = candidate.recipe
    states = 3 if recipe.optimizer == "adamw" else 2
    return measure_step_memory(
        candidate.architecture,
        image_shape=plan.image_shape,
        classes=plan.classes,
        dtype=DevicePlan.from_json(plan.device).torch_dtype,
        states=states + (recipe.averaging != "none"),
    )


def predicted_peak(memory: StepMemory, *, images: int) -> int:
    """Return the bytes that a step on so many images is expected to take, with a margin."""
    return WORKSPACE + int(MARGIN * memory.of(images))


def _free_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _free_in_group() -> int:
    """Return what the containers' limits leave; as much as anything where there is none."""
    folders = group_folders("memory")
    second = [_left(f / "memory.max", f / "memory.current", f / "memory.stat") for f in folders]
    first = [
        _left(f / "memory.limit_in_bytes", f / "memory.usage_in_bytes", f / "memory.stat")
        for f in folders
    ]
    return min(first + second, default=UNLIMITED)


def _left(limit: Path, used: Path, statistics: Path) -> int:
    """Return what a group's limit leaves: files that are only cached can be dropped."""
    try:
        most = int(limit.read_text())  # version 2 says "max" where there is no limit
        taken = int(used.read_text())
        fields = dict(line.split() for line in statistics.read_text().splitlines())
    except (OSError, ValueError):
        return UNLIMITED
    names = ("total_inactive_file", "total_active_file")  # version 1, with groups below
    if names[0] not in fields:
        names = ("inactive_file", "active_file")
    cached = sum(int(fields.get(name, 0)) for name in names)
    return most - taken + min(cached, taken)
