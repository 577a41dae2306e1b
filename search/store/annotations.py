"""What people read of a study in the Optuna dashboard: notes, plots and files.

They are attributes of the study, named and cut as the dashboard's own functions do it
(`optuna_dashboard._note`, `_custom_plot_data`, `artifact`), as importing these would cost each
worker a second; tests/store/test_annotations.py reads them with the dashboard's own functions.
"""

import json
import mimetypes
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.trial import Trial

from search.store.patience import Patience, patient

PIECE = 2045  # characters of an attribute
FILES = "dashboard:artifacts:"  # followed by a trial's id and the file's
MOST_NOTED = 500  # trials of a study: the dashboard's own pages look through all notes for each


class Annotations:
    """Notes, plots and files of one study. What somebody has written there by hand stays."""

    def __init__(self, study: optuna.Study, storage: BaseStorage, patience: Patience) -> None:
        self._study, self._storage, self.patience = study, storage, patience

    @patient
    def note_trial(self, trial: Trial, text: str) -> None:
        """Write a note (Markdown) on one of the first trials; of a long text, its beginning."""
        if trial.number < MOST_NOTED:
            self._note(f"dashboard:{trial._trial_id}:note", text[:PIECE])

    @patient
    def note_study(self, text: str) -> None:
        """Write a note (Markdown) on the study."""
        self._note("dashboard:note", text)

    @patient
    def plot(self, name: str, figure: Mapping[str, Any]) -> None:
        """Show a plot on the study's page, in the place of one of this name.

        Args:
            figure: `data` and `layout`, as Plotly has them.
        """
        prefix = f"dashboard:plot_data:{name}:"
        pieces = _pieces(json.dumps(figure), prefix)
        for number in range(len(pieces), self._count(prefix)):
            pieces[f"{prefix}{number}"] = ""
        self._write(pieces)

    @patient
    def attach(self, number: int, path: Path, *, root: Path) -> None:
        """Keep a copy of a file with a trial, unless it has one of this name.

        Optuna's own `upload_artifact` refuses trials that have ended; the dashboard's does not.

        Args:
            root: the folder of all such files, which the dashboard is told.
        """
        trial = self._study.get_trials(deepcopy=False)[number]
        prefix = f"{FILES}{trial._trial_id}:"
        if path.name in {meta["filename"] for meta in self._files(prefix)}:
            return
        kind, encoding = mimetypes.guess_type(path.name)
        meta = {
            "artifact_id": str(uuid.uuid4()),
            "filename": path.name,
            "mimetype": kind or "application/octet-stream",
            "encoding": encoding,
        }
        with path.open("rb") as file:
            FileSystemArtifactStore(root).write(str(meta["artifact_id"]), file)
        self._write({f"{prefix}{meta['artifact_id']}": json.dumps(meta)})

    @patient
    def remove_files(self, *, root: Path) -> None:
        """Remove the files of all trials."""
        for meta in self._files(FILES):
            (root / Path(meta["artifact_id"]).name).unlink(missing_ok=True)

    def _files(self, prefix: str) -> list[dict[str, Any]]:
        """Return what is known of the files below a key; those removed by hand are None there."""
        stored = self._storage.get_study_system_attrs(self._study._study_id)
        found = [json.loads(value) for key, value in stored.items() if key.startswith(prefix)]
        return [meta for meta in found if meta is not None]

    def _note(self, name: str, text: str) -> None:
        version = f"{name}_ver"
        if version not in self._storage.get_study_system_attrs(self._study._study_id):
            self._write({**_pieces(text, f"{name}_str:"), version: 1})

    def _count(self, prefix: str) -> int:
        stored = self._storage.get_study_system_attrs(self._study._study_id)
        return sum(key.startswith(prefix) for key in stored)

    def _write(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self._storage.set_study_system_attr(self._study._study_id, key, value)


def _pieces(text: str, prefix: str) -> dict[str, Any]:
    """Cut a text into attributes."""
    return {
        f"{prefix}{number}": text[begin : begin + PIECE]
        for number, begin in enumerate(range(0, len(text), PIECE))
    }
