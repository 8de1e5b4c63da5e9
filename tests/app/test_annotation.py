import numpy as np
import pytest
import torch

from ppn.app.annotation import Annotation, draw_pool
from ppn.data.clicks import click_indices, read_clicks
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.errors import DataError

PARTS = ["head", "left wing"]


@pytest.fixture
def data():
    return SyntheticBirdsDataModule(
        num_classes=3, train_per_class=4, test_per_class=1, draw_size=64, val_fraction=0.25
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clicks.csv"


@pytest.fixture
def work(data, path):
    work = Annotation(data, PARTS, path)
    yield work
    work.close()


def fill(work, position, parts=PARTS):
    found = work.image(position)
    for part in parts:
        work.answer(position, part, (0.5, 0.25))
    return found["name"]


def test_answers_are_pixels_of_the_file(work, path, data):
    name = work.image(0)["name"]
    found = work.answer(0, "head", (0.5, 0.25))
    assert found["answers"] == {"head": [0.5, 0.25]}
    assert found["done"] == 0
    found = work.answer(0, "left wing", None)
    assert found["answers"]["left wing"] is None
    assert found["done"] == 1
    assert path.read_text() == f"image,part,x,y\n{name},head,32.0,16.0\n{name},left wing,,\n"
    clicks = read_clicks(path)
    index = click_indices(clicks, data.train_source)[0]
    assert index in data.view("train").indices


def test_a_box_is_shown_alone_and_its_points_are_still_pixels_of_the_file(data, path):
    data.crop = "box"
    work = Annotation(data, PARTS, path)
    found = work.image(0)
    source = data.train_source
    index = [source.name(i) for i in range(len(source))].index(found["name"])
    box = source.read(index).box
    assert found["aspect"] == pytest.approx((box[2] - box[0]) / (box[3] - box[1]))
    for corner in ((0, 0), (1, 1)):
        answer = work.answer(0, "head", corner)
        assert answer["answers"]["head"] == pytest.approx(list(corner))
        expected = box[:2] if corner == (0, 0) else box[2:]
        assert np.array_equal(read_clicks(path).points[0, 0, :2], expected)
    work.close()


def test_every_class_has_its_turn_before_one_comes_again(work, data):
    labels = [work.image(position)["class"] for position in range(9)]
    assert [len(set(labels[i : i + 3])) for i in (0, 3, 6)] == [3, 3, 3]
    assert work.image(9) == {"end": True}
    names = [work.image(position)["name"] for position in range(9)]
    training = [data.train_source.name(i) for i in data.view("train").indices]
    assert sorted(names) == sorted(training)


def test_an_image_keeps_its_position(work):
    first = work.image(0)
    fill(work, 1 - 1)
    work.image(1)
    assert work.image(0)["name"] == first["name"]


def test_a_page_that_is_reloaded_goes_on_where_it_was(work):
    fill(work, 0)
    fill(work, 1, PARTS[:1])
    work.image(2)  # as pages read ahead
    assert work.start()["position"] == 1
    fill(work, 1)
    assert work.start()["position"] == 2


def test_undo_takes_back_one_answer_after_the_other(work, path):
    assert work.undo()["position"] is None
    name = fill(work, 0)
    work.image(1)
    work.answer(1, "head", None)
    work.answer(0, "head", (1.0, 1.0))
    found = work.undo()
    assert (found["position"], found["part"]) == (0, "head")
    assert found["answers"]["head"] == [0.5, 0.25]
    assert work.undo()["position"] == 1
    found = work.undo()
    assert (found["position"], found["part"], found["done"]) == (0, "left wing", 0)
    assert path.read_text() == f"image,part,x,y\n{name},head,32.0,16.0\n"


def test_another_process_goes_on_where_one_was_killed(data, path):
    work = Annotation(data, PARTS, path)
    names = [fill(work, 0), fill(work, 1), fill(work, 2, PARTS[:1])]
    work.image(3)
    work._file.close()  # as the end of a process does, and nothing else
    path.write_text(path.read_text() + f"{names[2]},left wi")
    work = Annotation(data, PARTS, path)
    begin = work.start()
    assert (begin["position"], begin["done"]) == (2, 2)
    assert "cut off" in begin["remark"]
    assert [work.image(position)["name"] for position in range(3)] == names
    assert list(work.image(2)["answers"]) == ["head"]
    assert work.undo()["position"] == 2
    assert work.undo()["position"] == 1
    work.close()
    work = Annotation(data, [*PARTS, "tail"], path)  # another part is asked for on every image
    assert work.start()["position"] == 0
    assert work.start()["remark"] == ""
    work.close()


def test_what_a_page_may_not_say_is_refused(work, path):
    work.image(0)
    for position, part, point in ((1, "head", None), (0, "tail", None), (-1, "head", None)):
        with pytest.raises(DataError, match="another question"):
            work.answer(position, part, point)
    for point in ((1.1, 0.5), (float("nan"), 0.5)):
        with pytest.raises(DataError, match="outside of the image"):
            work.answer(0, "head", point)
    for position in (-1, 2):
        with pytest.raises(DataError, match="no image"):
            work.image(position)
    assert path.read_text() == "image,part,x,y\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nobody,head,1,1", "nobody is none of the training images"),
        ("{name},head,65,1", "64 x 64 pixels"),
    ],
)
def test_files_that_do_not_fit_the_data_are_refused(data, path, line, said):
    text = "image,part,x,y\n" + line.format(name=data.train_source.name(0)) + "\n"
    path.write_text(text)
    for _ in range(2):  # the first try holds no lock
        with pytest.raises(DataError, match=said):
            Annotation(data, PARTS, path)
    assert path.read_text() == text


class Unsure:
    """Is least sure of the last image of the pool."""

    def __init__(self):
        self.learned = []

    def learn(self, answers):
        self.learned.append(answers)

    def uncertainty(self, images):
        return torch.tensor([float(index) for index in images])

    def close(self):
        pass


def test_what_the_learner_is_least_sure_of_comes_first(data, path):
    learner = Unsure()
    pool = draw_pool(data)
    work = Annotation(data, PARTS, path, pool, learner)
    found = work.image(0)
    assert found["name"] == data.train_source.name(int(max(pool)))
    work.answer(0, "head", (0.5, 0.5))
    assert learner.learned == [{}]
    work.answer(0, "left wing", None)
    (clicks,) = learner.learned[-1].values()
    assert [click.part for click in clicks] == PARTS
    work.close()


def test_after_ten_images_the_parts_are_shown(path):
    data = SyntheticBirdsDataModule(
        num_classes=2, train_per_class=6, test_per_class=1, draw_size=64, val_fraction=0
    )
    work = Annotation(data, PARTS, path)
    for position in range(9):
        work.image(position)
        work.answer(position, "head", (0.5, 0.5))
        work.answer(position, "left wing", None)
    assert not work.parts_so_far()["ready"]
    fill(work, 9)
    found = work.parts_so_far()
    assert found["ready"]
    assert [row["part"] for row in found["rows"]] == PARTS
    assert [len(row["pictures"]) for row in found["rows"]] == [8, 1]
    assert "--ckpt" in found["note"]
    work.close()
