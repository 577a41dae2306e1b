"""Spaces and networks as tables, and as JSON."""

from collections.abc import Mapping

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from spaces.drawing import Part
from spaces.limits import Complexity
from spaces.points import Parameter
from spaces.recipe import Candidate


def parameters_table(parameters: Mapping[str, Parameter]) -> Table:
    """List what trials choose from."""
    table = Table(title="parameters", title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("parameter", no_wrap=True)
    table.add_column("values")
    for name, parameter in parameters.items():
        table.add_row(name, escape(parameter_text(parameter)))
    return table


def parameter_text(parameter: Parameter) -> str:
    """Say what a parameter may be in a few words."""
    if parameter.low is None:
        return ", ".join(map(str, parameter.choices))
    how = ", in logarithm" if parameter.log else ""
    return f"{parameter.low:g} to {parameter.high:g}{how}"


def network_table(parts: list[Part], *, title: str) -> Table:
    """Draw a network: a line for the stem, each block and the head."""
    table = Table(
        title=escape(title), title_justify="left", box=SIMPLE, pad_edge=False, show_footer=True
    )
    parameters, macs = sum(part.parameters for part in parts), sum(part.macs for part in parts)
    table.add_column("part", "together", no_wrap=True)
    table.add_column("layers")
    table.add_column("gives", justify="right", no_wrap=True)
    table.add_column("parameters", f"{parameters:,}", justify="right", no_wrap=True)
    table.add_column("MMACs", mmacs(macs), justify="right", no_wrap=True)
    for part in parts:
        shape = "x".join(map(str, part.shape))
        table.add_row(part.name, part.what, shape, f"{part.parameters:,}", mmacs(part.macs))
    return table


def samples_table(samples: list[tuple[Candidate, Complexity]]) -> Table:
    """List sampled candidates with what their networks cost."""
    table = Table(title="samples", title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("MMACs", justify="right", no_wrap=True)
    table.add_column("recipe", no_wrap=True)
    table.add_column("network", no_wrap=True, overflow="ellipsis")
    for candidate, cost in samples:
        recipe = candidate.recipe
        said = f"{recipe.optimizer} {recipe.learning_rate:.2g} {recipe.augmentation}"
        network = escape(str(candidate.architecture))
        table.add_row(f"{cost.parameters:,}", mmacs(cost.macs), said, network)
    return table


def mmacs(macs: int) -> str:
    """Return millions of multiply-accumulate operations."""
    return f"{macs / 1e6:,.2f}"
