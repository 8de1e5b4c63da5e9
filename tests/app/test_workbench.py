import base64
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import ppn
from ppn.app.bench_set import BenchSet
from ppn.app.uploads import MOST_BYTES, uploaded
from ppn.app.workbench import _KEPT, Asked, Workbench
from ppn.data.folder import ImageFolderDataModule
from ppn.errors import DataError
from tests.commands.conftest import world  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def place(world):  # noqa: F811
    return world[0]


@pytest.fixture
def network(place):
    return ppn.load(place / "run/checkpoints/prototypes.ckpt")


@pytest.fixture
def work(network):
    return Workbench(network, "some.ckpt")


def uri(seed=0, side=80, kind="PNG"):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def test_an_upload_gives_what_the_network_explains(work, network):
    content = uri()
    picture = Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2])))
    truth = network.explain(picture)
    found = work.upload(content, "a.png", Asked())
    assert found["label"] == truth.label
    assert [term["index"] for term in found["terms"]] == list(truth.order)
    for term in found["terms"]:
        assert term["value"] == pytest.approx(truth.contributions[term["index"]], abs=1e-5)
    assert found["logit"]["value"] == pytest.approx(truth.logit, abs=1e-5)
    assert found["set"] is None
    assert found["command"] == ""


def test_switched_off_parts_take_their_contributions_along(work, network):
    found = work.upload(uri(), "a.png", Asked())
    label, value = found["label"], found["logit"]["value"]
    gone = found["terms"][0]
    again = work.again(found["image"], Asked(label, 1 - label, ((label, gone["index"]),)))
    assert again["logit"]["value"] == pytest.approx(value - gone["value"], abs=1e-5)
    assert again["terms"][0]["value"] == 0
    assert again["terms"][0]["was"] == gone["value"]
    versus = again["versus"]
    total = sum(pair["difference"] for pair in versus["pairs"]) + versus["bias"]["difference"]
    other = work.again(found["image"], Asked(1 - label))["logit"]["value"]
    assert total == pytest.approx(again["logit"]["value"] - other, abs=1e-5)
    name = network.class_names[label]
    assert f"--remove {name}:{gone['index'] + 1} " in again["command"]
    assert network.edits == ()  # of other pages


def test_pages_do_not_mix(work):
    contents = [uri(seed) for seed in range(6)]
    alone = [work.upload(content, "x", Asked())["logit"]["value"] for content in contents]
    questions = [(c, off) for c in contents for off in ((), ((0, 0),), ((1, 1),))] * 2
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda q: work.upload(q[0], "x", Asked(0, None, q[1])), questions))
    for (content, off), answer in zip(questions, found, strict=True):
        expected = work.upload(content, "x", Asked(0, None, off))
        assert answer["logit"] == expected["logit"]
        assert answer["terms"] == expected["terms"]
    assert [work.upload(c, "x", Asked())["logit"]["value"] for c in contents] == alone


def test_old_images_are_forgotten_and_asked_for(work):
    first = work.upload(uri(0), "x", Asked())["image"]
    for seed in range(1, _KEPT + 1):
        work.upload(uri(seed, 8), "x", Asked())
    assert work.again(first, Asked()) == {"gone": True}
    assert work.pictures(first, 0) == {"gone": True}


def test_mistakes_and_accuracy_of_the_set(place, network):
    data = ImageFolderDataModule(str(place / "photos"), num_workers=0)
    data.input_config = network.input_config
    view = data.view("train")
    cached = network.cache(data.train_dataloader())
    images = BenchSet(view, cached, "train images")
    for example in images.examples(network):
        _, name, true = images.at(example["position"])
        assert name == example["name"]
        assert name.startswith(example["true"])
        assert network.class_names[true] == example["true"]
    work = Workbench(network, "some.ckpt", images)
    off = tuple((0, part) for part in range(network.k))
    found = work.example(0, Asked(0, None, off))["set"]
    network.remove(0, *[part + 1 for part in range(network.k)])
    effect = cached.effect(network)
    assert found["changed"] == effect.changed
    assert found["after"] == f"{100 * effect.accuracy[1]:.1f}\N{NARROW NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("file:///etc/passwd", "is not an image"),
        ("data:image/png;base64,@@@@", "did not arrive whole"),
        ("data:image/png;base64,aGVsbG8=", "of no known kind"),
        (uri()[:-800], "cannot be read|did not arrive whole"),
        ("data:image/png;base64," + "A" * (4 * MOST_BYTES // 3 + 8), "more than 20 MB"),
    ],
)
def test_what_is_no_image_is_refused(content, what):
    with pytest.raises(DataError, match=what):
        uploaded(content)


@pytest.mark.parametrize("off", [((0, 99),), ((-1, 0),), ((7, 0),), ((0, 0),) * 501])
def test_parts_that_there_are_not_are_refused(work, off):
    with pytest.raises(DataError, match=r"no such part|too many"):
        work.upload(uri(), "x", Asked(0, None, off))
    with pytest.raises(DataError, match="Nothing is saved here"):
        work.save(off, [])
