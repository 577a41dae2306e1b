"""The seal on test sets, where a model predicts rows whose labels are known.

A test set that a search has opened is not opened again in passing: what another model scores on it
is told, and written down, only on request.
"""

import getpass
import socket
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from athanor.inputs import Inputs
from athanor.places import Places
from search.store import StudyStore
from spaces.errors import AthanorError
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
    try:
        store = places.open()
    except (AthanorError, SQLAlchemyError, OSError):  # where nothing is kept nothing is sealed
        return True
    try:
        return _look(store, inputs, score, manifest=manifest, reopen=reopen, progress=progress)
    except SQLAlchemyError as failure:
        progress(f"the score is not told, as the store fails: {str(failure).splitlines()[0]}")
        return False
    finally:
        store.close()


def _look(
    store: StudyStore,
    inputs: Inputs,
    score: float,
    *,
    manifest: Manifest,
    reopen: bool,
    progress: Callable[[str], None],
) -> bool:
    assert inputs.labels is not None
    rows = inputs.rows or sketch_of(inputs.images, inputs.labels)
    tested = manifest.protocol["test_fingerprint"] == rows.fingerprint
    if tested and manifest.scores.get("test_opened"):
        return True
    openings = store.test.all(rows)
    if not openings:
        return True
    if not reopen:
        progress(
            f"the score is not told: these are test rows that {openings[-1].job_id} has opened in "
            f"{store.name}; --reopen-test tells it and writes that down"
        )
        return False
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    store.test.look(manifest.job, rows=rows, by=by, reason="athanor predict", score=score)
    progress(f"test rows, opened {len(openings)} times before: this time is written down, too")
    return True
