"""From a user's loader to an explanation: which images, which labels, which preprocessing."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, SubsetRandomSampler
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

import ppn
from ppn.errors import DataError, PPNError, PPNWarning
from ppn.refinement.cam_split import CamSplit
from ppn.types import InputConfig

SIZE = 32


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1),
                                  nn.ReLU())  # fmt: skip
        self.fc = nn.Linear(16, classes)

    def forward(self, images):
        return self.fc(self.body(images).mean((2, 3)))


class Squares(Dataset):
    def __init__(self, classes=3):
        generator = torch.Generator().manual_seed(0)
        self.labels = [i % classes for i in range(6 * classes)]
        self.images = torch.randn(len(self.labels), 3, SIZE, SIZE, generator=generator)
        for image, label in zip(self.images, self.labels, strict=True):
            image[label % 3, 8:20, 4 : 4 + 6 * (1 + label)] += 4

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def trained(classes, images, labels, loss=nn.functional.cross_entropy):
    model = Net(classes)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def test_only_the_samplers_images_have_prototypes():
    loader = DataLoader(Squares(), batch_size=4, sampler=SubsetRandomSampler(range(0, 18, 2)))
    assert ppn.from_classifier(Net(), loader, k=2).dictionary.images.tolist() == [3, 3, 3]


def test_a_wrong_order_of_classes_is_told_and_the_right_one_is_not():
    data = Squares()
    labels = torch.tensor(data.labels)
    model = trained(3, data.images, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ppn.from_classifier(model, [(data.images, labels)], k=2)
        ppn.from_classifier(Net(), [(data.images, labels)], k=2)
    with pytest.warns(PPNWarning, match="label of 0 of 18 images: is the order") as told:
        ppn.from_classifier(model, [(data.images, (labels + 1) % 3)], k=2)
    assert told[0].filename == __file__


def binary(logits, labels):
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())


def test_one_logit_is_explained_with_its_sigmoid():
    data = Squares(2)
    labels = torch.tensor(data.labels)[:, None]
    model = trained(1, data.images, labels, binary)
    network = ppn.from_classifier(model, DataLoader(data, batch_size=5), k=2,
                                  class_names=["no", "yes"])  # fmt: skip
    assert network.class_names == ["yes"]
    assert network.dictionary.images.tolist() == [6]
    for image in data.images[:2]:
        explanation = network.explain(image)
        logit = model(image[None])[0, 0].item()
        assert explanation.logit == pytest.approx(logit, abs=1e-5)
        assert explanation.predicted.probability == pytest.approx(1 / (1 + np.exp(-logit)))
        total = sum(explanation.contributions) + explanation.bias
        assert total == pytest.approx(logit, abs=1e-5)


def test_classes_of_a_multilabel_head_share_images():
    data = Squares()
    rows = torch.eye(3, dtype=torch.long)[torch.tensor(data.labels)]
    rows[0] = 1
    model = trained(3, data.images, rows, binary)
    network = ppn.from_classifier(model, [(data.images, rows)], k=2)
    assert network.dictionary.images.tolist() == [6, 7, 7]
    logits = model(data.images[:1])[0]
    ranking = network.explain(data.images[0]).ranking
    chances = logits.sigmoid().tolist()
    assert [r.probability for r in ranking] == pytest.approx(sorted(chances, reverse=True))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for label, name in enumerate("abc"):
        (folder / name).mkdir()
        for i in range(4):
            pixels = np.random.default_rng([label, i]).integers(60, 120, (40, 48, 3), np.uint8)
            pixels[10:25, 6 * label : 6 * label + 15, label] = 230
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("given", [False, True])
def test_a_file_is_explained_as_the_users_own_pipeline_would_see_it(root, given):
    transform = T.Compose([T.Resize((SIZE, SIZE)), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)])
    folder = ImageFolder(root, transform)
    images, labels = torch.stack([x for x, _ in folder]), torch.tensor(folder.targets)
    model = trained(3, images, labels)
    loader = [(images, labels)] if given else DataLoader(Subset(folder, range(12)), batch_size=5)
    network = ppn.from_classifier(model, loader, k=2, transform=transform if given else None)
    file = root / "b/1.png"
    own = model(transform(Image.open(file))[None])[0].detach()
    explanation = network.explain(file)
    assert explanation.predicted.label == int(own.argmax())
    assert explanation.logit == pytest.approx(float(own.max()), abs=1e-5)
    shown = np.asarray(explanation.image).astype(int)
    expected = np.asarray(T.Resize((SIZE, SIZE))(Image.open(file))).astype(int)
    assert np.abs(shown - expected).max() <= 1  # the picture has its own colours
    if not given:
        assert network.class_names == list("abc")
        assert explanation.patches[0].name.startswith("abc"[int(own.argmax())] + "/")


WRONG = {
    "k": [2.0, "3", 0],
    "refinement": ["camsplit", CamSplit],
    "discoverer": ["nmf", 3],
    "config": [(SIZE, SIZE), InputConfig(SIZE), InputConfig((64, 64))],
    "transform": ["resize"],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_arguments_are_checked_before_an_image_is_read(name, value):
    read = []

    class Noted(Squares):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    loader = DataLoader(Noted(), batch_size=4)
    with pytest.raises(PPNError) as error:
        ppn.from_classifier(Net(), loader, **{name: value})
    assert "\n" not in str(error.value)
    assert len(read) <= (4 if isinstance(value, InputConfig) else 0)


def test_numbers_of_other_libraries_are_numbers():
    network = ppn.from_classifier(Net(), DataLoader(Squares(), batch_size=4), k=np.int64(2))
    assert network.head.prototypes.shape[1] == 2
    for target in (np.int64(1), torch.tensor(1), "1"):
        explanation = network.explain(Squares().images[0], target=target)
        assert json.loads(json.dumps(explanation.to_dict()))["explained_class"]["label"] == 1
    for target in (1.0, True, [0, 1]):
        with pytest.raises(DataError, match="give the name or number"):
            network.explain(Squares().images[0], target=target)


def test_explanations_are_saved_as_their_suffix_says(tmp_path):
    network = ppn.from_classifier(Net(), DataLoader(Squares(), batch_size=4), k=2)
    explanation = network.explain(Squares().images[0])
    assert explanation.save(tmp_path / "a.pdf").read_bytes().startswith(b"%PDF-")
    svg = explanation.save(tmp_path / "a.svg").read_text()
    assert svg.count("<path") > 20  # words are vectors
    with pytest.raises(DataError, match="not the path of a picture"):
        explanation.save(tmp_path / "a.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.svg"]


def test_what_is_saved_says_how_it_was_found(tmp_path, root):
    transform = T.Compose([T.Resize((SIZE, SIZE)), T.ToTensor()])
    model = Net()
    network = ppn.from_classifier(model, DataLoader(ImageFolder(root, transform)), k=2)
    network.save(tmp_path / "a")
    own = network.explain(root / "b/1.png").contributions
    loaded = ppn.load(tmp_path / "a", model=model, transform=transform)
    assert loaded.explain(root / "b/1.png").contributions == own
    with pytest.warns(PPNWarning, match="give it to ppn.load"):
        ppn.load(tmp_path / "a", model=model).explain(root / "b/1.png")
    data, model = Squares(2), Net(1)
    network = ppn.from_classifier(model, DataLoader(data), k=2)
    network.save(tmp_path / "b")
    loaded = ppn.load(tmp_path / "b", model=model)
    explained = loaded.explain(data.images[0])
    assert explained.probability == pytest.approx(1 / (1 + np.exp(-explained.logit)))
