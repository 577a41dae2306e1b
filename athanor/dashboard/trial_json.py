"""One trial as the Optuna dashboard's pages expect it, in JSON."""

import json
import re
from collections.abc import Mapping

from optuna.trial import FrozenTrial
from optuna_dashboard._serializer import serialize_frozen_trial

# Notes on a trial, and files that were added to it by hand, are attributes of its study.
OF_A_TRIAL = re.compile(r"dashboard:(?:artifacts:)?(\d+):")


class Attributes:
    """A study's system attributes, sorted once by the trial that they belong to.

    The dashboard's own code looks for each trial's among all of them: with a note on each of 5,000
    trials that takes minutes.
    """

    def __init__(self, stored: Mapping[str, str]) -> None:
        self.own: dict[str, object] = {}
        self._of_trials: dict[int, dict[str, str]] = {}
        for key, value in stored.items():
            found = OF_A_TRIAL.match(key)
            if found is None:
                self.own[key] = json.loads(value)
            else:
                self._of_trials.setdefault(int(found[1]), {})[key] = value

    def of_trial(self, trial_id: int) -> dict[str, str]:
        """Return those of a trial, as the JSON that is stored."""
        return self._of_trials.get(trial_id, {})


def trial_json(study: int, trial: FrozenTrial, attributes: Mapping[str, str]) -> bytes:
    """Return a trial of a study with what the study's system attributes say of it."""
    decoded = {key: json.loads(value) for key, value in attributes.items()}
    described = serialize_frozen_trial(study, trial, decoded)
    # the dashboard looks where Optuna kept them before version 5
    described["constraints"] = list(trial.constraints.values())
    return json.dumps(described).encode()
