"""Pointing, energy and comprehensiveness, against loops over images, maps and pixels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

import ppn.metrics
from ppn.metrics import (
    Comprehensiveness,
    EnergyBox,
    EnergyMask,
    EvaluationShape,
    Metric,
    Observation,
    PointingBox,
    PointingMask,
)
from ppn.metrics.curves import area
from ppn.metrics.maps import peak
from ppn.metrics.pointing import object_region
from ppn.metrics.regions import bounding_boxes, inside_boxes, iou, largest, pooled_onto
from tests.metrics import literal

C, K, S, GRID = 2, 3, 24, (4, 3)


def sample(images=9, flat=True):
    maps = torch.randn(images, K, *GRID)
    maps[:, :, 1:3, 1] += 1  # objects are near the middle
    if flat:
        maps[2, 1] = -1  # no positive mass
        maps[3, 0] = 0  # no pixel above the threshold
    corner = 9 * torch.rand(images, 2)
    box = torch.cat([corner, corner + 7 + 7 * torch.rand(images, 2)], 1)
    box[1] = torch.tensor([0.0, 0.0, S, S])  # none is known
    mask = torch.zeros(images, S, S, dtype=torch.uint8)
    for row, (x0, y0, x1, y1) in zip(mask, box.int().tolist(), strict=True):
        row[y0:y1, x0:x1] = 2
    mask[:, :, :4] = 255
    mask[-1] = 0
    return maps, {"box": box, "mask": mask, "label": torch.arange(images) % C}


def region(batch, i, of):
    """Pixels of the object and known ones, as sets; None where nothing is known."""
    pixels = [(y, x) for y in range(S) for x in range(S)]
    if of == "mask":
        values = batch["mask"][i].tolist()
        known = {(y, x) for y, x in pixels if values[y][x] != 255}
        inside = {(y, x) for y, x in known if values[y][x] != 0}
    else:
        x0, y0, x1, y1 = batch["box"][i].tolist()
        if (x0, y0, x1, y1) == (0, 0, S, S):
            return None
        known = set(pixels)
        inside = {(y, x) for y, x in pixels if x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1}
    return (inside, known) if inside else None


def pointing(maps, batch, of):
    hits = []
    for i, image in enumerate(maps):
        found = region(batch, i, of)
        for grid in image if found else []:
            where = tuple(literal.peak(grid, (S, S)))
            if where in found[1]:
                hits.append(where in found[0])
    return sum(hits) / len(hits)


def energy(maps, batch, of):
    shares = []
    for i, image in enumerate(maps):
        found = region(batch, i, of)
        for grid in image if found else []:
            positive = grid.clamp(min=0)[None, None]
            mass = interpolate(positive, (S, S), mode="bilinear", align_corners=False)[0, 0]
            inside = sum(mass[y, x].item() for y, x in found[0] & found[1])
            whole = sum(mass[y, x].item() for y, x in found[1])
            if whole > 0:
                shares.append(inside / whole)
    return sum(shares) / len(shares)


def comprehensiveness(maps, batch, top, threshold):
    scores = []
    for i, image in enumerate(maps):
        found = region(batch, i, "mask")
        if found is None:
            continue
        order = sorted(range(len(image)), key=lambda j: (-image[j].max().item(), j))[:top]
        union = set()
        for j in order:
            grid = interpolate(image[j][None, None], (S, S), mode="bilinear")[0, 0]
            low, high = grid.min(), grid.max()
            for y in range(S):
                for x in range(S):
                    if high > low and (grid[y, x] - low) / (high - low) > threshold:
                        union.add((y, x))
        inside, known = found
        scores.append(len(union & inside & known) / len((union | inside) & known))
    return sum(scores) / len(scores)


def score(metric, maps, batch):
    metric.setup(EvaluationShape(C, maps.shape[1], (), S))
    none = torch.zeros(len(maps), 0)
    metric.observe(Observation(batch, none, none, maps, peaks=peak(maps, (S, S))))
    result = metric.compute()
    return metric.figures(result)[metric.key], metric.values(result)


@pytest.mark.parametrize(
    ("kind", "expected", "of"),
    [
        (PointingBox, pointing, "box"),
        (PointingMask, pointing, "mask"),
        (EnergyBox, energy, "box"),
        (EnergyMask, energy, "mask"),
    ],
)
def test_scores_equal_the_literal_loops(kind, expected, of):
    maps, batch = sample()
    wanted = expected(maps, batch, of)
    assert 0.05 < wanted < 0.95
    found, values = score(kind(), maps, batch)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert values.prototypes.shape == (C, K)


def test_comprehensiveness_equals_the_literal_loops():
    maps, batch = sample()
    for top, threshold in ((2, 0.6), (5, 0.3)):
        wanted = comprehensiveness(maps, batch, top, threshold)
        assert 0.05 < wanted < 0.95
        assert score(Comprehensiveness(top, threshold), maps, batch)[0] == pytest.approx(wanted)


KINDS = [PointingBox, PointingMask, EnergyBox, EnergyMask, Comprehensiveness]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_order_copies_or_flips(kind):
    maps, batch = sample(flat=False)
    once, values = score(kind(), maps, batch)
    permuted, theirs = score(kind(), maps[:, [2, 0, 1]], batch)
    assert permuted == pytest.approx(once)
    assert torch.allclose(theirs.classes, values.classes)
    if kind is not Comprehensiveness:  # of which the strongest five count
        assert score(kind(), maps.repeat(1, 2, 1, 1), batch)[0] == pytest.approx(once)
    x0, y0, x1, y1 = batch["box"].unbind(1)
    mirrored = {
        **batch,
        "box": torch.stack([S - x1, y0, S - x0, y1], 1),
        "mask": batch["mask"].flip(2),
    }
    assert score(kind(), maps.flip(3), mirrored)[0] == pytest.approx(once, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_object_nothing_is_measured(kind):
    maps, batch = sample(2, flat=False)
    batch["box"][:] = torch.tensor([0.0, 0.0, S, S])
    batch["mask"][:] = 255
    found, values = score(kind(), maps, batch)
    assert found is None
    assert values.classes.isnan().all()


def test_the_mass_of_an_upsampled_map_needs_no_upsampling():
    maps, where = torch.rand(5, *GRID), torch.rand(5, S, 2 * S) > 0.4
    whole = interpolate(maps[None], (S, 2 * S), mode="bilinear", align_corners=False)[0]
    expected = (whole * where).sum((1, 2))
    assert torch.allclose((maps * pooled_onto(where, GRID)).sum((1, 2)), expected, rtol=1e-5)


def test_largest_pixels_boxes_and_their_overlap():
    maps = torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 2.0, 5.0, 0.0]])
    chosen = largest(maps, 0.5)
    assert chosen.int().tolist() == [[1, 0, 1, 1], [0, 0, 1, 0]]  # the first of equals
    assert largest(maps, 0.001).sum() == 1
    box = bounding_boxes(largest(maps, 0.125)[None])
    assert box.tolist() == [[2, 1, 3, 2]]
    assert inside_boxes(box, (2, 4))[0].int().tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    boxes = torch.tensor([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3]])
    assert iou(boxes[0], boxes).tolist() == pytest.approx([1, 1 / 3, 0])


def test_a_region_is_known_where_its_annotation_is():
    _, batch = sample(6)
    inside, known = object_region(batch, "box", (S, S))
    assert known.flatten(1).all(1).tolist() == [True, False, True, True, True, True]
    inside, known = object_region(batch, "mask", (S, S))
    assert not known[:, :, :4].any()
    assert not known[5].any()
    assert not inside[5].any()


def test_the_page_of_metrics_shows_code_that_runs():
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    inside = torch.rand(2, 224, 224) > 0.5
    given = {"maps": torch.rand(2, 3, 7, 7), "inside": inside, "known": torch.ones_like(inside)}
    names = {**given, "labels": torch.tensor([0, 3])}
    exec(code, names)
    assert 0.4 < names["metric"].figures(names["metric"].compute())["energy_mask"] < 0.6


def test_every_metric_is_on_the_page_of_metrics():
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    for name in ppn.metrics.__all__:
        thing = getattr(ppn.metrics, name)
        if isinstance(thing, type) and issubclass(thing, Metric) and thing.title:
            assert f"`{name}`" in text, name


def test_overlap_and_area_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    first, second = torch.rand(2, 1, 24, 24) > 0.4
    metric = Comprehensiveness(1, 0.5).setup(EvaluationShape(1, 1, (), S))
    metric.update(first[:, None].float(), second, torch.ones_like(second))
    ours = metric.figures(metric.compute())["comprehensiveness"]
    theirs = sklearn.jaccard_score(second.flatten().int(), first.flatten().int())
    assert ours == pytest.approx(theirs)
    curve = torch.rand(1, 29, dtype=torch.float64)
    assert area(curve).item() == pytest.approx(sklearn.auc(torch.linspace(0, 1, 29), curve[0]))
