"""The commands that show what a search may try: `athanor space show`, `sample` and `count`."""

import itertools
import json
import re
from dataclasses import asdict
from typing import Annotated

import typer

from athanor.console import make_console
from athanor.options import JsonOption
from spaces.cnn import CnnSpace
from spaces.errors import InputError
from spaces.limits import Complexity, Limits
from spaces.points import parameters_of, prior_of, random_candidates, settings
from spaces.reading import read_space
from spaces.recipe import Candidate
from spaces.space import SearchSpace

app = typer.Typer(no_args_is_help=True, help="Show what a search may try.")

SpaceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SPACE", help="A YAML file, a network's name or module:Object. [the default space]"
    ),
]
ShapeOption = Annotated[
    str, typer.Option("--shape", metavar="HxWxC", help="Height, width and channels of the images.")
]
ClassesOption = Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")]
MaxMacsOption = Annotated[int | None, typer.Option("--max-macs", min=1, help="Limit on MACs.")]
MaxParametersOption = Annotated[
    int | None, typer.Option("--max-parameters", min=1, help="Limit on parameters.")
]
MaxActivationsOption = Annotated[
    int | None,
    typer.Option(
        "--max-activations", min=1, help="Limit on bytes that a prediction keeps at once."
    ),
]
MAX_SIDE, MAX_CHANNELS = 4096, 1024
MOST_DRAWN = 200  # candidates for each that is wanted, before the limits are said to be too low
COUNTED = 1000  # random candidates, among which different networks are counted


@app.command()
def show(
    space: SpaceArgument = None,
    shape: ShapeOption = "28x28x1",
    classes: ClassesOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show a space's parameters, and draw the largest network that a search may begin with."""
    found, image_shape = _read(space), parse_shape(shape)
    from athanor.space_tables import network_table, parameters_table
    from spaces.drawing import parts_of

    prior = prior_of(found, size=found.sizes[-1], side=min(image_shape[:2]))
    parts = parts_of(prior.architecture, image_shape=image_shape, classes=classes)
    parameters = parameters_of(found, side=min(image_shape[:2]))
    if as_json:
        ranges = {name: asdict(each) for name, each in parameters.items()}
        first = {"candidate": prior.to_json(), "parts": [asdict(part) for part in parts]}
        print(json.dumps({"parameters": ranges, "prior": first}))
        return
    console = make_console()
    console.print(parameters_table(parameters))
    console.print(
        network_table(parts, title=f"first network, at its largest: {prior.architecture}")
    )


@app.command()
def sample(
    space: SpaceArgument = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds give equal samples.")] = 0,
    shape: ShapeOption = "28x28x1",
    classes: ClassesOption = 10,
    max_macs: MaxMacsOption = None,
    max_parameters: MaxParametersOption = None,
    max_activations: MaxActivationsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sample candidates at random, within the limits; a single one is drawn."""
    found, image_shape = _read(space), parse_shape(shape)
    from athanor.space_tables import network_table, samples_table
    from spaces.complexity import measure_complexity
    from spaces.drawing import parts_of

    limits = Limits(parameters=max_parameters, macs=max_macs, activations=max_activations)
    samples: list[tuple[Candidate, Complexity]] = []
    drawn = random_candidates(found, seed=seed, side=min(image_shape[:2]))
    for candidate in itertools.islice(drawn, MOST_DRAWN * count):
        cost = measure_complexity(candidate.architecture, image_shape=image_shape, classes=classes)
        if max(limits.excess(cost).values(), default=0.0) <= 0.0:
            samples.append((candidate, cost))
        if len(samples) == count:
            break
    else:
        raise InputError(
            f"some network of the space must be within the limits ({limits.text()}), "
            f"but of {MOST_DRAWN * count} sampled only {len(samples)} were"
        )
    if as_json:
        print(json.dumps([_sample_json(candidate, cost) for candidate, cost in samples]))
        return
    console = make_console()
    if count > 1:
        console.print(samples_table(samples))
        return
    architecture = samples[0][0].architecture
    parts = parts_of(architecture, image_shape=image_shape, classes=classes)
    console.print(network_table(parts, title=str(architecture)))
    for name, value in samples[0][0].recipe.to_json().items():
        console.print(f"{name}: {value}", highlight=False)


@app.command("count")
def count_command(
    space: SpaceArgument = None,
    shape: ShapeOption = "28x28x1",
    as_json: JsonOption = False,
) -> None:
    """Count the settings of a space, and how many random ones give networks of their own."""
    found, image_shape = _read(space), parse_shape(shape)
    side = min(image_shape[:2])
    parameters = parameters_of(found, side=side)
    drawn = itertools.islice(random_candidates(found, seed=0, side=side), COUNTED)
    networks = {candidate.architecture for candidate in drawn}
    continuous = [name for name, parameter in parameters.items() if parameter.count is None]
    told = {
        "settings": settings(parameters.values()),
        "continuous": continuous,
        "parameters": len(parameters),
        "networks_of_1000": len(networks),
    }
    if as_json:
        print(json.dumps(told))
        return
    ranges = f", and {len(continuous)} continuous ranges: {', '.join(continuous)}"
    print(f"{len(parameters)} parameters")
    print(f"{told['settings']:,} settings{ranges if continuous else ''}")
    print(f"{len(networks)} different networks among {COUNTED} random settings")


def parse_shape(text: str) -> tuple[int, int, int]:
    """Return height, width and channels of "28x28x1"; `InputError` for anything else."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})x(\d{1,5})", text.strip().lower())
    sides = tuple(map(int, found.groups())) if found else ()
    if len(sides) != 3 or not (
        min(sides) >= 1 and max(sides[:2]) <= MAX_SIDE and sides[2] <= MAX_CHANNELS
    ):
        raise InputError(
            f"--shape must look like 28x28x1, with sides of 1 to {MAX_SIDE} and 1 to "
            f"{MAX_CHANNELS} channels, but got {text!r}"
        )
    return sides


def _read(space: str | None) -> SearchSpace:
    return CnnSpace() if space is None else read_space(space)


def _sample_json(candidate: Candidate, cost: Complexity) -> dict[str, object]:
    return {"candidate": candidate.to_json(), **asdict(cost)}
