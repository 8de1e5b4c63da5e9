"""What axe-core finds on a page that is in the way of people who see, hear or move otherwise."""

import pytest


def barriers(page, but=None):
    """Return "impact rule: elements" of each of axe's findings that is more than minor.

    Args:
        page: A page that is open.
        but: CSS selector -> rules that are let pass there, for what is not ours to change.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    lines = []
    for one in found:
        let = [place for place, rules in (but or {}).items() if one["id"] in rules]
        places = [
            node["target"][-1]
            for node in one["nodes"]
            if not any(page.locator(node["target"][-1]).first.evaluate(_INSIDE, at) for at in let)
        ]
        if places and one["impact"] != "minor":
            lines.append(f"{one['impact']} {one['id']} ({one['help']}): {', '.join(places[:4])}")
    return sorted(lines)


_INSIDE = "(element, place) => Boolean(element.closest(place))"
