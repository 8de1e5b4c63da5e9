import numpy as np
import pytest

from experiments.benchmarks.costs import Decomposition, Held, fit, group_mib
from experiments.cost_model import Classifier, Machine, comparison, counted, predicted, projection

MACHINE = Machine(tflops=50.0, bandwidth=1000.0, memory=80.0, cores=10, network=10.0)
BACKBONE = Classifier(flops=8e9, parameters=25_000_000, patches=49, width=2048)
DATA = (1_280_000, 1000)
MODEL = Decomposition(fixed=0.01, per_token=0.0, per_number=4e-8, per_pass=1e-9)


def cost(gpus=1, backbone=BACKBONE, machine=MACHINE, load=0.005):
    return predicted(backbone, DATA, gpus, machine, load, model=MODEL, copies=3)


def test_the_fit_finds_what_is_there_and_nothing_negative():
    terms = np.random.default_rng(0).random((8, 3))
    np.testing.assert_allclose(fit(terms, terms @ [2, 0.5, 3]), [2, 0.5, 3])
    assert fit([(1, 1), (1, 2)], [2, 1]).min() >= 0
    assert Decomposition(1, 0.5, 0.25, 0.125)(10, 4) == 1 + 10 * (0.5 + 4 * 0.25)
    assert group_mib(16, 1024, 256) == 128  # 8 classes x 4 bytes
    assert Held("", 3.0, 2.0, False).error == 0.5


def test_time_is_shared_among_gpus_and_memory_is_not():
    one, eight = cost(), cost(8)
    assert one.decode == pytest.approx(1_280_000 * 0.005 / 10)
    assert one.forward == pytest.approx(1_280_000 * 8e9 / 50e12)
    assert one.decompose == pytest.approx(10 + 40 * 1_280_000 * 49 * 2048 * 4 / 1e12)
    assert one.exchange == 0 < eight.exchange
    for part in ("decode", "forward", "decompose"):
        assert getattr(eight, part) == pytest.approx(getattr(one, part) / 8)
    assert eight.gib == one.gib < 80
    assert one.seconds == max(one.decode, one.forward) + one.decompose


def test_the_bottleneck_is_named():
    assert cost().bottleneck == "decode"
    assert cost(load=1e-5).bottleneck == "forward"
    slow = Machine(50.0, 0.1, 80.0, 10, 10.0)
    assert cost(machine=slow).bottleneck == "decompose"
    small = Machine(50.0, 1000.0, 1.0, 10, 10.0)
    assert cost(machine=small).bottleneck == "memory"


def test_operations_are_counted_not_quoted():
    found = counted("resnet50")
    assert found.flops == pytest.approx(8.2e9, rel=0.01)  # 4.1 G multiply-adds
    assert (found.patches, found.width) == (49, 2048)


@pytest.mark.slow
def test_the_tables_have_every_row():
    lines, rows = projection(MACHINE, 0.005, MODEL, 3.0)
    assert len(rows) == len(lines) - 2 == 12
    assert {len(line.split("|")) for line in lines} == {13}
    held = comparison([Held("a", 1.1, 1.0, False)])
    assert held[-1] == "| a | 1.1 | 1 | +10% | predicted |"
