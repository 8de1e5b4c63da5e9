import pytest

from ppn.callbacks.discovery import PrototypeDiscovery
from ppn.errors import DiscoveryError


def test_a_group_holds_at_least_one_class():
    with pytest.raises(DiscoveryError, match="classes_per_group is 0, but must be at least 1"):
        PrototypeDiscovery(classes_per_group=0)
