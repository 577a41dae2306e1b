"""The rules of the source tree, read from its syntax: who may import what, and what nobody may use.

Imports count wherever they stand: at the top, inside a function, under `TYPE_CHECKING`, or as
`importlib.import_module("name")`. Every checker is also given a source that breaks its rule.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Each may import itself and what stands left of it.
PACKAGES = ("spaces", "search", "workers", "athanor")
# Code that is never installed, so that no package may import it.
AROUND = ("tests", "benchmarks", "examples", "scripts")

# Where a forbidden module may be imported all the same. torchvision loads torch.
TORCH = frozenset({"torch", "torchvision"})
TORCH_IN_SPACES = frozenset(
    f"spaces/{name}.py"
    for name in ("network", "blocks", "complexity", "drawing", "layers", "live_tensors", "memory")
)
RAY_FILE = "workers/ray_pool.py"
TRAINING_FILE = "workers/training.py"

PICKLES = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"})
# The last ones unpack archives, whose members may lie anywhere.
UNSAFE_CALLS = frozenset(
    {
        "torch.load",
        "pandas.read_pickle",
        "numpy.lib.format.read_array",
        "shutil.unpack_archive",
        "tarfile.open",
    }
)
SAFE_YAML_LOADS = frozenset({"yaml.safe_load", "yaml.safe_load_all"})

# These answer before a user notices; torch alone takes seconds to load. A worker is started anew
# after each death: it must wait for torch, but not for what only the end of a job needs.
LIGHT_MODULES = {
    "spaces.architecture": "torch",
    "spaces.recipe": "torch",
    "search.job": "torch",
    "athanor.cli": "torch",
    "workers.worker": "sklearn",
}


def sources(*directories: str) -> list[str]:
    """Return the paths, relative to the root, of all Python files below `directories`."""
    found = [path for name in directories for path in (ROOT / name).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def imported_modules(source: str, path: str) -> Iterator[str]:
    """Yield the full name of each module that the file at `path` imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield absolute_name(node, path)
        elif isinstance(node, ast.Call) and called_name(node) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def absolute_name(node: ast.ImportFrom, path: str) -> str:
    """Return the module that `from … import` names, with a relative one made absolute."""
    package = list(Path(path).parent.parts)
    above = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def called_name(node: ast.Call) -> str:
    """Return the last part of what is called: `load` for `load()` and for `torch.load()`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def top_level_imports(source: str, path: str) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(source, path)}


def wrong_direction(source: str, path: str) -> set[str]:
    """Return the parts of this project that the file imports though they stand right of it."""
    place = PACKAGES.index(Path(path).parts[0])
    return top_level_imports(source, path) & {*PACKAGES[place + 1 :], *AROUND}


def forbidden_imports(source: str, path: str) -> set[str]:
    """Return the libraries that the file imports though its package does without them."""
    package = Path(path).parts[0]
    forbidden: set[str] = set()
    if path != RAY_FILE:
        forbidden |= {"ray"}
    if package == "search" or (package == "spaces" and path not in TORCH_IN_SPACES):
        forbidden |= TORCH
    if package == "spaces":
        forbidden |= {"sqlalchemy"}
    if path == TRAINING_FILE:
        forbidden |= {"optuna", "sqlalchemy"}
    return top_level_imports(source, path) & forbidden


def unsafe_uses(source: str, path: str) -> set[str]:
    """Return each use of a loader that may execute what it reads."""
    tree = ast.parse(source)
    found = top_level_imports(source, path) & PICKLES
    aliases = local_names(tree, path)
    for name in imported_objects(tree, path) | used_names(tree, aliases):
        if name in UNSAFE_CALLS or is_unsafe_yaml_load(name):
            found.add(name)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if any(full_name(call.func, aliases) == "numpy.load" and may_unpickle(call) for call in calls):
        found.add("numpy.load(allow_pickle=True)")
    return found


def is_unsafe_yaml_load(name: str) -> bool:
    return name.startswith("yaml.") and "load" in name and name not in SAFE_YAML_LOADS


def may_unpickle(call: ast.Call) -> bool:
    """Say whether this `numpy.load` gives `allow_pickle` anything but a plain False."""
    given = [keyword.value for keyword in call.keywords if keyword.arg in ("allow_pickle", None)]
    given += call.args[2:3]
    return any(not (isinstance(value, ast.Constant) and value.value is False) for value in given)


def imported_objects(tree: ast.Module, path: str) -> set[str]:
    """Return `module.name` for each `from module import name`."""
    return {
        f"{absolute_name(node, path)}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def local_names(tree: ast.Module, path: str) -> dict[str, str]:
    """Map the names that imports bind in this file to what they stand for (`np` to `numpy`)."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{absolute_name(node, path)}.{alias.name}"
    return bound


def full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return the dotted name behind an expression, or "" if no import stands behind it."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner = full_name(node.value, aliases)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def used_names(tree: ast.Module, aliases: dict[str, str]) -> set[str]:
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {full_name(node, aliases) for node in attributes}


def unlisted_packages(root: Path, listed: set[str]) -> set[str]:
    """Return the packages below `root` that an installation would leave out."""
    inits = [path for name in PACKAGES for path in (root / name).rglob("__init__.py")]
    return {".".join(path.parent.relative_to(root).parts) for path in inits} - listed


def loads(module: str, library: str, *, cwd: Path) -> bool:
    """Import `module` in a process of its own and say whether a library came with it."""
    program = f"import {module}, sys; print({library!r} in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"`import {module}` failed:\n{done.stderr}"
    return done.stdout.split()[-1] == "True"


# The tree as it is.


@pytest.mark.parametrize("path", sources(*PACKAGES))
def test_imports_point_left(path: str) -> None:
    assert not wrong_direction(read(path), path)


@pytest.mark.parametrize("path", sources(*PACKAGES))
def test_libraries_stay_where_they_belong(path: str) -> None:
    assert not forbidden_imports(read(path), path)


@pytest.mark.parametrize("path", [*sorted(TORCH_IN_SPACES), TRAINING_FILE])
def test_files_that_the_rules_name_exist(path: str) -> None:
    assert (ROOT / path).is_file(), f"a rule names {path}: after a rename it would bind nothing"


# Tests may pickle: they show what a pickle does to a storage, and that a hostile one is refused.
@pytest.mark.parametrize("path", sources(*PACKAGES, "benchmarks", "examples", "scripts"))
def test_nothing_loads_what_could_execute(path: str) -> None:
    assert not unsafe_uses(read(path), path)


def test_every_package_is_listed_and_every_listed_one_exists() -> None:
    settings = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]
    listed = set(settings["packages"])
    assert not unlisted_packages(ROOT, listed)
    absent = {name for name in listed if not (ROOT / name.replace(".", "/")).is_dir()}
    assert not absent, f"an installation fails on packages without a directory: {absent}"


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_shipped(package: str) -> None:
    settings = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]
    assert "py.typed" in settings["package-data"][package]
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize(("module", "library"), LIGHT_MODULES.items())
def test_light_modules_do_not_load_what_takes_long(module: str, library: str) -> None:
    assert not loads(module, library, cwd=ROOT)


# The checkers on sources that break the rules.


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("spaces/a.py", "import search", {"search"}),
        ("search/a.py", "from workers.pool import run", {"workers"}),
        ("search/store/a.py", "def f():\n    import athanor.cli as face", {"athanor"}),
        ("workers/a.py", "if TYPE_CHECKING:\n    from athanor import cli", {"athanor"}),
        ("athanor/a.py", "from tests.planted import digits", {"tests"}),
        ("spaces/a.py", "import importlib\nimportlib.import_module('workers')", {"workers"}),
        ("search/a.py", "import spaces, search.job\nfrom . import folds", set()),
        ("search/store/a.py", "from ..job import JobSpec", set()),
        ("athanor/a.py", "import spaces, search, workers, athanor.report", set()),
        ("spaces/a.py", "'import search'  # import workers", set()),
    ],
)
def test_the_direction_checker(path: str, source: str, found: set[str]) -> None:
    assert wrong_direction(source, path) == found


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("workers/pool.py", "def f():\n    from ray import tune", {"ray"}),
        ("athanor/cli.py", "import ray.tune as tune", {"ray"}),
        ("workers/ray_pool.py", "import ray", set()),
        ("search/a.py", "if TYPE_CHECKING:\n    from torch import nn", {"torch"}),
        ("search/store/network.py", "import torch.nn as nn", {"torch"}),
        ("spaces/zoo.py", "import torchvision", {"torchvision"}),
        ("spaces/zoo.py", "torch = __import__('torch')", {"torch"}),
        ("spaces/network.py", "import torch", set()),
        ("workers/a.py", "import torch, sqlalchemy, optuna", set()),
        ("spaces/network.py", "from sqlalchemy.orm import Session", {"sqlalchemy"}),
        ("workers/training.py", "import optuna\nimport sqlalchemy", {"optuna", "sqlalchemy"}),
        ("search/a.py", "from .torch import x\nimport torchmetrics", set()),
    ],
)
def test_the_library_checker(path: str, source: str, found: set[str]) -> None:
    assert forbidden_imports(source, path) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.load(p, weights_only=True)", {"torch.load"}),
        ("import torch as t\nloader = t.load", {"torch.load"}),
        ("from torch import load as read", {"torch.load"}),
        ("def f():\n    import pickle", {"pickle"}),
        ("from pickle import loads", {"pickle"}),
        ("import joblib", {"joblib"}),
        ("import yaml\nyaml.load(t, Loader=yaml.SafeLoader)", {"yaml.load"}),
        ("from yaml import unsafe_load", {"yaml.unsafe_load"}),
        ("import pandas as pd\npd.read_pickle(p)", {"pandas.read_pickle"}),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", {"numpy.load(allow_pickle=True)"}),
        ("import shutil\nshutil.unpack_archive(p)", {"shutil.unpack_archive"}),
        ("from tarfile import open as t\nt(p).extractall()", {"tarfile.open"}),
        ("import numpy as np\nnp.load(p, 'r', True)", {"numpy.load(allow_pickle=True)"}),
        ("from numpy import load\nload(p, **options)", {"numpy.load(allow_pickle=True)"}),
        ("import numpy as np\nnp.load(p)\nnp.load(p, mmap_mode='r', allow_pickle=False)", set()),
        ("import yaml, json\nyaml.safe_load(t)\njson.load(f)", set()),
        ("import torch\nmodel.load(p)\nmodule.load_state_dict(s)", set()),
        ("from safetensors.torch import load_file", set()),
    ],
)
def test_the_loader_checker(source: str, found: set[str]) -> None:
    assert unsafe_uses(source, "workers/a.py") == found


def test_the_package_checker(tmp_path: Path) -> None:
    for name in ("search", "search/store", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    assert unlisted_packages(tmp_path, {"search"}) == {"search.store"}
    assert unlisted_packages(tmp_path, {"search", "search.store"}) == set()


@pytest.mark.parametrize(("source", "found"), [("import torch", True), ("import json", False)])
def test_the_checker_of_light_modules(tmp_path: Path, source: str, found: bool) -> None:
    (tmp_path / "torch.py").touch()  # stands in for the real one, which takes seconds to load
    (tmp_path / "candidate.py").write_text(source, encoding="utf-8")
    assert loads("candidate", "torch", cwd=tmp_path) is found
