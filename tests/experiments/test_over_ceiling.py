import pytest

from experiments.over_ceiling import over_ceiling

HEAD = "explainer,kind,seed,metric,value"
ROWS = [
    "ours,method,0,a,3",
    "ours,method,1,a,1",
    "ours,method,0,b,3",
    "half,method,0,a,1",
    "half,method,0,b,nan",
    "random,floor,0,a,9",
    "random,floor,0,b,9",
    "ceiling,ceiling,0,a,4",
    "ceiling,ceiling,0,b,2",
]


def test_a_mean_of_ratios_of_means_for_what_has_every_metric(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("\n".join([HEAD, *ROWS]))
    assert over_ceiling(file, ("a", "b")) == {"ours": pytest.approx((2 / 4 + 3 / 2) / 2)}


def test_without_a_ceiling_there_is_no_share_of_it(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("\n".join([HEAD, *ROWS[:7]]))
    with pytest.raises(SystemExit, match="no ceiling of a, b"):
        over_ceiling(file, ("a", "b"))
