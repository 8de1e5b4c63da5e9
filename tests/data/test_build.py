import json

import pytest

from ppn.data.build import build_config, title_of
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.errors import DataError


class OwnBirds(SyntheticBirdsDataModule):
    pass


def config(tmp_path, content):
    path = tmp_path / "data.yaml"
    path.write_text(json.dumps(content))
    return str(path)


def test_a_file_of_configs_is_built_with_options_over_it():
    data = build_config("configs/data/synthetic_birds.yaml", None, {"num_classes": 3})
    assert isinstance(data, SyntheticBirdsDataModule)
    assert (data.num_bird_classes, data.train_per_class) == (3, 40)


@pytest.mark.parametrize(
    "name",
    ["SyntheticBirdsDataModule", "ppn.data.synthetic.SyntheticBirdsDataModule"],
)
def test_a_run_s_own_configuration_is_built(tmp_path, name):
    run = {"seed_everything": 0, "data": {"class_path": name, "init_args": {"num_classes": 5}}}
    assert build_config(config(tmp_path, run)).num_classes == 5


def test_a_short_name_and_a_user_s_own_class_are_built(tmp_path):
    assert build_config("synthetic_birds", None, {"num_classes": 4}).num_classes == 4
    own = {"class_path": f"{__name__}.OwnBirds"}
    assert isinstance(build_config(config(tmp_path, own)), OwnBirds)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"class_path": "Birds"}, "there is no data set Birds"),
        ({"class_path": "json.loads"}, "there is no data set json.loads"),
        ({"class_path": "no.such.Birds"}, "there is no data set no.such.Birds"),
        ({"init_args": {}}, "describes no data set"),
        ([1], "describes no data set"),
        (
            {"class_path": "SyntheticBirdsDataModule", "init_args": {"birds": 1}},
            "option --data.birds",
        ),
        ({"class_path": "ImageFolderDataModule"}, "needs the folder"),
    ],
)
def test_wrong_files_are_refused(tmp_path, content, said):
    with pytest.raises(DataError) as error:
        build_config(config(tmp_path, content))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_names_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml is missing: give a file of configs/data"):
        build_config(str(tmp_path / "none.yaml"))
    with pytest.raises(DataError, match="There is no data set 'cubb'"):
        build_config("cubb")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(DataError, match="is not YAML"):
        build_config(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("section", "title"),
    [
        ({"class_path": "ppn.data.cub.CUBDataModule", "init_args": {"root": "/d/x"}}, "CUB"),
        ({"class_path": "f.ImageFolderDataModule", "init_args": {"root": "my/gulls"}}, "gulls"),
        ({"class_path": None, "init_args": None}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_run_says_what_its_data_set_is_called(section, title):
    assert title_of(section) == title
