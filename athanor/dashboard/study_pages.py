"""What the Optuna dashboard's pages ask for again and again: studies, in JSON that is kept.

Its own code reads and writes out the whole study for each page and each poll. Here a trial that has
ended is written out once, and what has not changed is not even read.
"""

import gc
import json
import secrets
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._serializer import serialize_frozen_study, serialize_study_detail

from athanor.dashboard.search_spaces import SearchSpaces
from athanor.dashboard.trial_json import Attributes, trial_json
from search.pareto import layers
from search.store import StudyStore
from search.store.studies import StudyRecord

KEPT = 4  # answers of a study that differ by their first trial
LOOK_SECONDS = 5.0  # after which the store is read once more: a write may show late


@dataclass(frozen=True)
class Page:
    """An answer in JSON; `tag` is another one whenever the body is."""

    body: bytes
    tag: str

    @cached_property
    def gzipped(self) -> bytes:
        """The body as a browser prefers it: trials are alike, so a tenth or less is left."""
        packer = zlib.compressobj(level=1, wbits=31)
        return packer.compress(self.body) + packer.flush()


class StudyPages:
    """All studies of a store, which may be gone or others the next time."""

    def __init__(self, store: StudyStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}
        self._studies: dict[int, _StudyPages] = {}
        self.storage = store.storage()

    def forget_deleted(self) -> bool:
        """Read which studies there are; if one is gone, forget everything and say so.

        SQLite gives the number of a deleted study, and those of its trials, to the next one, which
        would be taken for the deleted one.
        """
        names = self._store.studies.names()
        with self._lock:
            gone = any(names.get(number) != name for number, name in self._names.items())
            if gone:
                self._studies.clear()
                self.storage = self._store.storage()
            self._names = names
        return gone

    def newest(self) -> list[int]:
        """Return the numbers of the studies, the newest first."""
        return sorted(self._names, reverse=True)

    def trials(self, number: int) -> int:
        """Return how many trials of a study are kept."""
        pages = self._studies.get(number)
        return 0 if pages is None else pages.count

    def list(self) -> Page:
        """Return all studies without their trials."""
        found = [serialize_frozen_study(_frozen(each, {})) for each in self._store.studies.all()]
        body = json.dumps({"study_summaries": found}).encode()
        return Page(body, tag=f'"{zlib.crc32(body):08x}"')

    def study(self, number: int, *, after: int = 0) -> Page | None:
        """Return a study with its trials from the one numbered `after` on; None if it is gone."""
        with self._lock:
            if number not in self._names:
                return None
            if number not in self._studies:
                self._studies[number] = _StudyPages(self._store, self.storage, number)
            pages = self._studies[number]
        return pages.page(after)


class _StudyPages:
    """One study: its trials as JSON, and what is known of them all."""

    def __init__(self, store: StudyStore, storage: BaseStorage, number: int) -> None:
        self._store, self._storage, self._number = store, storage, number
        self._lock = threading.Lock()
        self._mark, self._looked, self._settled = "", float("-inf"), False
        self._start = secrets.token_hex(
            4
        )  # no tag of an earlier process or study is taken for ours
        self._version = 0
        self._stored: dict[str, str] = {}
        self._attributes = Attributes({})
        self._trials: list[FrozenTrial] = []
        self._texts: list[bytes] = []
        self._spaces = SearchSpaces()
        self._user_attributes: dict[str, bool] = {}  # by key, whether all values are numbers
        self._has_curves = False
        self._best: list[int] | None = None
        self._record: StudyRecord | None = None
        self._head = b""
        self._pages: dict[int, Page] = {}

    @property
    def count(self) -> int:
        return len(self._trials)

    def page(self, after: int) -> Page | None:
        with self._lock:
            if not self._refresh():
                return None
            if after not in self._pages:
                if len(self._pages) >= KEPT:
                    self._pages.clear()
                texts = b",".join(self._texts[after:])
                best = b",".join(self._texts[number] for number in self._best or ())
                body = b'{"trials":[%b],"best_trials":[%b],%b' % (texts, best, self._head[1:])
                tag = f'"{self._start}-{self._version}-{after}"'
                self._pages[after] = Page(body, tag)
            return self._pages[after]

    def _refresh(self) -> bool:
        """Read what has changed; False if the study is gone."""
        mark, now = self._store.changes.mark(), time.monotonic()
        same = mark == self._mark
        if same and (self._settled or now - self._looked < LOOK_SECONDS):
            return True
        record = self._store.studies.find(self._number)
        if record is None:
            return False
        stored = self._store.studies.system_attributes(self._number)
        with nullcontext() if self._trials else _kept_objects():
            trials = self._storage.get_all_trials(self._number, deepcopy=False)
        former = self._note(stored)
        changed = self._take(trials, former)
        if changed or former is not None or record != self._record:
            self._record, self._head = record, self._write_head(record)
            self._version += 1
            self._pages = {}
        self._mark, self._looked, self._settled = mark, now, same
        return True

    def _note(self, stored: dict[str, str]) -> Attributes | None:
        """Take the study's attributes; return the former ones if these are others."""
        if stored == self._stored:
            return None
        before, self._stored, self._attributes = self._attributes, stored, Attributes(stored)
        return before

    def _take(self, trials: list[FrozenTrial], former: Attributes | None) -> bool:
        """Write out trials that are new, have changed, or whose notes have; whether any has."""
        changed = False
        for place, trial in enumerate(trials):
            known = self._trials[place] if place < len(self._trials) else None
            notes = self._attributes.of_trial(trial._trial_id)
            same_notes = former is None or former.of_trial(trial._trial_id) == notes
            if known is trial and same_notes:
                continue
            text = trial_json(self._number, trial, notes)
            if known is None:
                self._trials.append(trial)
                self._texts.append(text)
            elif text == self._texts[place]:
                self._trials[place] = trial
                continue
            else:
                self._trials[place], self._texts[place] = trial, text
            changed = True
            if known is None or not known.state.is_finished():
                self._learn(trial)
        return changed

    def _learn(self, trial: FrozenTrial) -> None:
        """Take in what a trial says of the study."""
        for key, value in trial.user_attrs.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            self._user_attributes[key] = self._user_attributes.get(key, True) and number
        if trial.state != TrialState.FAIL and trial.intermediate_values:
            self._has_curves = True
        if trial.state.is_finished():
            self._spaces.add(trial)
        if trial.state == TrialState.COMPLETE:
            self._best = None

    def _write_head(self, record: StudyRecord) -> bytes:
        """Write out everything but the trials."""
        if self._best is None:
            self._best = _best(self._trials, record.directions)
        unfinished = [trial for trial in self._trials if not trial.state.is_finished()]
        intersection, union = self._spaces.both(unfinished)
        described: dict[str, Any] = serialize_study_detail(
            _frozen(record, self._attributes.own),
            [],
            [],
            intersection,
            union,
            list(self._user_attributes.items()),
            self._has_curves,
            get_plotly_graph_objects(self._attributes.own),
            [],
        )
        del described["trials"], described["best_trials"]
        return json.dumps(described).encode()


@contextmanager
def _kept_objects() -> Iterator[None]:
    """Look for no garbage while millions of objects are made to be kept, nor later among them.

    Looking takes half the time of making them, and a third of a second of a poll now and then.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        if collects:
            gc.enable()


def _frozen(record: StudyRecord, system_attributes: dict[str, Any]) -> FrozenStudy:
    """Return Optuna's own description of a study."""
    return FrozenStudy(
        study_name=record.name,
        direction=None,
        directions=record.directions,
        user_attrs=record.user_attributes,
        system_attrs=system_attributes,
        study_id=record.number,
    )


def _best(trials: list[FrozenTrial], directions: list[StudyDirection]) -> list[int]:
    """Return the places of the best feasible trials: one, or the front where two things count.

    Of equal ones the first counts.
    """
    signs = [1.0 if way == StudyDirection.MAXIMIZE else -1.0 for way in directions]
    points = [
        (place, [sign * value for sign, value in zip(signs, trial.values, strict=True)])
        for place, trial in enumerate(trials)
        if trial.state == TrialState.COMPLETE and trial.values and _feasible(trial)
    ]
    if not points:
        return []
    if len(signs) == 2:
        fronts = layers([(values[0], -values[1]) for _, values in points])
        return [place for (place, _), front in zip(points, fronts, strict=True) if front == 0]
    return [max(points, key=lambda point: (point[1], -point[0]))[0]]


def _feasible(trial: FrozenTrial) -> bool:
    return all(value <= 0.0 for value in trial.constraints.values())
