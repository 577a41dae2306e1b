"""Athanor: architecture search for image classifiers that two cores or one GPU can afford."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("athanor-nas")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
