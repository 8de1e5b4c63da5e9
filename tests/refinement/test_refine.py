from dataclasses import replace

import pytest
import torch

from ppn.discovery.factorization import make_sketch, nmf, nndsvda
from ppn.refinement import (
    Alpha,
    CamSplit,
    ChannelShare,
    ClassProblem,
    CompactSplit,
    Equal,
    NelderMead,
    Unrefined,
    exact_sum,
)
from ppn.refinement.cam_split import cam_shares
from ppn.refinement.ridge import solve_ridge

EXACT = [
    *(CamSplit(), CompactSplit(), Equal(), Alpha(), ChannelShare(), NelderMead()),
    Equal("nonnegative"),
]


def problem(n=200, width=30, k=3):
    tokens = torch.randn(n, width).clamp(min=-0.2) + 0.1
    positive = tokens.clamp(min=0)
    sketch = make_sketch(positive, 16)
    factors = nmf(positive, nndsvda(positive, k, sketch), sketch)
    weight = torch.randn(width, dtype=torch.float64)
    return ClassProblem(tokens, factors.coefficients, factors.parts, weight, (2, 5))


def relative_error(prototypes, weight):
    return ((prototypes.double().sum(0) - weight).abs().max() / weight.abs().max()).item()


@pytest.mark.parametrize("refinement", EXACT, ids=lambda way: way.name)
@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_prototypes_sum_to_the_head(refinement, k, scale):
    case = problem(k=k)
    case = replace(case, weight=case.weight * scale)
    refined = refinement.refine(case)
    assert refined.prototypes.dtype == torch.float32
    assert refined.prototypes.shape == (k, 30)
    assert relative_error(refined.prototypes, case.weight) <= 1e-6


@pytest.mark.parametrize("refinement", EXACT, ids=lambda way: way.name)
def test_prototypes_sum_to_the_head_where_they_cancel(refinement):
    case = problem()
    # Parallel parts make alpha huge or undefined.
    parts = case.parts.clone()
    parts[1] = parts[0] * (1 + 1e-6)
    refined = refinement.refine(replace(case, parts=parts))
    assert relative_error(refined.prototypes, case.weight) <= 1e-6


def test_exact_sum_holds_even_for_huge_cancelling_prototypes():
    weight = torch.randn(50, dtype=torch.float64)
    large = 1e6 * torch.randn(50, dtype=torch.float64)
    prototypes = torch.stack([large, -large, weight])
    assert relative_error(exact_sum(prototypes, weight), weight) <= 1e-6


def test_unrefined_is_the_projection_and_not_exact():
    case = problem()
    prototypes = Unrefined().refine(case).prototypes
    assert torch.allclose(prototypes.double(), case.alpha[:, None] * case.parts.double())
    assert relative_error(prototypes, case.weight) > 1e-2


def test_alpha_is_the_least_squares_solution():
    case = problem()
    expected = torch.linalg.lstsq(case.parts.double().T, case.weight[:, None]).solution[:, 0]
    assert torch.allclose(case.alpha, expected, atol=1e-8)
    assert (case.parts.double() @ case.residual).abs().max() < 1e-8


def test_nonnegative_alpha_is_nonnegative_and_leaves_more_residual():
    case = problem()
    assert (case.alpha < 0).any()
    assert (case.nonnegative_alpha >= 0).all()
    left = case.weight - case.nonnegative_alpha @ case.parts.double()
    assert left.norm() >= case.residual.norm()
    unrefined = Unrefined("nonnegative").refine(case).prototypes.double()
    assert torch.allclose(unrefined, case.nonnegative_alpha[:, None] * case.parts.double())


def test_alpha_falls_back_where_its_shares_are_ill_conditioned():
    case = problem(k=2)
    parts = torch.eye(2, 30)
    weight = torch.zeros(30, dtype=torch.float64)
    weight[0], weight[1], weight[5] = 1.0, -1.0, 2.0  # alpha = (1, -1): its sum is 0
    case = replace(case, parts=parts, weight=weight)
    refined = Alpha().refine(case)
    assert refined.fell_back
    assert torch.equal(refined.prototypes, Equal().refine(case).prototypes)
    assert not Alpha().refine(problem()).fell_back


def test_equal_and_channel_share_follow_their_formulas():
    case = problem()
    base = case.alpha[:, None] * case.parts.double()
    equal = base + case.residual / 3
    share = case.parts.double() / case.parts.double().sum(0)
    owned = base + share.nan_to_num(1 / 3) * case.residual
    assert torch.allclose(Equal().refine(case).prototypes.double(), equal, atol=1e-5)
    assert torch.allclose(ChannelShare().refine(case).prototypes.double(), owned, atol=1e-5)


def test_nelder_mead_agrees_better_with_the_parts_maps_than_its_start():
    case = problem()

    def agreement(prototypes):
        before, after = case.tokens @ case.parts.T, case.tokens @ prototypes.T
        pairs = zip(before.T, after.T, strict=True)
        return sum(torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs)

    best = agreement(NelderMead().refine(case).prototypes)
    assert best > agreement(Equal().refine(case).prototypes) + 1e-3


@pytest.mark.parametrize(("n", "width"), [(200, 30), (20, 30)])
def test_cam_split_solves_its_ridge_regression(n, width):
    case = problem(n, width)
    tokens, weight = case.tokens.double(), case.weight
    ridge = 0.7 * tokens.square().sum() / width
    gram = tokens.T @ tokens + ridge * torch.eye(width, dtype=torch.float64)
    for i in range(3):
        target = cam_shares(case.coefficients)[:, i].double() * (tokens @ weight)
        expected = torch.linalg.solve(gram, tokens.T @ target + ridge * weight / 3)
        assert torch.allclose(
            CamSplit(0.7).refine(case).prototypes[i].double(), expected, atol=2e-4
        )


def test_cam_split_of_dead_features_shares_the_head_equally():
    case = replace(problem(), tokens=torch.zeros(200, 30))
    prototypes = CamSplit().refine(case).prototypes
    assert torch.allclose(prototypes.double(), (case.weight / 3).expand(3, 30), atol=1e-6)


def test_shares_sum_to_one_also_where_nothing_is_active():
    coefficients = torch.rand(50, 4)
    coefficients[:10] = 0
    shares = cam_shares(coefficients)
    assert torch.allclose(shares.sum(1), torch.ones(50))
    assert torch.equal(shares[:10], torch.full((10, 4), 0.25))


@pytest.mark.parametrize("shape", [(60, 200), (200, 60)])
@pytest.mark.parametrize("strength", [1e-6, 0.1, 3.0])
def test_conjugate_gradients_and_factorisation_solve_the_same_system(shape, strength):
    tokens = torch.rand(shape) ** 4
    rows = torch.randn(3, shape[0]) @ tokens
    ridge = strength * tokens.square().mean() * len(tokens)
    solution = solve_ridge(tokens, rows, ridge)
    back = (solution @ tokens.T) @ tokens + ridge * solution
    assert (back - rows).norm() <= 1e-3 * rows.norm()
    gram = tokens.T.double() @ tokens.double()
    exact = torch.linalg.solve(gram + ridge.double() * torch.eye(shape[1]), rows.double().T).T
    if strength >= 0.1:  # below, float32 itself does not determine the solution
        assert (solution - exact).norm() <= 1e-3 * exact.norm()


def test_a_system_that_iterations_do_not_solve_is_factorised(monkeypatch):
    monkeypatch.setattr("ppn.refinement.ridge._CG_STEPS", 1)
    tokens = torch.rand(80, 30)
    rows = torch.randn(3, 80) @ tokens
    ridge = tokens.square().mean() * len(tokens)
    solution = solve_ridge(tokens, rows, ridge)
    back = (solution @ tokens.T) @ tokens + ridge * solution
    assert (back - rows).norm() <= 1e-4 * rows.norm()
