import sys

import faiss
import pytest
import torch

from ppn.discovery.faiss_search import spherical_kmeans
from ppn.errors import DiscoveryError


def test_kmeans_finds_directions_whatever_their_length():
    directions = torch.eye(3, 12)
    member = torch.arange(300) % 3
    tokens = directions[member] * (0.1 + 10 * torch.rand(300, 1)) + 0.005 * torch.rand(300, 12)
    clusters = spherical_kmeans(tokens, 3, seed=0)
    assert torch.allclose(clusters.centroids.norm(dim=1), torch.ones(3), atol=1e-4)
    for label in range(3):
        assert len(clusters.assignment[member == label].unique()) == 1
    assert len(clusters.assignment.unique()) == 3


def test_kmeans_is_seeded():
    tokens = torch.rand(500, 10)
    first, second = spherical_kmeans(tokens, 4, seed=3), spherical_kmeans(tokens, 4, seed=3)
    assert torch.equal(first.centroids, second.centroids)


def test_threads_of_faiss_are_left_as_they_were():
    before = faiss.omp_get_max_threads()
    spherical_kmeans(torch.rand(50, 4), 2)
    with pytest.raises(DiscoveryError):
        spherical_kmeans(torch.rand(1, 4), 2)
    assert faiss.omp_get_max_threads() == before


def test_more_clusters_than_tokens_are_refused_with_the_fix():
    with pytest.raises(DiscoveryError, match="only 2 tokens: lower k"):
        spherical_kmeans(torch.rand(2, 4), 3)


class Cuda:
    """Stands for a module of a GPU wheel: what `faiss` has, and GPUs."""

    def __init__(self, gpus):
        self.gpus = gpus

    def __getattr__(self, name):
        return getattr(faiss, name)

    def get_num_gpus(self):
        return self.gpus

    def StandardGpuResources(self):
        return "resources"


class OnGpu(torch.Tensor):
    """Stands for a tensor on a GPU."""

    is_cuda = True


@pytest.mark.parametrize(("gpus", "used"), [(2, True), (0, False)])
def test_a_gpu_wheel_clusters_on_the_gpu_where_the_tokens_are(monkeypatch, gpus, used):
    module = Cuda(gpus)
    asked = []

    def kmeans(*arguments, gpu, **options):
        asked.append(gpu)
        return faiss.Kmeans(*arguments, **options)

    module.Kmeans = kmeans
    monkeypatch.setitem(sys.modules, "faiss", module)
    spherical_kmeans(torch.rand(50, 4).as_subclass(OnGpu), 2)
    spherical_kmeans(torch.rand(50, 4), 2)
    assert asked == [used, False]
