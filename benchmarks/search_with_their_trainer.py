"""`athanor search` with workers that train as the tutorials do.

    python benchmarks/search_with_their_trainer.py --data fashion-mnist --budget 10m --out best

The plan, the prior, early discard, folds and ensemble are ours; the pool starts `their_trainer.py`
in place of its own worker. Takes the options of `athanor search`.
"""

import sys
from pathlib import Path
from unittest.mock import patch

from athanor.cli import main as run_command
from workers.pool import WorkerCommand

OUR_MODULE = "workers.worker"  # which a pool runs
THEIR_WORKER = Path(__file__).with_name("their_trainer.py")

_arguments_of_ours = WorkerCommand.arguments


def arguments_of_theirs(command: WorkerCommand, *, name: str) -> list[str]:
    """Return the command line of the worker with the other trainer, with the same options."""
    ours = _arguments_of_ours(command, name=name)
    options = ours[ours.index(OUR_MODULE) + 1 :]
    return [sys.executable, "-P", str(THEIR_WORKER), *options]


def main() -> None:
    """Run the search and exit with its status."""
    sys.argv = ["athanor", "search", *sys.argv[1:]]
    with patch.object(WorkerCommand, "arguments", arguments_of_theirs):
        run_command()


if __name__ == "__main__":
    main()
