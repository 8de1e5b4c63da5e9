"""One exchange for all metrics: the results of torchmetrics' many, in one message per type."""

from __future__ import annotations

from unittest import mock

import torch
import torch.distributed as dist

from ppn.metrics.exchange import exchanged
from tests.ddp import run
from tests.metrics.test_processes import IMAGES, check, computed, feed, metrics


def both_ways():
    ours = metrics()
    feed(ours, range(dist.get_rank(), IMAGES, 3), 4)
    singly = computed(ours)
    for metric in ours.values():
        metric._computed = None  # forget the result, keep the states
    before = {name: dict(metric.metric_state) for name, metric in ours.items()}
    with (
        mock.patch.object(dist, "all_gather", side_effect=dist.all_gather) as messages,
        mock.patch.object(dist, "barrier", side_effect=AssertionError),
        exchanged(ours.values()),
    ):
        together = computed(ours)
    kept = all(
        torch.equal(state, before[name][key])
        for name, metric in ours.items()
        for key, state in metric.metric_state.items()
    )
    default = all(metric.dist_sync_fn is None for metric in ours.values())
    return singly, together, messages.call_count, kept and default


def test_one_message_per_type_of_number():
    whole = metrics()
    feed(whole, range(IMAGES), IMAGES)
    for singly, together, messages, as_before in run(both_ways, processes=3):
        assert messages == 2  # whole numbers and floating-point numbers
        assert as_before
        check(together, computed(whole))
        for name, figures in singly.items():
            for figure, value in figures.items():
                torch.testing.assert_close(
                    together[name][figure],
                    value,
                    rtol=0,
                    atol=0,
                    equal_nan=True,
                    msg=f"{name}, {figure}",
                )


def test_one_process_needs_none():
    ours, singly = metrics(), metrics()
    feed(ours, range(IMAGES), 7)
    feed(singly, range(IMAGES), 7)
    with exchanged(ours.values()):
        assert all(metric.dist_sync_fn is None for metric in ours.values())
        check(computed(ours), computed(singly))
