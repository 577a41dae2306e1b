"""Athanor: architecture search for image classifiers that two cores or one GPU can afford.

from athanor import load
load("best").predict_proba(images)        # a model folder, as a search or an export left it

from athanor import AthanorClassifier, AthanorRegressor
AthanorClassifier(budget="10m").fit(images, labels).predict(others)
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from athanor.estimators import AthanorClassifier, AthanorRegressor
    from athanor.loading import load

try:
    __version__ = version("athanor-nas")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = ["AthanorClassifier", "AthanorRegressor", "__version__", "load"]

LAZY = {  # these need torch or scikit-learn, which the command line does without
    "load": "athanor.loading",
    "AthanorClassifier": "athanor.estimators",
    "AthanorRegressor": "athanor.estimators",
}


def __getattr__(name: str) -> Any:
    """Import a name of the Python API when it is first asked for."""
    if name not in LAZY:
        raise AttributeError(f"module 'athanor' has no attribute {name!r}")
    return getattr(import_module(LAZY[name]), name)
