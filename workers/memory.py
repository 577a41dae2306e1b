"""How much memory a training step may take here, and into how many pieces a batch is cut for it."""

import os
from pathlib import Path

import torch

from search.plan import Plan
from spaces.memory import StepMemory, measure_step_memory
from spaces.recipe import Candidate
from workers.device import DevicePlan

USED_SHARE = 0.8  # of the free memory; the rest is for the data, files and other programs
MARGIN = 1.3  # of the prediction: measured peaks were 0.8 to 1.1 of it
WORKSPACE = 128 * 2**20  # bytes of kernels and their scratch space, as measured
SMALLEST_PIECE = 16  # images; batch norm's statistics of fewer are mostly noise
CGROUP = Path("/sys/fs/cgroup")


def memory_for_steps(plan: DevicePlan, *, workers: int) -> int:
    """Return the bytes that each of so many workers may use for its training steps."""
    if plan.torch_device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(plan.torch_device)
    else:
        free = min(_free_memory(), _free_in_group())
    return int(USED_SHARE * free / workers)


def batch_pieces(candidate: Candidate, plan: Plan) -> tuple[int, float]:
    """Return into how many pieces a batch must be cut so that each fits into the plan's memory.

    The second number says by how much even the smallest piece exceeds it, as a share; at most
    0 fits.
    """
    limit = plan.limits.memory
    if limit is None:
        return 1, -1.0
    memory = step_memory(candidate, plan)
    batch = min(candidate.recipe.batch_size, plan.search_rows)
    pieces = 1
    while predicted_peak(memory, images=-(-batch // pieces)) > limit:
        if batch // (2 * pieces) < SMALLEST_PIECE:
            peak = predicted_peak(memory, images=min(batch, SMALLEST_PIECE))
            return pieces, peak / limit - 1.0
        pieces *= 2
    return pieces, predicted_peak(memory, images=min(batch, SMALLEST_PIECE)) / limit - 1.0


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
    """Return what the container's limit leaves; as much as anything where there is none."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return 2**62
    return 2**62 if limit == "max" else max(0, int(limit) - used)
