"""An explanation as the bench's page prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.visualization.numbers import number, percent, printed_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.explanation.record import Explanation
    from ppn.explanation.versus import Versus


def sum_values(whole: Explanation, shown: Explanation) -> dict[str, Any]:
    """Return the printed sum; parts that are off are printed as what they added."""
    terms, total = printed_sum([*shown.contributions, shown.bias], shown.logit, shown.adds_up)
    were, _ = printed_sum([*whole.contributions, whole.bias], whole.logit, whole.adds_up)
    parts = [
        {
            "index": index,
            "value": shown.contributions[index],
            "was": whole.contributions[index],
            "text": terms[index],
            "before": were[index],
            "carries": whole.carries[index],
        }
        for index in whole.order
    ]
    return {
        "terms": parts,
        "bias": {"value": shown.bias, "text": terms[-1]},
        "logit": {
            "value": shown.logit,
            "text": total,
            "before": number(whole.logit),
            "change": _change(shown.logit - whole.logit),
        },
    }


def ranking_values(shown: Explanation, before: Sequence[float]) -> list[dict[str, Any]]:
    """Return the most likely classes, and how far their logits are from those (C) of `before`."""
    return [
        {
            "label": one.label,
            "logit": number(one.logit),
            "probability": one.probability,
            "percent": percent(one.probability, 1),
            "change": _change(one.logit - before[one.label]),
        }
        for one in shown.ranking
    ]


def versus_values(versus: Versus) -> dict[str, Any]:
    """Return a comparison, ready for the page."""
    pairs = versus.pairs
    mine, theirs, apart = versus.printed
    return {
        "label": versus.second.label,
        "verdict": versus.verdict,
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "values": [mine[row], theirs[row]],
                "difference": pair.difference,
                "text": apart[row],
            }
            for row, pair in enumerate(pairs)
        ],
        "bias": {"difference": versus.bias, "text": apart[-2]},
        "total": apart[-1],
        "note": versus.notes[-3 if len(versus.notes) > 2 else 0],
    }


def _change(value: float) -> str:
    """A change with its sign; empty where it is none but for rounding."""
    text = number(value) if abs(value) > 1e-6 else ""
    return f"+{text}" if text and value > 0 else text
