"""The seal on test sets, where a model predicts rows whose labels are known.

A test set that a search has opened is not opened again in passing: what another model scores on it
is told, and written down, only on request.
"""

import getpass
import os
import socket
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from athanor.inputs import Inputs
from athanor.places import Places
from spaces.errors import NoStore, StoreError
from workers.image_data import sketch_of
from workers.model_folder import Manifest


def may_tell(
    inputs: Inputs,
    score: float,
    *,
    manifest: Manifest,
    places: Places,
    reopen: bool,
    progress: Callable[[str], None],
) -> bool:
    """Whether a score may be told: the rows are no test set of the store, or were opened for it.

    Args:
        inputs: rows with labels.
        score: of the model on them.
        manifest: of the model; on the rows that it was tested on its score is known already.
        reopen: open the test set once more for it, which is written down.
    """
    rows = inputs.rows or sketch_of(inputs.images)
    tested = manifest.protocol["test_fingerprint"] == rows.fingerprint
    if tested and manifest.scores.get("test_opened"):
        return True
    try:
        store = places.open(reads_only=not reopen)
    except NoStore:  # where nothing is kept nothing is sealed
        return True
    except (StoreError, SQLAlchemyError, OSError) as failure:
        return _refused(failure, progress)
    try:
        openings = store.test.all(rows)
        if not openings and not tested:
            return True
        if reopen:
            store.test.look(manifest.job, rows=rows, by=_who(), score=score)
            progress(f"test rows, opened {len(openings)} times before: this is written down")
            return True
    except SQLAlchemyError as failure:
        return _refused(failure, progress)
    finally:
        store.close()
    known = (
        f"test rows that {openings[-1].job_id} has opened in {store.name}"
        if openings
        else f"the test rows of {manifest.job}, which nobody has opened in {store.name}"
    )
    progress(f"the score is not told: these are {known}; --reopen-test tells it and writes it down")
    return False


def _refused(failure: Exception, progress: Callable[[str], None]) -> bool:
    reason = str(failure).splitlines()[0]
    progress(f"the score is not told, as nobody can say whether these are test rows: {reason}")
    return False


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
