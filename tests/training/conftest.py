"""What all trainings share: one thread, few rows."""

from collections.abc import Iterator

import pytest
import torch

from tests.training.harness import digits
from workers.rows import Rows


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On one thread sums are added up in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def few() -> Rows:
    return digits(200, 60)
