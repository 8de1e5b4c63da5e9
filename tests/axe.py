"""What axe-core finds on a page that is in the way of people who see, hear or move otherwise."""

import pytest


def barriers(page):
    """Return "impact rule: elements" of each of axe's findings that is more than minor."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    return sorted(
        f"{one['impact']} {one['id']} ({one['help']}): {[n['target'][-1] for n in one['nodes']]}"
        for one in axe.run(page).response["violations"]
        if one["impact"] != "minor"
    )
