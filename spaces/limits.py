"""`Complexity`: what a network costs. `Limits`: what it may cost at most."""

from dataclasses import dataclass

from spaces.values import Value


@dataclass(frozen=True, slots=True)
class Complexity:
    """Cost of one image's forward pass.

    Attributes:
        parameters: numbers in its weights, those of a fixed whitening stem included.
        macs: multiply-accumulate operations of convolutions and fully connected layers.
    """

    parameters: int
    macs: int


class Limits(Value):
    """What a network may cost at most; None sets no limit.

    Attributes:
        memory: bytes of a training step, which the recipe and the batch decide, too.
    """

    parameters: int | None = None
    macs: int | None = None
    memory: int | None = None

    def excess(self, complexity: Complexity) -> dict[str, float]:
        """Return for each limit how far the cost exceeds it, as a share; at most 0 is feasible."""
        pairs = {
            "parameters": (self.parameters, complexity.parameters),
            "macs": (self.macs, complexity.macs),
        }
        return {
            name: cost / limit - 1.0 for name, (limit, cost) in pairs.items() if limit is not None
        }
