"""A step's memory is predicted before it is taken, and a batch is cut so that it fits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from search.folds import Folds
from search.plan import Plan
from search.store import StudyStore
from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.limits import Limits
from spaces.memory import measure_step_memory
from spaces.recipe import Candidate, Recipe
from tests.command import athanor, on_one_core, result_of
from workers.batches import Normalisation
from workers.device import DevicePlan
from workers.environment import thread_environment
from workers.evaluation import PIXELS, predict
from workers.memory import (
    LEAST,
    SMALLEST_PIECE,
    USED_SHARE,
    WORKSPACE,
    batch_pieces,
    memory_for_steps,
    predicted_peak,
    step_memory,
)

NETWORK = Architecture(
    stem=Stem(width=16), stages=(Stage(width=16, depth=2), Stage(width=32, depth=2))
)

# Prints by how many bytes steps on 1024 images let a process grow.
MEASURE = """
import json, sys
import numpy as np
import torch
from pathlib import Path
from spaces.recipe import Candidate
from workers.device import DevicePlan
from workers.rows import Rows
from workers.training import Training

candidate, dtype = Candidate.from_json(json.loads(sys.argv[1])), sys.argv[2]
torch.set_num_threads(1)

def peak():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
    return int(line.split()[1]) * 1024

def step(count):
    recipe = candidate.recipe.model_copy(update={"batch_size": count})
    images = np.zeros((count, 28, 28, 1), np.uint8)
    labels = np.arange(count) % 10
    rows = Rows(images, labels, images[:1], labels[:1], 10)
    plan = DevicePlan(dtype=dtype)
    training = Training(candidate.model_copy(update={"recipe": recipe}), rows, plan=plan, seed=0)
    for batch in training.batches.one_pass():
        training.take_step(batch)
    return peak()

small = step(16)
for _ in range(3):
    peak_bytes = step(1024)
print(peak_bytes - small)
"""


def plan_with(memory: int | None, *, dtype: str = "float32") -> Plan:
    return Plan.model_construct(
        limits=Limits(memory=memory),
        image_shape=(28, 28, 1),
        classes=10,
        device=DevicePlan.model_validate({"dtype": dtype}).to_json(),
    )


def candidate_of(**recipe: object) -> Candidate:
    return Candidate(architecture=NETWORK, recipe=Recipe.from_json(recipe))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_takes_what_was_counted_and_no_more_than_predicted(dtype: str) -> None:
    candidate = candidate_of(batch_size=64)
    arguments = [sys.executable, "-c", MEASURE, json.dumps(candidate.to_json()), dtype]
    environment = thread_environment(1)  # a worker's; it says how freed memory is kept
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    memory = step_memory(candidate, plan_with(None, dtype=dtype))
    assert 0.9 * memory.of(1024) < int(done.stdout) < predicted_peak(memory, images=1024)


def test_weights_optimizer_and_averages_are_counted() -> None:
    plain = step_memory(candidate_of(optimizer="sgd"), plan_with(None))
    adamw = step_memory(candidate_of(optimizer="adamw"), plan_with(None))
    averaged = step_memory(candidate_of(optimizer="adamw", averaging="ema"), plan_with(None))
    parameters = (adamw.fixed - plain.fixed) // 4
    assert plain.fixed == parameters * 16  # weight, gradient, momentum, and the copy to compute
    assert averaged.fixed - adamw.fixed == 4 * parameters
    assert plain.per_image == adamw.per_image == averaged.per_image


def test_the_count_of_a_small_network_is_that_by_hand() -> None:
    tiny = Architecture(stem=Stem(width=4), stages=(Stage(width=4, depth=1, downsampling="none"),))
    memory = measure_step_memory(
        tiny, image_shape=(8, 8, 1), classes=3, dtype=torch.float32, states=2
    )
    map_bytes = 8 * 8 * 4 * 4  # of an activation with 4 channels
    # two convolutions keep their input, two norms theirs, two activations their output, which
    # for the first is the second convolution's input; the pooled image is small
    assert memory.per_image - map_bytes == pytest.approx(4 * map_bytes + 8 * 8 * 4, rel=0.1)


def test_the_weights_of_a_wide_layer_are_not_counted_with_each_image() -> None:
    def per_image(*hidden: int) -> int:
        made = NETWORK.model_copy(update={"head": Head(hidden=hidden)})
        shape = (28, 28, 1)
        return measure_step_memory(
            made, image_shape=shape, classes=10, dtype=torch.float32, states=2
        ).per_image

    assert 0 < per_image(4096) - per_image() < 4096 * 4 * 8  # some rows of activations


def test_a_batch_is_cut_until_its_pieces_fit() -> None:
    candidate = candidate_of(batch_size=256)
    memory = step_memory(candidate, plan_with(None))
    assert batch_pieces(candidate, plan_with(None), rows=10_000) == (1, -1.0)
    assert (
        batch_pieces(candidate, plan_with(predicted_peak(memory, images=256)), rows=10_000)[0] == 1
    )
    assert (
        batch_pieces(candidate, plan_with(predicted_peak(memory, images=255)), rows=10_000)[0] == 2
    )
    pieces, excess = batch_pieces(
        candidate, plan_with(predicted_peak(memory, images=40)), rows=10_000
    )
    assert pieces == 8 and excess < 0.0
    hundred = plan_with(predicted_peak(memory, images=100))
    assert batch_pieces(candidate, hundred, rows=100)[0] == 1  # no batch is larger than the rows


def test_the_smallest_piece_is_one_that_can_be_reached() -> None:
    candidate = candidate_of(batch_size=48)
    memory = step_memory(candidate, plan_with(None))
    for images, fits in ((24, True), (23, False)):
        plan = plan_with(predicted_peak(memory, images=images))
        pieces, excess = batch_pieces(candidate, plan, rows=10_000)
        assert pieces == 2 and (excess <= 0.0) is fits


def test_what_does_not_fit_in_the_smallest_piece_is_over_the_limit() -> None:
    candidate = candidate_of(batch_size=256)
    smallest = predicted_peak(step_memory(candidate, plan_with(None)), images=SMALLEST_PIECE)
    assert batch_pieces(candidate, plan_with(smallest), rows=10_000)[1] == 0.0
    assert batch_pieces(candidate, plan_with(smallest // 2), rows=10_000)[1] == pytest.approx(
        1.0, rel=1e-3
    )


def test_workers_share_the_free_memory() -> None:
    one = memory_for_steps(DevicePlan(), workers=1)
    four = memory_for_steps(DevicePlan(), workers=4)
    assert one > 2**28
    assert four == pytest.approx(one / 4, rel=0.2)  # other programs come and go


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "max", "memory.current": "5", "memory.stat": ""}, None),
        (
            {
                "memory.max": str(8 * 2**30),
                "memory.current": str(7 * 2**30),
                "memory.stat": f"anon 1\ninactive_file {2**30}\nactive_file {2 * 2**30}\n",
            },
            4 * 2**30,
        ),
        (
            {
                "memory/memory.limit_in_bytes": str(4 * 2**30),
                "memory/memory.usage_in_bytes": str(3 * 2**30),
                "memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {2**29}\n",
            },
            3 * 2**29,
        ),
        (
            {
                "memory.max": "max",
                "memory.current": "5",
                "memory.stat": "",
                "own/memory.max": str(2**30),
                "own/memory.current": str(2**30),
                "own/memory.stat": "",
            },
            0,
        ),
    ],
)
def test_a_containers_limit_counts(
    files: dict[str, str], left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "cgroup").write_text("0::/own\n3:cpu,memory:/elsewhere\n")
    without = memory_for_steps(DevicePlan(), workers=1)
    monkeypatch.setattr("search.control_groups.ROOT", tmp_path)
    monkeypatch.setattr("search.control_groups.OWN", tmp_path / "cgroup")
    found = memory_for_steps(DevicePlan(), workers=1)
    if left is None:
        assert found == pytest.approx(without, rel=0.2)
    else:
        assert found == max(LEAST, int(USED_SHARE * left))


def test_predicting_large_images_takes_them_in_small_batches() -> None:
    counts = []

    class Counting(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            counts.append(len(images))
            return images.mean((2, 3)).repeat(1, 2)

    images = np.zeros((30, 512, 512, 1), np.uint8)
    normalisation = Normalisation((0.0,), (1.0,))
    predict(Counting(), images, normalisation=normalisation, plan=DevicePlan())
    assert sum(counts) == 30 and max(counts) * 512 * 512 <= PIXELS


@pytest.mark.slow
def test_a_search_with_little_memory_leaves_out_what_does_not_fit(tmp_path: Path) -> None:
    memory = WORKSPACE + 600_000
    job = f"data: digits\ntrials: 4\nworkers: 1\nfolds: 2\nsearch_epochs: 1\nmax_memory: {memory}\n"
    space = "space: {width: [8, 64], stages: [2, 3], depth: [1, 2]}\n"
    (tmp_path / "job.yaml").write_text(job + space)
    search = ("search", "job.yaml", "--out", "best", "--json")
    found = result_of(athanor(*search, cwd=tmp_path, start=on_one_core()))
    store = StudyStore(f"sqlite:///{tmp_path}/athanor-runs/athanor.db")
    records = store.trials(store.jobs.get(found["job"])).records()
    notes = [record.note for record in records if record.state == "infeasible"]
    assert any(f"a step's memory, limit {memory:,} bytes" in note for note in notes)
    assert sum(record.state == "complete" for record in records) >= 1
    assert found["state"] == "done"
    folder = tmp_path / "athanor-runs" / "artifacts" / found["job"]
    assert len(Folds.load(next(folder.glob("**/folds*.npz"))).folds) == 3
