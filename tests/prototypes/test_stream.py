import pytest
import torch

from ppn.prototypes.stream import GROUP, group_size

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "class_bytes", "expected"),
    [
        (80 * GIB, 1300 * 49 * 2048 * 4, 16),
        (80 * GIB, 1300 * 256 * 1024 * 4, 4),
        (12 * GIB, 1300 * 256 * 1024 * 4, 1),
        (1 * GIB, 1300 * 256 * 1024 * 4, 1),  # one class must do
        (80 * GIB, 30 * 49 * 1280 * 4, 16),  # more would be shared out unevenly
    ],
)
def test_a_gpu_holds_as_many_classes_as_fit(free, class_bytes, expected):
    device = torch.device("cuda", 0)
    chosen = group_size(
        class_bytes, device, lambda asked: (free, 90 * GIB) if asked == device else 0
    )
    assert chosen == expected
    assert chosen == 1 or 4 * chosen * class_bytes <= free / 2


def test_a_cpu_takes_a_fixed_number():
    assert group_size(10 * GIB, torch.device("cpu")) == GROUP
