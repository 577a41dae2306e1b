"""What `clean_check` does, of a folder's networks as Athanor loads them: to compare others with.

Run as `python -m workers.eager_check FOLDER REQUEST ANSWER`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spaces.errors import AthanorError
from workers.clean_check import UNUSABLE, answer
from workers.model_folder import load_model


def main(arguments: Sequence[str]) -> int:
    """Answer a request; return the exit status."""
    folder, request, target = (Path(argument) for argument in arguments)
    with np.load(request, allow_pickle=False) as asked:
        images = asked["images"]
    try:
        found = answer(load_model(folder).predict, images)
    except AthanorError as failure:
        print(failure, file=sys.stderr)
        return UNUSABLE
    np.savez(target, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
