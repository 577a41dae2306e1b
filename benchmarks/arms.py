"""The training loops that `throughput.py` compares, in processes that wait for their turn.

An arm's processes wait until they are asked for a slice: so many seconds of training of one
network. Thus arms alternate on an otherwise idle machine, each with the threads and the
environment that its users have.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing import get_context, get_start_method, set_start_method
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch
from torch import nn

from benchmarks.side_by_side import environment, fashion_mnist
from spaces.architecture import Architecture, Stage, Stem
from spaces.network import build_network
from spaces.recipe import Candidate, Recipe
from workers.batches import Batch
from workers.data import ImageData
from workers.device import DevicePlan
from workers.environment import thread_environment
from workers.optimization import make_optimizer
from workers.rows import Rows
from workers.stepping import Stepper
from workers.training import Training

BATCH = 256
ROWS = 20_000
WARM_UP_STEPS = 2  # the first one builds the kernels
PREFETCHED = 4  # batches that lie ready when a slice of the tutorials' loop begins: two a loader

Loop = Callable[[ImageData, int, DevicePlan], Iterator[int]]


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


def our_steps(data: ImageData, width: int, plan: DevicePlan) -> Iterator[int]:
    """Train as our workers do for ever, yielding the images of each step."""
    return steps_on(_rows(data), width, plan)


def steps_on(rows: Rows, width: int, plan: DevicePlan) -> Iterator[int]:
    """The same, on rows that are given."""
    # the augmentation of the tutorials: shift, as a crop of a padded image is one, and flip
    recipe = Recipe(augmentation="flip_shift", batch_size=BATCH, learning_rate=0.05, epochs=1000)
    candidate = Candidate(architecture=architecture(width), recipe=recipe)
    training = Training(candidate, rows, plan=plan, seed=0)
    while True:
        for batch in training.batches.one_pass():
            training.take_step(batch)
            yield BATCH


def tutorial_steps(data: ImageData, width: int, plan: DevicePlan) -> Iterator[int]:
    """Train the same network by the tutorials' loop for ever; of the plan, only the device."""
    from benchmarks.tutorial import loader, steps  # torchvision takes seconds to import

    network = build_network(architecture(width), channels=1, classes=data.classes, seed=0)
    network.to(plan.torch_device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    batches = loader(
        data.train_images[:ROWS], data.train_labels[:ROWS], batch_size=BATCH, augmented=True
    )
    while True:
        yield from steps(network, batches, optimizer, device=plan.torch_device)


def bare_steps(
    data: ImageData, width: int, plan: DevicePlan, *, compiled: bool = False
) -> Iterator[int]:
    """Train on one random batch that lies ready: the least that a step can cost."""
    built = build_network(architecture(width), channels=1, classes=data.classes, seed=0)
    network: nn.Module = plan.place(built).train()
    layout = torch.channels_last if plan.channels_last else torch.contiguous_format
    images = torch.randn(BATCH, 1, 28, 28).to(plan.torch_device, memory_format=layout)
    labels = torch.randint(0, data.classes, (BATCH,), device=plan.torch_device)
    if plan.on_gpu and not compiled:  # where a bare step is one by a CUDA graph
        recipe = Recipe(learning_rate=0.05)
        stepper = Stepper(network, make_optimizer(network, recipe), recipe=recipe, plan=plan)
        while True:
            stepper.step(Batch(images, labels))
            yield BATCH
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    if compiled:
        network.compile()
    while True:
        with plan.autocast():
            loss = nn.functional.cross_entropy(network(images).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield BATCH


LOOPS: dict[str, Loop] = {
    "ours": our_steps,
    "bare": bare_steps,
    "compiled": partial(bare_steps, compiled=True),
    "tutorial": tutorial_steps,
}


class Processes:
    """Processes that train side by side, a slice at a time.

    Args:
        count: how many.
        threads: of each process; None leaves them, and the whole environment, as they are.
        variables: of the environment that are to be other than a worker's.
    """

    def __init__(
        self, *, count: int, threads: int | None, variables: Mapping[str, str] | None = None
    ) -> None:
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        context = get_context("spawn")
        told = {} if threads is None else thread_environment(threads)
        with environment({**told, **(variables or {})}):
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, threads, get_start_method()))
                process.start()
                self._connections.append(ours)
                self._processes.append(process)

    def images_per_second(
        self, loop: str, *, width: int, plan: DevicePlan, seconds: float
    ) -> float:
        """Train so long in all processes at once; return their speeds' sum."""
        for connection in self._connections:
            connection.send((loop, width, plan, seconds))
        return float(sum(connection.recv() for connection in self._connections))

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.send(None)
        for process in self._processes:
            process.join()


def _serve(connection: Connection, threads: int | None, start_method: str) -> None:
    """Answer requests for slices until a None comes."""
    set_start_method(start_method, force=True)  # data loaders start as they do in a script
    if threads is not None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False  # as our workers compute
    data = fashion_mnist()
    running: dict[tuple[str, int, DevicePlan], Iterator[int]] = {}
    while (request := connection.recv()) is not None:
        name, width, plan, seconds = request
        key = (name, width, plan)
        if key not in running:
            running[key] = LOOPS[name](data, width, plan)
            take(running[key], count=WARM_UP_STEPS)
        if name == "tutorial":
            take(running[key], count=PREFETCHED)
        connection.send(_slice(running[key], seconds=seconds, plan=plan))


def _slice(loop: Iterator[int], *, seconds: float, plan: DevicePlan) -> float:
    plan.wait()
    begin = time.perf_counter()
    images = 0
    while time.perf_counter() - begin < seconds:
        images += next(loop)
    plan.wait()
    return images / (time.perf_counter() - begin)


def take(loop: Iterator[int], *, count: int) -> None:
    """Take so many steps."""
    for _ in range(count):
        next(loop)


def _rows(data: ImageData) -> Rows:
    return Rows(
        train_images=data.train_images[:ROWS],
        train_labels=data.train_labels[:ROWS],
        validation_images=data.train_images[:BATCH],
        validation_labels=data.train_labels[:BATCH],
        classes=data.classes,
    )
