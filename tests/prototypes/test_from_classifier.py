"""The public Python interface, on classifiers of every head case and on any loader."""

import json
import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import ppn
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.errors import DataError, HeadError

NAMES = ["ant", "bee", "cat"]


class Squares(Dataset):
    """Noise with a square whose colour is the class, as a plain PyTorch data set gives it."""

    def __init__(self, count=12, size=64):
        rng = np.random.default_rng(0)
        self.labels = [i % 3 for i in range(count)]
        self.images = [
            torch.from_numpy(rng.normal(size=(3, size, size))).float() for _ in range(count)
        ]
        for label, image in zip(self.labels, self.images, strict=True):
            image[label, 16:40, 20:44] += 4

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Named(Squares):
    """The same with torchvision's `targets` and `classes`."""

    classes = NAMES

    @property
    def targets(self):
        return self.labels


class Plain(nn.Module):
    """A user's own network: named features, pooling, linear."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.ReLU()
        )
        self.classifier = nn.Linear(16, 3)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def loader(dataset=None, **options):
    return DataLoader(Squares() if dataset is None else dataset, batch_size=5, **options)


def model(name="test_resnet"):
    return Plain().eval() if name == "plain" else timm.create_model(name, num_classes=3).eval()


@pytest.mark.parametrize(
    "name", ["plain", "test_resnet", "test_convnext", "test_vit", "test_mambaout"]
)
def test_contributions_and_bias_are_the_models_own_logit(name):
    black_box = model(name)
    size = (
        timm.data.resolve_model_data_config(black_box)["input_size"][1] if name != "plain" else 64
    )
    dataset = Named(size=size)
    network = ppn.from_classifier(black_box, loader(dataset), k=2)
    for image, _ in list(zip(dataset.images, dataset.labels, strict=True))[:4]:
        with torch.no_grad():
            logits = black_box(image[None])[0]
        explanation = network.explain(image)
        label = int(logits.argmax())
        assert explanation.predicted.label == explanation.label == label
        assert explanation.class_name == NAMES[label]
        total = sum(explanation.contributions) + explanation.bias
        assert abs(total - float(logits[label])) <= 1e-4 * float(logits.std())
        assert len(explanation.maps) == len(explanation.contributions) == 2
    assert network.certificate["agreement"] == 1


def test_exact_maps_have_the_contributions_as_their_means():
    network = ppn.from_classifier(model(), loader(Named()), k=3)
    sample = network.explain(Squares().images[0])
    for grid, contribution in zip(sample.maps, sample.contributions, strict=True):
        assert np.mean(grid) == pytest.approx(contribution, rel=1e-4, abs=1e-7)


def test_features_are_taken_from_the_module_that_is_named():
    black_box = model("plain")
    found = ppn.from_classifier(black_box, loader(), k=2).classifier.inspection
    named = ppn.from_classifier(
        black_box, loader(), k=2, features="features.0"
    ).classifier.inspection
    assert (found.width, found.case) == (16, "mean_linear")
    # Between the first convolution and the head there is a ReLU: no linear head of its features.
    assert (named.features, named.case) == ("features.0", "pre_logits")
    with pytest.raises(HeadError, match="no module 'layer4'"):
        ppn.from_classifier(black_box, loader(), features="layer4")


def test_what_is_exact_is_said_as_the_head_allows():
    exact = ppn.from_classifier(model(), loader(Named()), k=2).exactness
    assert "maps exact" in exact
    class_token = ppn.from_classifier(model("test_vit"), loader(Named(size=160)), k=2).exactness
    assert "maps indicative" in class_token


def test_every_kind_of_loader_gives_the_same_prototypes():
    black_box, dataset = model(), Named()
    by_class = ppn.from_classifier(black_box, loader(dataset, shuffle=True), k=2)
    unordered = ppn.from_classifier(black_box, loader(Squares(), shuffle=True), k=2)
    order = np.argsort(dataset.labels, kind="stable")
    batches = [
        {
            "image": torch.stack([dataset.images[i] for i in part]),
            "label": torch.tensor([dataset.labels[i] for i in part]),
        }
        for part in np.array_split(order, 4)
    ]
    listed = ppn.from_classifier(black_box, batches, k=2, class_names=NAMES)
    assert by_class.class_names == listed.class_names == NAMES
    assert unordered.class_names == ["0", "1", "2"]
    for other in (unordered, listed):
        assert torch.allclose(by_class.head.prototypes, other.head.prototypes, atol=1e-5)


def test_a_data_module_follows_the_classifier():
    data = SyntheticBirdsDataModule(2, 6, 2, num_workers=0)
    black_box = timm.create_model("test_resnet", num_classes=2)
    network = ppn.from_classifier(black_box, data, k=2)
    assert network.class_names == data.class_names
    sample = network.explain(data.test_source.read(0).image)
    assert sample.image.size == (160, 160)
    assert [p.name.split("/")[0] for p in sample.patches] == ["train", "train"]


def test_the_nearest_patch_shows_the_training_image_it_names():
    dataset = Named()
    network = ppn.from_classifier(model(), loader(dataset, shuffle=True), k=2)
    sample = network.explain(dataset.images[0])
    index = int(network.dictionary.patch_index[sample.label, 0, 0])
    assert dataset.labels[index] == sample.label
    shown = sample.patches[0]
    assert shown.name == f"training image {index}"
    repeated = network.explain(dataset.images[index]).image
    assert np.array_equal(np.asarray(shown.image), np.asarray(repeated))


@pytest.fixture(scope="module")
def network():
    return ppn.from_classifier(model("test_resnet").eval(), loader(Named(size=160)), k=2)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 300, 3), np.uint8)).save(path)
    return path


def test_files_arrays_and_pictures_are_explained_alike(network, photo):
    image = Image.open(photo).convert("RGB")
    found = [network.explain(given) for given in (photo, str(photo), image, np.asarray(image))]
    assert len({tuple(sample.contributions) for sample in found}) == 1
    assert found[0].name == str(photo)


def test_another_class_can_be_explained(network, photo):
    predicted = network.explain(photo).predicted
    other = next(name for name in NAMES if name != predicted.name)
    explanation = network.explain(photo, target=other)
    assert explanation.class_name == other
    assert f"predicted: {predicted.name}" in explanation.verdict
    assert explanation.label == NAMES.index(other)
    for number in (int, np.int64, torch.tensor):
        again = network.explain(photo, target=number(NAMES.index(other)))
        assert again.contributions == explanation.contributions


def test_plain_values_survive_json(network, photo):
    explanation = network.explain(photo)
    content = json.loads(json.dumps(explanation.to_dict()))
    total = sum(p["contribution"] for p in content["prototypes"]) + content["bias"]
    assert total - content["logit"] == pytest.approx(content["residual"], abs=1e-9)
    assert abs(content["residual"]) < 1e-5
    grid = np.array(content["prototypes"][0]["map"])
    row, column = np.unravel_index(grid.argmax(), grid.shape)
    x, y = content["prototypes"][0]["peak"]
    assert (int(y / 160 * grid.shape[0]), int(x / 160 * grid.shape[1])) == (row, column)
    assert [r["probability"] for r in content["ranking"]] == sorted(
        (r["probability"] for r in content["ranking"]), reverse=True
    )


def test_the_picture_is_saved_and_replaced_whole(network, photo, tmp_path):
    target = tmp_path / "deep" / "explanation.png"
    explanation = network.explain(photo)
    assert explanation.save(target) == target
    explanation.save(target)
    with Image.open(target) as picture:
        assert picture.width > 800
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_show_opens_the_picture(network, photo, monkeypatch):
    opened = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: opened.append(picture.size))
    network.explain(photo).show()
    assert opened == [network.explain(photo).picture().size]


def test_a_notebook_shows_the_picture(network, photo):
    html = network.explain(photo)._repr_html_()
    assert html.startswith("<img")
    assert "base64" in html


def test_a_class_name_is_text_and_no_formula():
    names = ["$\\frac{1}{$", "<script>", "Ω" * 90]
    odd = ppn.from_classifier(model(), loader(), k=2, class_names=names)
    for name in names:
        assert odd.explain(Squares().images[0], target=name).picture().width > 800


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(3, 10, 10), "tensor of shape"),
        (np.zeros((8, 8)), "array of shape"),
        ("nowhere.jpg", "nowhere.jpg is missing"),
    ],
)
def test_what_is_no_image_is_refused(network, given, message):
    with pytest.raises(DataError, match=message):
        network.explain(given)


@pytest.mark.parametrize(
    ("target", "message"),
    [("dog", "no class 'dog'"), (3, "classes are 0 to 2"), (1.5, "no class 1.5")],
)
def test_what_is_no_class_is_refused(network, photo, target, message):
    with pytest.raises(DataError, match=message):
        network.explain(photo, target=target)


def test_loaders_that_do_not_fit_are_refused():
    black_box = model()
    two_classes = [(torch.randn(4, 3, 64, 64), torch.tensor([0, 0, 1, 1]))]
    with pytest.raises(DataError, match="label 7, but the classifier has 3 classes"):
        ppn.from_classifier(black_box, [(torch.randn(1, 3, 64, 64), torch.tensor([7]))])
    with pytest.raises(DataError, match="must give"):
        ppn.from_classifier(black_box, [torch.randn(4, 3, 64, 64)])
    with pytest.raises(DataError, match="gives no image"):
        ppn.from_classifier(black_box, [])
    with pytest.raises(DataError, match="2 names, but the classifier has 3 classes"):
        ppn.from_classifier(black_box, two_classes, class_names=["a", "b"])


def test_a_classifier_whose_last_word_is_not_linear_is_refused():
    layers = nn.Conv2d(3, 3, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1)
    no_linear = nn.Sequential(*layers)
    with pytest.raises(HeadError):
        ppn.from_classifier(no_linear, loader())


def test_a_network_is_pickled_with_its_nearest_patches():
    network = ppn.from_classifier(model(), loader(), k=2)
    copy = pickle.loads(pickle.dumps(network))
    image = Squares().images[0]
    ours, theirs = network.explain(image), copy.explain(image)
    assert theirs.contributions == ours.contributions
    assert [p.name for p in theirs.patches] == [p.name for p in ours.patches]
    assert theirs.patches[0].image.size == (128, 128)
    assert copy.patch(0, 0, 1) is None


def test_a_transform_that_cannot_be_pickled_is_told_with_the_way_out():
    network = ppn.from_classifier(model(), loader(), k=2, transform=lambda picture: picture)
    with pytest.raises(DataError, match=r"network\.save\(folder\) and read it with ppn\.load"):
        pickle.dumps(network)


def test_a_class_without_images_is_refused_only_when_it_is_asked_for():
    black_box = Plain().eval()
    black_box.classifier = nn.Linear(16, 5)
    network = ppn.from_classifier(black_box, loader(), k=2)
    assert network.dictionary.found.tolist() == [1, 1, 1, 0, 0]
    images = torch.stack(Squares().images[:4])
    with torch.no_grad():
        expected = black_box(images)
    assert torch.allclose(network(images).logits, expected, atol=1e-5)
    with pytest.raises(DataError, match="Class '4' has no prototypes, because there was no"):
        network.explain(images[0], target=4)
    assert network.explain(images[0], target=1).label == 1


def test_an_exported_program_is_saved_and_gives_the_same(tmp_path):
    network = ppn.from_classifier(model("plain"), loader(), k=2)
    images = torch.stack(Squares().images[:3])
    torch.export.save(torch.export.export(network, (images,)), tmp_path / "network.pt2")
    logits, contributions = torch.export.load(tmp_path / "network.pt2").module()(images)
    ours = network(images)
    assert torch.allclose(logits, ours.logits, atol=1e-6)
    assert torch.allclose(contributions, ours.contributions, atol=1e-6)
