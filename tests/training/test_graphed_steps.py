"""When a step is recorded, and what is done where it cannot be; recording itself needs a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from workers.batches import Batch
from workers.cuda_graphs import EAGER_STEPS, GraphedSteps


class Graph:
    """Stands in for a CUDA graph: notes how often its kernels were started."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1

    def pool(self) -> int:
        return id(self)


class Recorder:
    """Stands in for torch's recording."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.graphs: list[Graph] = []
        self.pools: list[int | None] = []
        self.batches: list[Batch] = []

    @contextmanager
    def graph(self, graph: Graph, *, pool: int | None, **_: Any) -> Iterator[None]:
        self.graphs.append(graph)
        self.pools.append(pool)
        yield

    def step(self, batch: Batch) -> None:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.batches.append(batch)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr("torch.cuda.CUDAGraph", Graph)
    monkeypatch.setattr("torch.cuda.graph", made.graph)
    return made


def batch(value: float, count: int = 4, **more: Any) -> Batch:
    labels = torch.full((count,), round(value))
    return Batch(torch.full((count, 1, 2, 2), float(value)), labels, **more)


def test_after_some_steps_one_is_recorded_and_repeated(recorder: Recorder) -> None:
    steps = GraphedSteps()
    taken = [steps.take(recorder.step, batch(number)) for number in range(EAGER_STEPS + 3)]
    assert taken == [False] * EAGER_STEPS + [True] * 3 and steps.recorded == 1
    (graph,), (held,) = recorder.graphs, recorder.batches
    assert graph.replays == 3
    assert (held.images == EAGER_STEPS + 2).all() and (held.labels == EAGER_STEPS + 2).all()


@pytest.mark.parametrize(
    "other",
    [
        {"count": 5},
        {"weights": torch.ones(4)},
        {"other_labels": torch.zeros(4), "share": torch.tensor(0.3)},
        {"other_labels": torch.zeros(4), "share": 0.3},
    ],
    ids=["fewer", "weighed", "mixed", "mixed by a number"],
)
def test_batches_of_another_form_have_a_graph_of_their_own(
    recorder: Recorder, other: dict[str, Any]
) -> None:
    steps = GraphedSteps()
    for number in range(EAGER_STEPS + 1):
        steps.take(recorder.step, batch(number))
        steps.take(recorder.step, batch(number, **other))
    assert steps.recorded == 2
    first, second = recorder.graphs
    assert recorder.pools == [None, first.pool()]  # of memory, which they use in turn
    steps.take(recorder.step, batch(9.0))
    assert (first.replays, second.replays) == (2, 1)


def test_what_a_number_says_is_a_part_of_the_form(recorder: Recorder) -> None:
    steps = GraphedSteps()
    for share in (0.1, 0.2, 0.3, 0.4, 0.5):
        assert not steps.take(recorder.step, batch(1.0, other_labels=torch.zeros(4), share=share))


def test_what_cannot_be_recorded_is_tried_once(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.fails = True
    steps = GraphedSteps()
    taken = [steps.take(recorder.step, batch(number)) for number in range(EAGER_STEPS + 3)]
    assert not any(taken) and steps.recorded == 0 and len(recorder.graphs) == 1
    assert [record.message for record in caplog.records] == [
        "steps are taken without a CUDA graph: operation not permitted when stream is capturing"
    ]
