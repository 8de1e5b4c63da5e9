import pytest
import torch
import torch.distributed as dist

from experiments.benchmarks import libraries, processes


@pytest.mark.parametrize("name", libraries.installed())
def test_every_library_reports_the_squared_error(name):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.rand(60, 2, generator=generator) @ torch.rand(2, 20, generator=generator)
    noisy = tokens + 0.01 * torch.rand(60, 20, generator=generator)
    norm = float(noisy.square().sum())
    factorise = libraries.installed()[name]
    assert 0 < factorise(noisy, 2) < 0.01 * norm
    assert factorise(noisy, 1) > 2 * factorise(noisy, 2)


def test_libraries_that_are_missing_are_named_and_left_out(monkeypatch):
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda name: None)
    assert libraries.missing() == ["overcomplete", "torchnmf"]
    assert list(libraries.installed()) == ["scikit-learn"]


def test_a_process_evaluates_its_share_of_the_images(monkeypatch):
    seen = []
    update = processes.Evaluation.update

    def watched(self, batch, *others):
        seen.extend(batch["index"].tolist())
        update(self, batch, *others)

    monkeypatch.setattr(processes.Evaluation, "update", watched)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        processes._evaluate_share(5, classes=2, parts=3)
    assert seen == [0, 2, 4, 1, 3]
