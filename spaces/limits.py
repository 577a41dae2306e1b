"""`Complexity`: what a network costs. `Limits`: what it may cost at most."""

from dataclasses import dataclass

from spaces.values import Value


@dataclass(frozen=True, slots=True)
class Complexity:
    """Cost of one image's forward pass.

    Attributes:
        parameters: numbers in its weights, those of a fixed whitening stem included.
        macs: multiply-accumulate operations of convolutions and fully connected layers.
        activations: bytes of the tensors that it keeps at once, at most, in float32.
        latency: seconds to predict a batch, where that was measured.
    """

    parameters: int
    macs: int
    activations: int
    latency: float | None = None


class Limits(Value):
    """What a network may cost at most; None sets no limit.

    Attributes:
        memory: bytes of a training step, which the recipe and the batch decide, too.
        latency: seconds to predict `latency_batch` images on a worker.
    """

    parameters: int | None = None
    macs: int | None = None
    activations: int | None = None
    latency: float | None = None
    latency_batch: int = 1
    memory: int | None = None

    def text(self) -> str:
        """Write the limits that there are, as "macs 3,000,000, latency 0.005"."""
        set_ones = self.model_dump(exclude_none=True, exclude={"latency_batch"})
        return ", ".join(f"{name} {limit:,}" for name, limit in set_ones.items()) or "none"

    def excess(self, complexity: Complexity) -> dict[str, float]:
        """Return for each limit how far the cost exceeds it, as a share; at most 0 is feasible."""
        names = ("parameters", "macs", "activations", "latency")
        pairs = {name: (getattr(self, name), getattr(complexity, name)) for name in names}
        return {
            name: cost / limit - 1.0
            for name, (limit, cost) in pairs.items()
            if limit is not None and cost is not None
        }
