import pytest
import torch

from ppn.discovery.points import area_evidence, evident_points, grouped_areas
from ppn.discovery.teacher import areas_of, name_of_teacher, taught_names
from ppn.errors import DiscoveryError

IMAGES = torch.zeros(20, 3, 16, 16)


def half(images):
    return torch.full((len(images), 2, 4, 4), 0.5)


def test_answers_are_joined_and_made_no_finer_than_needed():
    assert areas_of(half, IMAGES).shape == (20, 2, 4, 4)
    fine = areas_of(lambda images: torch.ones(len(images), 1, 300, 100), IMAGES)
    assert fine.shape == (20, 1, 64, 64)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (lambda images: None, "gives NoneType"),
        (lambda images: torch.zeros(len(images), 2), "gives"),
        (lambda images: torch.zeros(1, 2, 4, 4), "return a tensor"),
        (lambda images: 2 * torch.ones(len(images), 2, 4, 4), "outside of 0 to 1"),
        (lambda images: torch.full((len(images), 2, 4, 4), torch.nan), "outside of 0 to 1"),
    ],
)
def test_other_answers_are_refused_in_a_sentence(teacher, said):
    with pytest.raises(DiscoveryError, match=said) as caught:
        areas_of(teacher, IMAGES)
    assert "\n" not in str(caught.value)


def test_parts_are_called_by_their_names_or_numbers():
    assert taught_names(half, 2) == ["0", "1"]
    assert name_of_teacher(half).endswith("test_teacher.half")

    class Named:
        part_names = ("head", "head")

    with pytest.raises(DiscoveryError, match="2 part_names for 2 parts"):
        taught_names(Named(), 2)
    with pytest.raises(DiscoveryError, match="2 part_names for 3 parts"):
        taught_names(Named(), 3)
    assert name_of_teacher(Named()).endswith("Named")


def test_areas_become_evidence_by_cell():
    areas = torch.zeros(1, 3, 8, 8)
    areas[0, 0, :4, :4] = 1  # the upper left quarter
    areas[0, 1, 0, 7] = 0.5  # small, yet there
    evidence = area_evidence(areas, (2, 2))
    assert torch.allclose(evidence[0, :, 0], torch.tensor([1.0, 0, 0, 0]))
    assert torch.allclose(evidence[0, :, 1], torch.tensor([0, 1.0, 0, 0]))
    assert (evidence[0, :, 2] == 0).all()
    finer = area_evidence(areas, (16, 16))
    assert finer.shape == (1, 256, 3)
    points = evident_points(evidence, (2, 2), (32, 32))[0, :, 0]
    assert points[0].tolist() == [8, 8, 1]
    assert points[2, 2] == 0


def test_areas_of_a_name_are_those_of_its_members():
    areas = torch.rand(2, 3, 4, 4)
    grouped = grouped_areas(areas, ["a", "b", "c"], {"both": ["a", "c"], "one": ["b"]})
    assert torch.allclose(grouped[:, 0], (areas[:, 0] + areas[:, 2]).clamp(max=1))
    assert torch.equal(grouped[:, 1], areas[:, 1])
    with pytest.raises(DiscoveryError, match="'d', which there is not"):
        grouped_areas(areas, ["a", "b", "c"], {"x": ["d"]})
