"""Environments of their own for libraries that would not fit beside ours, at stated versions."""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from athanor.places import Places


def rivals() -> Path:
    """Return the folder of all that rivals need, below the cache directory."""
    return Places.of(None, None).cache.absolute() / "rivals"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that holds a library and what it needs."""

    name: str
    requirements: tuple[str, ...]

    @property
    def python(self) -> Path:
        """The interpreter, which may not exist yet."""
        return rivals() / self.name / "bin" / "python"

    @property
    def _record(self) -> Path:
        return self.python.parents[1] / "installed.txt"

    @property
    def installed(self) -> bool:
        """Whether these requirements have been installed."""
        return self._record.exists() and self._record.read_text().split() == list(self.requirements)

    def install(self) -> list[str]:
        """Install them unless they are; return why not, if they cannot be."""
        if self.installed:
            return []
        print(f"installing {self.name} below {rivals()}", file=sys.stderr)
        venv.create(self.python.parents[1], with_pip=True, clear=True)
        command = [str(self.python), "-m", "pip", "install", "--quiet", *self.requirements]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return [f"{self.name} cannot be installed: {' '.join(reasons) or done.stderr[-500:]}"]
        self._record.write_text("\n".join(self.requirements) + "\n")
        return []


AUTOKERAS = Environment(
    "autokeras",
    (
        "autokeras==3.0.0",
        "keras==3.12.0",
        "keras-tuner==1.4.8",
        "six==1.17.0",
        "tensorboard==2.21.0",  # the tuner imports it
        "tensorflow-cpu==2.21.0",
    ),
)
AUTOGLUON = Environment("autogluon", ("autogluon.core==1.6.3",))
