"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

`make test-lowest` installs them. Packages that are named as arguments are left out: torch and
torchvision there, whose every version is gigabytes.
"""

import sys
from pathlib import Path

from packaging.requirements import Requirement

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

TOOLS = ("dev", "docs", "bench", "gpu")
"""Extras that no user of the package installs beside the others."""


def lowest(project, without=()):
    """Return `name==version` for every requirement of users that has a lowest version."""
    extras = project["optional-dependencies"]
    users = [line for name, lines in extras.items() if name not in TOOLS for line in lines]
    found = set()
    for line in [*project["dependencies"], *users]:
        wanted = Requirement(line)
        if wanted.name in without or (wanted.marker and not wanted.marker.evaluate()):
            continue
        found |= {
            f"{wanted.name}=={s.version}" for s in wanted.specifier if s.operator in (">=", "==")
        }
    return sorted(found)


if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(lowest(tomllib.loads(text)["project"], sys.argv[1:])))
