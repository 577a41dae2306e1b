"""Faults of every kind, given to real searches on real stores, and what they cost.

    python benchmarks/faults.py --quick      under a minute: rows 1, 2, 3 and 9 in small
    python benchmarks/faults.py              all rows, about an hour; --rows 1,2 for some of them
    python benchmarks/faults.py --rivals     the same faults for plain Optuna and for Ray Tune
    python benchmarks/faults.py --scale      many workers, many trials

Workers are the product's own; they train small networks on the digits that scikit-learn brings.
The database itself notes, by triggers, who took over from whom and what was changed after its
end; the workers' own notes tell which epochs were trained twice. Prints a table and, as its last
line, one JSON object:

    faults                that were given
    faults_that_hit       those that hit a worker which held unfinished work
    takeovers             by other workers; equals faults_that_hit
    trials_lost           trials that were asked for and never ended, or are missing
    double_results        ended trials or folds that were changed, reports that were overwritten
    epochs_repeated_max   epochs that a worker repeated of those before it, at most
    late_writes           rows and files that count, changed by a worker that had been replaced
    rows                  all of this for each row of the table

The exit status is 1 if anything was lost, done twice or written late.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from benchmarks.mishaps.forks import start_server


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="rows 1, 2, 3 and 9 in small")
    parser.add_argument("--rivals", action="store_true", help="plain Optuna and Ray Tune instead")
    parser.add_argument("--scale", action="store_true", help="many workers and trials instead")
    parser.add_argument("--rows", default="", help="numbers of rows: 1,2,...")
    parser.add_argument("--out", type=Path, help="JSON file; its rows are not run again")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    parser.add_argument("--keep", action="store_true", help="leave stores and messages behind")
    return parser.parse_args()


def main() -> int:
    """Run rows, print them; return the exit status."""
    asked = options()
    start_server()
    from benchmarks.mishaps.running import run  # imports while the server does

    return run(asked)


if __name__ == "__main__":
    sys.exit(main())
