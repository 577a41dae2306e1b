"""The control groups of this process (cgroups(7)), by which containers and services are limited."""

from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def group_folders(controller: str) -> list[Path]:
    """Return the folders of the process's group and of those around it, in both versions.

    A limit may be in any of them. In a container its own group is often mounted as the root.

    Args:
        controller: "cpu" or "memory".
    """
    top = {False: ROOT, True: ROOT / controller}  # by whether the first version is meant
    found = list(top.values())
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        if line.count(":") < 2:
            continue
        controllers, path = line.split(":", 2)[1:]
        if controllers and controller not in controllers.split(","):
            continue
        own = top[bool(controllers)] / path.lstrip("/")
        found += [own, *(each for each in own.parents if ROOT in each.parents)]
    return list(dict.fromkeys(found))
