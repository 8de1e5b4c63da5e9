"""The study of maps that add up, and their bench rows, on small networks."""

import timm
import torch

import ppn
from experiments.benchmarks import maps as bench
from experiments.maps.__main__ import drops, measured
from ppn.classifier.span import pixel_span


def test_what_is_deleted_is_what_a_map_has_on_top():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=2).eval()
    torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
    images = torch.zeros(4, 3, 64, 64)
    images[:, :, 20:44, 20:44] = torch.randn(4, 3, 24, 24)
    labels = torch.tensor([0, 1, 0, 1])
    network = ppn.from_classifier(model, [(images, labels)], k=2)
    inside, outside = torch.zeros(2, 4, 2, 64, 64)
    inside[:, :, 20:44, 20:44] = 1
    outside[:, :, :10] = 1
    lost = drops(network, images, labels, inside).abs().mean()
    assert lost > 10 * drops(network, images, labels, outside).abs().mean()
    row, found = measured(network, pixel_span(), images, labels, "colour")
    assert row["error"] <= 0.01
    assert row["without a place"] == 0
    assert found.maps.shape == (4, 2, 64, 64)


def test_bench_rows_are_measured(monkeypatch):
    monkeypatch.setattr(bench, "IMAGES", 1)
    rows = list(bench.map_rows("cpu", "test_vit", 160))
    assert [row.goal for row in rows] == ["<= 3", "<= 1.2", "<= 1.2"]
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)
