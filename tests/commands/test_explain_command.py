"""From a user's images and a plain PyTorch training loop to explained images."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from ppn.__main__ import main
from ppn.commands.explain import _class
from tests.commands.conftest import CLASSES, QUIET
from tests.explanation.test_fiftyone import library  # noqa: F401 - a fixture


def explain(base, *arguments):
    return main(["explain", "--ckpt", str(base / "run/checkpoints/prototypes.ckpt"), *arguments])


def test_a_users_classifier_is_explained_from_end_to_end(world, tmp_path, capsys):
    base, model = world
    photo = base / "photos/mug/2.png"
    assert explain(base, str(photo), "--out", str(tmp_path / "out")) == 0
    content = json.loads((tmp_path / "out/2.json").read_text())
    total = sum(p["contribution"] for p in content["prototypes"]) + content["bias"]
    assert total == pytest.approx(content["logit"], abs=1e-5)
    from ppn.classifier.architecture import make_model
    from ppn.data.dataset import Annotated
    from ppn.data.transforms import Transform

    config = make_model("test_resnet", 2, image_size=64).config
    pixels = Transform(config)(Annotated(Image.open(photo).convert("RGB"))).image
    with torch.no_grad():
        logits = model(pixels[None])[0]
    label = int(logits.argmax())
    assert content["explained_class"] == {"label": label, "name": CLASSES[label]}
    assert content["logit"] == pytest.approx(float(logits[label]), abs=1e-5)
    for prototype in content["prototypes"]:
        assert prototype["nearest_patch"]["image"].startswith(CLASSES[label])
    with Image.open(tmp_path / "out/2.png") as picture:
        assert picture.width > 1000
    assert "(bias) ->" in capsys.readouterr().out


def test_maps_of_pixels_are_written_with_their_terms(world, tmp_path, capsys):
    base, _ = world
    photo = str(base / "photos/mug/2.png")
    given = (photo, "--out", str(tmp_path), "--maps", "pixels", "--tolerance", "0.05")
    assert explain(base, *given, "--baseline", "colour") == 0
    content = json.loads((tmp_path / "2.json").read_text())
    assert content["maps"]["kind"] == "pixels"
    assert content["maps"]["baseline"] == "colour"
    assert content["maps"]["completeness_error"] <= 0.05
    assert np.shape(content["prototypes"][0]["map"]) == (64, 64)
    assert explain(base, photo, "--out", str(tmp_path), "--cut", "nose") == 2
    assert "has no module 'nose' to cut at" in capsys.readouterr().err


def test_a_classifier_of_grey_images_is_explained_from_end_to_end(world, tmp_path):
    base, _ = world
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    torch.save(model.state_dict(), tmp_path / "grey.pth")
    fit = [
        "fit",
        "--model=PrototypeTask",
        "--model.architecture=test_resnet",
        '--model.model_options={"in_chans": 1}',
        "--model.image_size=64",
        f"--model.classifier_ckpt={tmp_path / 'grey.pth'}",
        "--data=ImageFolderDataModule",
        f"--data.root={base / 'photos'}",
        "--data.num_workers=0",
        "--trainer.callbacks=PrototypeDiscovery",
        "--trainer.max_epochs=0",
        f"--trainer.default_root_dir={tmp_path}",
        *QUIET,
    ]
    assert main(fit) == 0
    photo, ckpt = base / "photos/mug/2.png", tmp_path / "checkpoints/prototypes.ckpt"
    assert main(["explain", "--ckpt", str(ckpt), str(photo), "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "2.json").read_text())
    total = sum(p["contribution"] for p in content["prototypes"]) + content["bias"]
    assert total == pytest.approx(content["logit"], abs=1e-5)
    assert main(["check", "test_resnet", "--model_options", '{"in_chans": 1}']) == 0


def test_folders_are_explained_and_files_of_one_name_keep_apart(world, tmp_path):
    base, _ = world
    assert explain(base, str(base / "photos"), "--out", str(tmp_path), "--target", "plate") == 0
    written = sorted(path.name for path in tmp_path.glob("*.json"))
    assert len(written) == 12
    assert {"0.json", "0-2.json"} <= set(written)
    names = {json.loads(p.read_text())["explained_class"]["name"] for p in tmp_path.glob("*.json")}
    assert names == {"plate"}


def photo(base, path, label="mug", index=0):
    """A copy of one of the photos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((base / f"photos/{label}/{index}.png").read_bytes())
    return path


def explained(folder):
    """Which image each name explains."""
    assert {p.stem for p in folder.glob("*.png")} == {p.stem for p in folder.glob("*.json")}
    return {p.stem: json.loads(p.read_text())["image"] for p in folder.glob("*.json")}


def test_no_image_takes_the_name_of_another(world, tmp_path):
    base, _ = world
    out = tmp_path / "out"
    names = ("a/x.png", "b/x.png", "c/x-2.png", "d/X.png", "e/x-2-2.png", "f/x.png")
    files = [str(photo(base, tmp_path / name, index=i)) for i, name in enumerate(names)]
    assert explain(base, *files, "--out", str(out)) == 0
    first = explained(out)
    assert sorted(first.values()) == sorted(files)
    # In another order they keep their names, and another image of the same name gets a new one.
    assert explain(base, *files[::-1], "--out", str(out)) == 0
    assert explained(out) == first
    other = str(photo(base, tmp_path / "g/x.png"))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert explain(base, other, files[0], files[0], "--out", str(out)) == 0
    assert len(explained(out)) == 7
    assert other in explained(out).values()
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("order", [1, -1])
def test_no_image_takes_the_name_of_anothers_second_class(world, tmp_path, order):
    base, _ = world
    out = tmp_path / "out"
    names = ("a.png", "a.top2.png")
    files = [str(photo(base, tmp_path / name, index=i)) for i, name in enumerate(names)]
    assert explain(base, *files[::order], "--top", "2", "--out", str(out)) == 0
    first = explained(out)
    assert sorted(first.values()) == sorted(files * 2)
    assert explain(base, *files[::-order], "--top", "2", "--out", str(out)) == 0
    assert explained(out) == first


def test_a_picture_of_the_users_is_never_overwritten(world, tmp_path):
    base, _ = world
    own = photo(base, tmp_path / "own.png")
    before = own.read_bytes()
    for _ in range(2):  # pictures of the first time are not explained the second time
        assert explain(base, str(tmp_path), "--out", str(tmp_path)) == 0
        assert own.read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["own-2.json", "own-2.png", "own.png"]


def test_relative_names_of_two_folders_keep_apart(world, tmp_path, monkeypatch):
    base, _ = world
    for name in ("a", "b"):
        monkeypatch.chdir(photo(base, tmp_path / name / "x.png").parent)
        assert explain(base, "x.png", "--out", str(tmp_path / "out")) == 0
    assert set(explained(tmp_path / "out")) == {"x", "x-2"}


def test_a_target_is_a_name_first_and_an_index_second():
    assert _class("1", ["a", "b", "c"]) == 1
    assert _class("1", ["3", "2", "1"]) == "1"
    assert _class("0", ["3", "2", "1"]) == 0


def test_the_gallery_shows_the_patches_that_the_checkpoint_names(world):
    import ppn

    base, _ = world
    network = ppn.load(base / "run/checkpoints/prototypes.ckpt")
    sample = network.explain(base / "photos/plate/1.png", target="plate")
    described = json.loads((base / "run/prototypes.json").read_text())["classes"][1]["prototypes"]
    assert [p.name for p in sample.patches] == [d[0]["image"] for d in described]
    moved = ppn.load(base / "run/checkpoints/prototypes.ckpt", gallery=base / "run/gallery")
    assert len(moved.explain(base / "photos/plate/1.png").patches) == 3


def test_one_bad_image_does_not_stop_the_others(world, tmp_path, capsys):
    base, _ = world
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    good = base / "photos/mug/1.png"
    assert explain(base, str(bad), str(good), "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "bad.jpg cannot be read" in error
    assert error.count("\n") == 1
    assert (tmp_path / "out/1.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.png"], "x.png is missing"),
        (["x.png", "--format", "gif"], "There is no format 'gif': choose one of png"),
        (["x.png", "--top", "0"], "top is 0, but must be at least 1"),
        (["x.png", "--top", "2", "--target", "mug"], "leave one out"),
        (["nowhere/*.png"], "There is no image in nowhere/*.png"),
        (["{base}/photos", "nowhere/*.png"], "There is no image in nowhere/*.png"),
        ([], "images must be given: see ppn explain --help."),
        (["x.png", "--nonsense"], "There is no option --nonsense"),
        (["x.png", "--of", "mug"], "did you mean '--target'?"),
        (
            ["{base}/photos/mug/1.png", "--target", "cup"],
            "There is no class 'cup': the first ones are",
        ),
        (["{base}/photos/mug/1.png", "--target", "plat"], "did you mean 'plate'?"),
        (["{base}/photos/mug/1.png", "--target", "2"], "There is no class '2'"),
        (["{base}/photos/mug/1.png", "--class", "mug"], "There is no option --class"),
        (["{base}/photos/mug/1.png", "--gallery", "nowhere"], "nowhere is not a folder"),
        (["{base}/photos/mug/1.png", "--out", "{base}/mine.pth"], "cannot be written"),
    ],
)
def test_mistakes_are_told_in_one_sentence(world, capsys, arguments, message):
    base, _ = world
    assert explain(base, *(a.format(base=base) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ppn: ")
    assert error.count("\n") == 1


def test_a_checkpoint_of_a_classifier_is_no_network(world, capsys):
    base, _ = world
    assert main(["explain", "a.png", "--ckpt", str(base / "mine.pth")]) == 2
    assert "was not written by ppn" in capsys.readouterr().err


def test_results_and_report_say_that_test_images_were_drawn(world, tmp_path):
    base, _ = world
    words = [
        *("test", "--model=PrototypeTask", "--data=ImageFolderDataModule"),
        f"--data.root={base / 'photos'}",
        "--data.num_workers=0",
        "--trainer.callbacks=HTMLReport",
        "--trainer.callbacks.maps=pixels",
        "--trainer.callbacks.samples=1",
        f"--ckpt_path={base / 'run/checkpoints/prototypes.ckpt'}",
        f"--trainer.default_root_dir={tmp_path}",
        *QUIET,
    ]
    assert main(words) == 0
    note = json.loads((tmp_path / "metrics.json").read_text())["split_note"]
    assert "of the 12 images were drawn as test images" in note
    page = (tmp_path / "report/index.html").read_text()
    assert "of the 12 images were drawn as test images" in page
    assert "of the attribution in the cells" in page
    assert "show maps that are made to add up" in page


def test_patterns_lines_and_the_most_likely_classes(world, tmp_path, capsys, monkeypatch):
    base, _ = world
    monkeypatch.chdir(tmp_path)
    pattern = str(base / "photos/**/[12].png")
    assert explain(base, pattern, "--json", "--top", "2", "--batch_size", "3") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 8
    assert list(tmp_path.iterdir()) == []
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert first["file"] == second["file"]
        assert first["probability"] >= second["probability"]
        assert first["explained_class"] != second["explained_class"]
        for content in (first, second):
            total = sum(p["contribution"] for p in content["prototypes"]) + content["bias"]
            assert total == pytest.approx(content["logit"], abs=1e-5)


def test_batches_give_what_single_images_give(world, tmp_path, capsys):
    import ppn

    base, _ = world
    network = ppn.load(base / "run/checkpoints/prototypes.ckpt")
    words = [str(base / "photos"), "--json", "--batch_size", "5", "--num_workers", "1"]
    assert explain(base, *words) == 0
    for line in capsys.readouterr().out.splitlines():
        content = json.loads(line)
        alone = network.explain(content["file"])
        assert content["explained_class"]["name"] == alone.class_name
        given = [p["contribution"] for p in content["prototypes"]]
        assert given == pytest.approx(list(alone.contributions), abs=1e-5)


def test_a_class_is_held_against_another(world, tmp_path, capsys):
    base, _ = world
    options = ["--target", "mug", "--versus", "plate", "--format", "svg", "--format", "html"]
    assert explain(base, str(base / "photos/mug"), *options, "--out", str(tmp_path)) == 0
    content = json.loads((tmp_path / "0.json").read_text())
    total = sum(pair["difference"] for pair in content["pairs"]) + content["bias"]
    assert total == pytest.approx(content["difference"], abs=1e-5)
    assert len(list(tmp_path.glob("*.svg"))) == 6
    page = (tmp_path / "index.html").read_text()
    assert page.count('<img src="') == 6
    assert "mug or plate" in page
    assert "is ahead of" in capsys.readouterr().out
    assert explain(base, str(base / "photos/mug/1.png"), "--target", "1", "--versus", "1") == 2
    assert "cannot be held against itself" in capsys.readouterr().err


def test_numbers_alone_and_bars_for_the_terminal(world, tmp_path, capsys):
    base, _ = world
    photo = str(base / "photos/mug/1.png")
    assert explain(base, photo, "--format", "none", "--out", str(tmp_path)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["1.json"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 + 1
    values = [float(line.split()[-2]) if len(line.split()) > 2 else 0 for line in lines[1:4]]
    assert values == sorted(values, reverse=True)
    assert "█" in "".join(lines)


def test_many_images_are_summed_up(world, tmp_path, capsys):
    base, _ = world
    for index in range(21):
        photo(base, tmp_path / f"in/{index}.png")
    words = [str(tmp_path / "in"), "--format", "none", "--out", str(tmp_path / "out")]
    assert explain(base, *words) == 0
    out = capsys.readouterr().out
    assert out.startswith("21 images explained: ")
    assert out.count("\n") == 1
    assert len(list((tmp_path / "out").glob("*.json"))) == 21


def test_explanations_become_a_dataset_of_fiftyone(world, tmp_path, library, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    base, _ = world
    words = [str(base / "photos/mug"), "--fiftyone", "mugs", "--format", "none", "--out"]
    assert explain(base, *words, "here") == 0
    assert len(library.Dataset.made["mugs"]) == 6
    assert explain(base, *words, "again") == 2
    assert not (tmp_path / "again").exists()
