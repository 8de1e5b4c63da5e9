import itertools

import pytest
import torch

from ppn.discovery import factorization as module
from ppn.discovery.factorization import (
    coordinate_descent,
    make_sketch,
    nmf,
    nonnegative_coefficients,
)


def sketch(tokens, seed=0):
    return make_sketch(tokens, min(24, *tokens.shape), seed)


def nndsvda(tokens, k, seed=0):
    return module.nndsvda(tokens, k, sketch(tokens, seed))


def planted(n=300, width=40, k=3, noise=0.05):
    generator = torch.Generator().manual_seed(1)
    parts = torch.rand(k, width, generator=generator) * (
        torch.rand(k, width, generator=generator) > 0.6
    )
    coefficients = torch.rand(n, k, generator=generator).square()
    return coefficients @ parts + noise * torch.rand(n, width, generator=generator)


@pytest.mark.parametrize("sketched", [True, False])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_objective_is_as_low_as_scikit_learns(k, sketched):
    NMF = pytest.importorskip("sklearn.decomposition").NMF
    tokens = planted(k=5)
    ours = nmf(tokens, nndsvda(tokens, k), sketch(tokens) if sketched else None)
    theirs = NMF(k, init="nndsvda", solver="cd", tol=1e-4, max_iter=200, random_state=0)
    mixture = theirs.fit_transform(tokens.numpy())
    error = (tokens - torch.from_numpy(mixture @ theirs.components_)).square().sum()
    assert ours.error <= 1.001 * error


def test_reported_error_is_that_of_the_factors():
    tokens = planted()
    factors = nmf(tokens, nndsvda(tokens, 3))
    literal = (tokens - factors.coefficients @ factors.parts).square().sum()
    # The last update of the parts is unit-normalised afterwards, which leaves E P as it is.
    assert torch.allclose(factors.error.float(), literal, rtol=1e-3)


def test_factors_are_nonnegative_and_parts_of_unit_length():
    factors = nmf(planted(), nndsvda(planted(), 4))
    assert (factors.coefficients >= 0).all()
    assert (factors.parts >= 0).all()
    assert torch.allclose(factors.parts.norm(dim=1), torch.ones(4), atol=1e-5)


def test_more_iterations_never_raise_the_error():
    tokens = planted()
    start = torch.rand(3, 40)
    errors = [nmf(tokens, start, max_iterations=i, tolerance=0.0).error for i in (1, 2, 5, 20, 80)]
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(errors))


def test_padding_and_batching_change_nothing():
    long, short = planted(200), planted(120)
    starts = torch.stack([nndsvda(long, 3), nndsvda(short, 3)])
    batch = torch.stack([long, torch.cat([short, torch.zeros(80, 40)])])
    together = nmf(batch, starts, max_iterations=30, tolerance=0.0)
    alone = nmf(short, starts[1], max_iterations=30, tolerance=0.0)
    assert torch.allclose(together.parts[1], alone.parts, atol=1e-4)
    assert torch.allclose(together.coefficients[1, :120], alone.coefficients, atol=1e-3)
    assert (together.coefficients[1, 120:] == 0).all()


def test_a_sketch_saves_passes_over_the_tokens_and_moves_nothing_far():
    tokens = planted(noise=0.3)
    start = nndsvda(tokens, 3)
    plain, sketched = nmf(tokens, start), nmf(tokens, start, sketch(tokens))
    assert sketched.iterations < plain.iterations
    assert sketched.error <= 1.001 * plain.error
    assert torch.allclose(sketched.parts, plain.parts, atol=0.05)


@pytest.mark.parametrize("shape", [(30, 200), (200, 30), (5, 40)])
def test_a_sketch_holds_what_tokens_of_low_rank_are(shape):
    count, width = shape
    tokens = torch.rand(count, 4) @ torch.rand(4, width)
    found = make_sketch(tokens, min(8, *shape))
    assert torch.allclose(found.left @ found.right, tokens, atol=1e-3)
    assert torch.allclose(found.left.T @ found.left, torch.eye(min(8, *shape)), atol=1e-4)


def test_a_class_stops_by_its_own_rule_whatever_shares_its_batch():
    easy, hard = planted(100, noise=0.0), torch.rand(100, 40)
    starts = torch.stack([nndsvda(easy, 3), nndsvda(hard, 3)])
    together = nmf(torch.stack([easy, hard]), starts)
    for position, tokens in enumerate((easy, hard)):
        alone = nmf(tokens, starts[position])
        assert torch.allclose(together.parts[position], alone.parts, atol=1e-5)
        assert torch.allclose(together.error[position], alone.error, rtol=1e-4, atol=1e-3)


def test_all_zero_tokens_give_zero_coefficients_and_no_nan():
    factors = nmf(torch.zeros(20, 8), torch.rand(2, 8))
    assert (factors.coefficients == 0).all()
    assert torch.isfinite(factors.parts).all()


def test_coefficients_for_fixed_parts_meet_the_optimality_conditions():
    tokens = planted()
    parts = nndsvda(tokens, 3)
    coefficients = nonnegative_coefficients(tokens, parts, sweeps=500)
    gradient = coefficients @ (parts @ parts.T) - tokens @ parts.T
    assert (gradient[coefficients == 0] >= -1e-4).all()
    assert gradient[coefficients > 0].abs().max() < 1e-2


def test_coordinate_descent_leaves_rows_without_curvature_alone():
    x = torch.ones(2, 3)
    gram = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    coordinate_descent(x, torch.full((2, 3), 2.0), gram, 3)
    assert torch.equal(x, torch.tensor([[2.0] * 3, [1.0] * 3]))


def test_nndsvda_is_seeded_and_leaves_the_random_state_alone():
    tokens = planted()
    state = torch.get_rng_state()
    first, second = nndsvda(tokens, 3, seed=5), nndsvda(tokens, 3, seed=5)
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert (first > 0).all()


def test_coefficients_are_found_where_others_record_gradients():
    tokens, parts = torch.rand(2, 5, 6), torch.rand(2, 3, 6)
    found = nonnegative_coefficients(tokens.clone().requires_grad_(), parts)
    assert not found.requires_grad
    assert torch.equal(found, nonnegative_coefficients(tokens, parts))
