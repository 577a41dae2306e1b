"""All routes of the dashboard, ours and the Optuna dashboard's, with an example of each path."""

import re
from pathlib import Path

from optuna_dashboard import wsgi
from starlette.routing import Mount, Route

from athanor.dashboard.application import Application
from athanor.dashboard.guard import LOGIN, LOGOUT
from athanor.dashboard.optuna_pages import OptunaPages
from athanor.places import Places
from search.store import StudyStore

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EXAMPLES = {"int": "1", "job": "some-job", "filename": "bundle.js"}


def all_paths(places: Places, store: StudyStore) -> list[str]:
    """Return a path for each route of the application, and for login and logout."""
    ours = Application(places, store, ending=lambda: True)
    paths = {LOGIN, LOGOUT, "/assets/athanor.js"}
    for route in ours.routes(OptunaPages(ours.studies, artifacts=Path("unused"))):
        if isinstance(route, Route):
            paths.add(re.sub(r"{(\w+)(?::(\w+))?}", _example, route.path))
        else:
            assert isinstance(route, Mount)
    for theirs in wsgi(store.storage()).routes:
        paths.add(re.sub(r"<(\w*)(?::(\w+))?[^>]*>", _example, theirs.rule))
    return sorted(paths)


def _example(match: re.Match[str]) -> str:
    name, kind = match[1], match[2]
    if kind == "re" and not name:  # what follows /dashboard
        return "/studies/1"
    return EXAMPLES.get(kind or name, EXAMPLES.get(name, "0a"))
