from dataclasses import replace

import pytest
import torch

from ppn.errors import DiscoveryError
from ppn.refinement.base import ClassProblem
from ppn.refinement.cam_split import CamSplit, cam_shares
from ppn.refinement.compact_split import CompactSplit
from ppn.refinement.ridge import solve_ridge
from ppn.refinement.shares import centres, compact_shares

GRID = (4, 5)


def problem(k=3, images=6, width=30, grid=GRID, **options):
    n = images * grid[0] * grid[1]
    tokens = torch.randn(n, width).clamp(min=-0.2) + 0.1
    coefficients = torch.rand(n, k)
    weight = torch.randn(width, dtype=torch.float64)
    return ClassProblem(tokens, coefficients, torch.rand(k, width), weight, grid, **options)


def relative_error(prototypes, weight):
    return ((prototypes.double().sum(0) - weight).abs().max() / weight.abs().max()).item()


def rank_deficient(case):
    return replace(case, tokens=torch.randn(len(case.tokens), 2) @ torch.randn(2, 30))


def duplicate_parts(case):
    return replace(case, coefficients=case.coefficients[:, :1].expand(-1, 3).clone())


def absent_part(case):
    coefficients = case.coefficients.clone()
    coefficients[:, 1] = 0
    return replace(case, coefficients=coefficients)


def zero_rows(case):
    tokens, coefficients = case.tokens.clone(), case.coefficients.clone()
    tokens[::3], coefficients[::3] = 0, 0
    return replace(case, tokens=tokens, coefficients=coefficients)


def nothing_found(case):
    return replace(case, coefficients=torch.zeros_like(case.coefficients))


def dead_features(case):
    return replace(case, tokens=torch.zeros_like(case.tokens))


def zero_row_of_the_head(case):
    return replace(case, weight=torch.full_like(case.weight, 1e-30))


def negative_everywhere(case):
    tokens = case.tokens.abs()
    return replace(case, tokens=tokens, weight=-case.weight.abs())


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("grid", [(4, 5), (1, 20), (20, 1), (1, 1), (7, 7)])
@pytest.mark.parametrize("remainder", [False, True])
def test_prototypes_sum_to_the_head(k, grid, remainder):
    case = problem(k, grid=grid, remainder=remainder)
    prototypes = CompactSplit().refine(case).prototypes
    assert prototypes.shape == (k, 30)
    assert prototypes.dtype == torch.float32
    assert relative_error(prototypes, case.weight) <= 1e-6


@pytest.mark.parametrize(
    "spoil",
    [
        rank_deficient,
        duplicate_parts,
        absent_part,
        zero_rows,
        nothing_found,
        dead_features,
        zero_row_of_the_head,
        negative_everywhere,
    ],
)
@pytest.mark.parametrize("remainder", [False, True])
@pytest.mark.parametrize("ridge", [1e-4, 3.0])
def test_prototypes_sum_to_the_head_of_a_difficult_class(spoil, remainder, ridge):
    case = spoil(problem(remainder=remainder))
    prototypes = CompactSplit(ridge).refine(case).prototypes
    assert relative_error(prototypes, case.weight) <= 1e-6


def test_follows_its_definition():
    """Literally: loops over rounds, images and parts, dense solves, in float64."""
    case = problem()
    tokens, e, v = case.tokens.double(), case.coefficients.double(), case.weight
    ridge = 2.0 * tokens.square().sum() / 30
    gram = tokens.T @ tokens + ridge * torch.eye(30, dtype=torch.float64)

    def split(shares):
        rows = [tokens.T @ (s * (tokens @ v)) + ridge * v / 3 for s in shares.T]
        return torch.linalg.solve(gram, torch.stack(rows, 1)).T

    shares = e / e.sum(1, keepdim=True)
    cells = [(i // GRID[1], i % GRID[1]) for i in range(20)]
    for _ in range(2):
        maps = (tokens @ split(shares).T).clamp(min=0)
        weights = torch.zeros_like(e)
        for image in range(6):
            for part in range(3):
                m = maps[image * 20 : image * 20 + 20, part] ** 4
                y, x = (sum(m[i] * cells[i][axis] for i in range(20)) / m.sum() for axis in (0, 1))
                for i, (row, column) in enumerate(cells):
                    squared = (row - y) ** 2 + (column - x) ** 2
                    sigma = 0.2 * 20**0.5
                    weights[image * 20 + i, part] = torch.exp(-squared / (2 * sigma**2))
        shares = weights * e / (weights * e).sum(1, keepdim=True)
    found = CompactSplit(ridge=2.0, spread=0.2, rounds=2).refine(case).prototypes
    assert torch.allclose(found.double(), split(shares), atol=2e-3)


def test_without_rounds_it_is_cam_split():
    case = problem()
    expected = CamSplit().refine(case).prototypes
    assert torch.allclose(CompactSplit(rounds=0).refine(case).prototypes, expected, atol=1e-6)


def test_without_rounds_it_is_the_split_of_the_shares_as_they_are():
    case = problem()
    tokens, v = case.tokens.double(), case.weight
    ridge = 3.0 * tokens.square().sum() / 30
    gram = tokens.T @ tokens + ridge * torch.eye(30, dtype=torch.float64)
    target = cam_shares(case.coefficients).double() * (tokens @ v)[:, None]
    expected = torch.linalg.solve(gram, tokens.T @ target + ridge * v[:, None] / 3).T
    found = CompactSplit(rounds=0).refine(case).prototypes
    assert torch.allclose(found.double(), expected, atol=2e-4)


def test_duplicate_parts_stay_equal():
    prototypes = CompactSplit().refine(duplicate_parts(problem())).prototypes
    assert torch.allclose(prototypes[0], prototypes[1], atol=1e-4)
    assert torch.allclose(prototypes[0], prototypes[2], atol=1e-4)


def test_a_transposed_grid_gives_the_same_prototypes():
    case = problem()

    def turned(rows):
        return rows.unflatten(0, (6, *GRID)).transpose(1, 2).flatten(0, 2)

    other = replace(
        case,
        tokens=turned(case.tokens),
        coefficients=turned(case.coefficients),
        grid=GRID[::-1],
    )
    expected = CompactSplit().refine(case).prototypes
    assert torch.allclose(CompactSplit().refine(other).prototypes, expected, atol=1e-3)


@pytest.mark.parametrize("remainder", [False, True])
def test_shares_sum_to_one_at_every_token(remainder):
    coefficients = torch.rand(4, 40)
    coefficients[:, :5] = 0
    coefficients[2] = 0
    maps = torch.randn(4, 40)
    maps[1] = -1  # nowhere positive
    shares = compact_shares(coefficients, maps, GRID, 0.01, remainder=remainder)
    assert torch.allclose(shares.sum(0), torch.ones(40))
    assert (shares >= 0).all()
    assert torch.allclose(shares[:, :5], torch.full((4, 5), 0.25))


def test_a_part_that_is_not_in_an_image_gets_nothing_there():
    maps = torch.ones(2, 40)
    maps[1, 20:] = -1
    shares = compact_shares(torch.ones(2, 40), maps, GRID, 0.2)
    assert torch.allclose(shares[1, :20], torch.tensor(0.5))
    assert (shares[1, 20:] == 0).all()


def test_the_remainder_keeps_its_share():
    coefficients, maps = torch.rand(3, 40), torch.randn(3, 40)
    shares = compact_shares(coefficients, maps, GRID, 0.1, remainder=True)
    assert torch.allclose(shares[2], coefficients[2] / coefficients.sum(0))
    named = compact_shares(coefficients[:2], maps[:2], GRID, 0.1)
    assert torch.allclose(shares[:2] / (1 - shares[2]), named, atol=1e-5)


def test_far_from_every_centre_the_nearest_part_has_the_share():
    maps = torch.zeros(2, 100)
    maps[0, 0], maps[1, 10] = 1, 1
    shares = compact_shares(torch.ones(2, 100), maps, (1, 100), 0.01)
    assert shares[1, -1] == 1


def test_centres_are_mean_places_weighted_by_a_power_of_the_map():
    maps = torch.zeros(1, 20)
    maps[0, 0], maps[0, 19] = 1, 2  # corners (0, 0) and (3, 4)
    where, present = centres(maps, GRID, 3.0)
    assert torch.allclose(where[0, 0], torch.tensor([3.0, 4.0]) * 8 / 9)
    assert present.all()
    tiny, _ = centres(maps * 1e-20, GRID, 3.0)
    assert torch.allclose(tiny, where)


@pytest.mark.parametrize(
    "option",
    [{"ridge": 0.0}, {"spread": -1.0}, {"power": 0.0}, {"rounds": -1}, {"ridge": float("nan")}],
)
def test_options_out_of_range_are_refused(option):
    (name,) = option
    with pytest.raises(DiscoveryError, match=name):
        CompactSplit(**option)


def test_a_guess_and_a_tolerance_change_the_effort_and_not_the_solution():
    tokens = torch.rand(80, 30)
    rows = torch.randn(3, 80) @ tokens
    ridge = tokens.square().mean() * len(tokens)
    exact = solve_ridge(tokens, rows, ridge)
    again = solve_ridge(tokens, rows, ridge, start=torch.randn(3, 30))
    assert (again - exact).norm() <= 1e-3 * exact.norm()
    assert torch.equal(solve_ridge(tokens, rows, ridge, start=exact, tolerance=1e-3), exact)
    rough = solve_ridge(tokens, rows, ridge, tolerance=0.1)
    assert 1e-4 < (rough - exact).norm() / exact.norm() < 0.3
