"""The support table as a page of the documentation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ppn.classifier.head_case import WORDS
from ppn.classifier.placement import LOCATED

if TYPE_CHECKING:
    from ppn.commands.examination import Examination

_UNTRIED = {
    "failed": "could not be run",
    "time": "took too long",
    "memory": "needed too much memory",
}


def counts(rows: list[Examination]) -> dict[str, int]:
    """Return how many architectures fall in which case, and how many in none."""
    counted = Counter(row.case if row.status == "supported" else row.status for row in rows)
    return {key: counted[key] for key in (*WORDS, "refused", *_UNTRIED) if counted[key]}


def page(rows: list[Examination], names: list[str], version: str) -> str:
    """Return the page.

    Args:
        rows: What was found.
        names: The zoo's architectures.
        version: timm's version.
    """
    found = counts(rows)
    lines = [
        "# Which models are supported, and what is exact",
        "",
        "Made by `python -m experiments.zoo --out docs/models.csv --markdown docs/models.md`; do",
        "not edit. [models.csv](models.csv) has all columns. Each architecture is examined at",
        "random initialisation, with 10 classes and its input size, or a smaller one to save time,",
        "as the column `input` says. The case is found by running the model, never by its name:",
        "`ppn check MODEL --weights FILE` does it for yours.",
        "",
        f"{len(rows)} of the {len(names)} architectures of timm {version} were tried."
        + (
            " The rest has not been tried yet: the command goes on where it stopped."
            if len(rows) < len(names)
            else ""
        ),
        "",
        "| head | what is exact | architectures |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {w.case} | {w.level} | {found.get(case, 0)} |" for case, w in WORDS.items()]
    lines.append(f"| refused, with the reason | - | {found.get('refused', 0)} |")
    lines += [f"| {text} | unknown | {found[k]} |" for k, text in _UNTRIED.items() if k in found]
    exact = [r for r in rows if r.case.startswith("mean")]
    others = [r for r in rows if r.case and r.logit_error is not None]
    if others:
        worst = max(row.logit_error or 0.0 for row in others)
        lines += ["", f"Largest relative error of a logit, in float32: {worst:.1e}."]
    if exact:
        worst = max(row.completeness_error or 0.0 for row in exact)
        lines += [f"Largest completeness error of exact maps: {worst:.1e}."]
    lines += _support(rows) + _gradient_maps(rows) + _places(rows)
    lines += _families(rows) + _rest(rows)
    lines += _untried(rows, names) + _architectures(rows)
    return "\n".join(lines) + "\n"


def _support(rows: list[Examination]) -> list[str]:
    """How many have maps that add up, exactly or made to, and why the others have not."""
    counted = Counter(row.support for row in rows if row.support)
    if not counted:
        return []
    errors = [row.complete_error or 0.0 for row in rows if row.support == "complete"]
    worst = f" (completeness error at most {max(errors):.1e})" if errors else ""
    unknown = f", unknown for {counted['unknown']}" if counted["unknown"] else ""
    asked, supported = counted.total(), sum(row.status == "supported" for row in rows)
    among = (
        ""
        if asked == supported
        else (
            f"Of {asked} of them it was asked whether maps add up; the rows of the others are "
            "from an earlier version, which did not ask. "
        )
    )
    lines = [
        "",
        f"{among}Maps are exact for {counted['exact']} architectures, complete for "
        f"{counted['complete']}{worst} by integrating gradients along a path ([maps.md](maps.md)), "
        f"and indicative for {counted['indicative']}{unknown}:",
    ]
    reasons: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.model):
        if row.support in ("indicative", "unknown"):
            reasons.setdefault(row.reason, []).append(f"`{row.model}`")
    most = sorted(reasons, key=lambda reason: -len(reasons[reason]))
    return lines + [f"- {len(reasons[why])}: {why} ({', '.join(reasons[why])})" for why in most]


def _gradient_maps(rows: list[Examination]) -> list[str]:
    errors = sorted(
        row.completeness_error
        for row in rows
        if row.case == "pre_logits" and row.completeness_error is not None
    )
    if not errors:
        return []
    limits = (1e-5, 1e-2, 1e-1, 1.0)
    shares = ", ".join(
        f"at most {limit:g}: {sum(error <= limit for error in errors)}" for limit in limits
    )
    return [
        "",
        "Completeness error of gradient maps (largest difference between a map's mean and the",
        "contribution, over the contributions' standard deviation, on random weights and input):",
        f"median {errors[len(errors) // 2]:.2g}; {shares}; of {len(errors)}.",
    ]


def _families(rows: list[Examination]) -> list[str]:
    lines = [
        "",
        "## Families",
        "",
        "| family | " + " | ".join(words.short for words in WORDS.values()) + " | not supported |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, family in _by_family(rows):
        by_case = [sum(row.case == head for row in family) for head in WORDS]
        cells = [str(count or "") for count in (*by_case, len(family) - sum(by_case))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _untried(rows: list[Examination], names: list[str]) -> list[str]:
    tried = {row.model for row in rows}
    rest = [f"`{name}`" for name in names if name not in tried]
    if not rest:
        return []
    summary = f"<details><summary>Not tried yet ({len(rest)})</summary>"
    return ["", summary, "", ", ".join(rest), "", "</details>"]


def _architectures(rows: list[Examination]) -> list[str]:
    """Every architecture that is supported, family by family, folded up."""
    lines = ["", "## Architectures"]
    for name, family in _by_family(rows):
        shown = sorted((r for r in family if r.status == "supported"), key=lambda r: r.model)
        if not shown:
            continue
        lines += ["", f"<details><summary>{name} ({len(shown)})</summary>", ""]
        lines.append(
            "| architecture | head | maps | completeness error | input | patches | width |"
        )
        lines.append("| --- | --- | --- | --- | --- | --- | --- |")
        for row in shown:
            cells = (WORDS[row.case].short, *_maps(row), row.image_size, row.grid, row.width)
            lines.append(f"| `{row.model}` | " + " | ".join(map(str, cells)) + " |")
        lines += ["", "</details>"]
    return lines


def _maps(row: Examination) -> tuple[str, str]:
    """What holds of an architecture's maps, and how far they are from adding up."""
    by_head = row.case.startswith("mean")
    maps = row.support or ("exact by its head" if by_head else "not asked")
    error = row.completeness_error if by_head else row.complete_error
    return maps, "" if error is None else f"{error:.1e}"


def _places(rows: list[Examination]) -> list[str]:
    """Whose patches were looked for in their region of the image, and whose were not found."""
    measured = {row.model: row.places for row in rows if row.places is not None}
    if not measured:
        return []
    families = {row.family for row in rows if row.places is not None}
    shares = {name: f"`{name}` {share:.0%}" for name, share in sorted(measured.items())}
    lost = [shares[name] for name in shares if measured[name] <= LOCATED]
    return [
        "",
        "## Patches in their place",
        "",
        "Where a region of the image changes, its own patch token must move most. The share of",
        "patches for which that holds, if it is at most 90 %, makes maps indicative, whatever the",
        f"head is. At random weights it was measured for {len(measured)} architectures of "
        f"{len(families)} families;",
        "tables and counts on this page are by the head alone. Weights decide: fresh ones may give",
        "nearly the same token everywhere, and `ppn check MODEL --weights FILE` measures yours.",
        "",
        f"At most 90 %: {', '.join(lost) or 'none'}.",
        "",
        f"<details><summary>All that were measured ({len(measured)})</summary>",
        "",
        ", ".join(shares.values()),
        "",
        "</details>",
    ]


def _by_family(rows: list[Examination]) -> list[tuple[str, list[Examination]]]:
    names = sorted({row.family for row in rows if row.family})
    return [(name, [row for row in rows if row.family == name]) for name in names]


def _rest(rows: list[Examination]) -> list[str]:
    rest = [row for row in rows if row.status != "supported"]
    if not rest:
        return []
    lines = ["", "## Not supported", "", "| architecture | reason |", "| --- | --- |"]
    for row in sorted(rest, key=lambda row: (row.status, row.model)):
        prefix = "" if row.status == "refused" else f"{_UNTRIED[row.status]}: "
        lines.append(f"| `{row.model}` | {prefix}{row.reason.replace('|', '/')} |")
    return lines
