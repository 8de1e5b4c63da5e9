import pytest
import torch
from torch import nn

from ppn.classifier.architecture import is_code, make_model
from ppn.classifier.build import build_classifier
from ppn.classifier.placement import Placements
from ppn.classifier.record import KEY, Record
from ppn.errors import CheckpointError, HeadError
from ppn.prototypes.checkpoint import ENTRY, load_checkpoint
from ppn.tasks.prototypes import PrototypeTask

USERS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        self.after = nn.Conv2d(width, width, 1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.body(self.stem(x))
        x = x + self.after(x)
        return self.classifier(x.mean((2, 3)))

class Bypassed(Net):
    def forward(self, x):
        return super().forward(x) + 0 * x.mean() + self.stem(x).mean()

def fixed():
    return Net(4)

def wrong(num_classes):
    return "a model"

def broken(num_classes):
    raise ZeroDivisionError("in the user's code")
"""


@pytest.fixture
def users(tmp_path, monkeypatch):
    (tmp_path / "users_models.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    monkeypatch.delitem(__import__("sys").modules, "users_models", raising=False)


def exact(classifier, size, tolerance=1e-5):
    images = torch.randn(2, 3, size, size)
    classifier.eval()
    with torch.no_grad():
        tokens, expected = classifier(images), classifier.model(images)
    weight, bias = (value.float() for value in classifier.effective_head())
    logits = tokens.scale[:, None] * (tokens.pooled @ weight.T) + bias
    return (logits - expected).abs().max() <= tolerance * expected.std()


@pytest.mark.parametrize(
    ("name", "case", "size"),
    [
        ("resnet18", "mean_linear", 64),
        ("mobilenet_v3_small", "pre_logits", 64),
        ("convnext_tiny", "mean_norm_linear", 64),
        pytest.param("vit_b_32", "class_token", 224, marks=pytest.mark.slow),
        ("swin_t", "mean_linear", 64),
        ("densenet121", "mean_linear", 64),  # a function changes its features in place
        ("efficientnet_b0", "mean_linear", 64),
    ],
)
def test_torchvisions_models_are_cut_by_computing(name, case, size):
    classifier = build_classifier(f"torchvision:{name}", 5, image_size=size)
    assert classifier.inspection.case == case
    assert classifier.inspection.grid == ((2, 2) if size == 64 else (7, 7))
    assert exact(classifier, size)


def test_torchvisions_own_transforms_are_followed():
    assert make_model("torchvision:resnet18", 5).config.crop_pct == pytest.approx(224 / 256)
    assert make_model("torchvision:inception_v3", 5).config.size == (299, 299)


def test_squeezenet_has_no_last_linear_layer():
    with pytest.raises(HeadError, match="does not end in a linear layer"):
        build_classifier("torchvision:squeezenet1_1", 5, image_size=32)


def test_a_users_model_needs_no_methods(users):
    classifier = build_classifier("users_models:Net", 5, image_size=32, model_options={"width": 6})
    # The last convolution alone is bypassed by the sum; `body` is what all passes through.
    assert (classifier.inspection.case, classifier.inspection.features) == ("pre_logits", "body")
    assert classifier.width == 6
    assert exact(classifier, 32)


def test_a_users_features_can_be_named(users):
    options = {"features": "stem"}
    classifier = build_classifier("users_models:Net", 5, image_size=32, model_options=options)
    assert (classifier.inspection.case, classifier.inspection.features) == ("pre_logits", "stem")
    assert classifier.inspection.grid == (16, 16)
    with pytest.raises(HeadError, match="no module 'neck' to take features from"):
        build_classifier("users_models:Net", 5, image_size=32, model_options={"features": "neck"})


def test_logits_that_something_is_added_to_are_refused(users):
    with pytest.raises(HeadError, match="changes its output or adds to it"):
        build_classifier("users_models:Bypassed", 5, image_size=32)


def test_a_factory_without_num_classes(users):
    assert make_model("users_models:fixed", 9).model.classifier.out_features == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nowhere:Net", {}, "no module 'nowhere'"),
        ("users_models:Nothing", {}, "has no 'Nothing'"),
        ("users_models:wrong", {}, "gives a str, not a torch.nn.Module"),
        ("users_models:Net", {"depth": 3}, "takes no argument 'depth'"),
        ("torchvision:nonet", {}, "torchvision cannot make 'nonet'"),
        ("nonet", {}, "timm cannot make 'nonet'"),
    ],
)
def test_mistakes_are_told(users, name, options, message):
    with pytest.raises(CheckpointError, match=message):
        make_model(name, 5, model_options=options)


def test_mistakes_in_a_users_code_keep_their_traceback(users):
    with pytest.raises(ZeroDivisionError):
        make_model("users_models:broken", 5)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.b:C", True),
        ("torchvision:resnet18", False),
        ("hf-hub:timm/resnet18.a1_in1k", False),
        ("hf_hub:timm_resnet", False),
        ("resnet50", False),
    ],
)
def test_what_counts_as_code(name, code):
    assert is_code(name) == code


@pytest.mark.parametrize("architecture", ["os:system", "users_models:Net"])
def test_a_checkpoint_alone_runs_no_code(users, tmp_path, architecture):
    path = str(tmp_path / "w.ckpt")
    structure = {"architecture": architecture, "model_options": None, "image_size": 32}
    for kind in ("ClassificationTask", "PrototypeTask"):
        content = {"state_dict": {}}
        Record(kind, 3, structure).write(content)
        assert KEY in content
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=f"wants to run '{architecture}'"):
            PrototypeTask(3, path) if kind == "ClassificationTask" else load_checkpoint(path)


def test_a_user_who_names_the_code_may_load_it(users, tmp_path):
    network = PrototypeTask(3, architecture="users_models:Net", image_size=32)
    content = {"state_dict": network.state_dict()}
    network.on_save_checkpoint(content)
    torch.save(content, tmp_path / "w.ckpt")
    loaded = load_checkpoint(str(tmp_path / "w.ckpt"), "users_models:Net")
    assert isinstance(loaded.classifier.model.stem, nn.Conv2d)


def test_loading_does_not_measure_again_where_patches_are(tmp_path, monkeypatch):
    path = tmp_path / "p.ckpt"
    network = PrototypeTask(3, architecture="test_resnet", image_size=64)
    content = {"state_dict": network.state_dict()}
    network.on_save_checkpoint(content)
    inspection = network.network.classifier.inspection
    measured = []
    whole = Placements._measured
    monkeypatch.setattr(Placements, "_measured", lambda *given: measured.append(1) or whole(*given))

    def loaded():
        torch.save(content, path)
        measured.clear()
        return load_checkpoint(str(path)).classifier.inspection

    assert loaded() == inspection
    assert not measured
    content[ENTRY]["placed"]["features"] = "layer1"  # of another cut it says nothing
    assert loaded() == inspection
    assert measured
    content[ENTRY]["placed"]["leaf"] = "first"
    with pytest.raises(CheckpointError, match="damaged"):
        loaded()
    del content[ENTRY]["placed"]
    assert loaded() == inspection
    assert measured


def test_what_is_made_for_one_size_is_made_for_the_one_asked_for():
    made = make_model("cait_xxs24_384", 3, image_size=48)
    assert made.config.size == (48, 48)
    assert made.model.eval()(torch.zeros(1, 3, 48, 48)).shape == (1, 3)
    own = make_model("xcit_nano_12_p16_224", 3, image_size=64)  # runs as it is
    assert own.config.size == (64, 64)
    assert own.model.patch_embed.img_size == (224, 224)
