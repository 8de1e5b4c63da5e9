"""What a GPU must do as the CPU does: `pytest -m gpu`, on a machine that has one."""

import copy
import json
import threading
from functools import partial

import numpy as np
import pytest
import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

import ppn
from ppn.__main__ import main
from ppn.classifier.blocks import default_span
from ppn.classifier.complete import complete_maps
from ppn.classifier.span import pixel_span
from ppn.data.cub import CUBDataModule
from ppn.discovery import NMF, KMeans, NamedParts, Vocabulary
from ppn.discovery.faiss_search import imported_faiss
from ppn.explainers import RandomExact
from ppn.refinement import Alpha, CamSplit, ChannelShare, CompactSplit, Equal, NelderMead
from tests import fakes
from tests.explainers.test_attribution import OF_CELLS, OF_PIXELS
from tests.explainers.test_concepts import SMALL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
RIVALS = {
    **SMALL,
    **{one.name: partial(copy.deepcopy, one) for one in (*OF_CELLS, *OF_PIXELS)},
}
REFINEMENTS = {
    "compact": CompactSplit,
    "cam_split": CamSplit,
    "channel_share": ChannelShare,
    "equal": Equal,
    "alpha": Alpha,
    "nelder_mead": NelderMead,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return fakes.cub(tmp_path_factory.mktemp("gpu"))


def data_of(root):
    return CUBDataModule(str(root), num_workers=0)


def classifier(name="test_resnet"):
    torch.manual_seed(0)
    options = {"img_size": 64} if "vit" in name else {}
    model = timm.create_model(name, num_classes=3, **options).eval()
    torch.nn.init.normal_(model.get_classifier().weight, std=0.3)
    return model


def fitted(root, device, k=2, **options):
    return ppn.from_classifier(classifier().to(device), data_of(root), k, **options)


def pictures(count=6, size=160):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, size, size, generator=generator)


def expect_exact(network):
    weight, _ = network.classifier.effective_head()
    for head in network.each_head():
        found = head.prototypes.double().sum(1)
        torch.testing.assert_close(found, weight.to(found), atol=1e-5, rtol=0)


def test_what_is_fitted_and_said_is_that_of_the_cpu(root, tmp_path):
    ours, theirs = fitted(root, "cuda"), fitted(root, "cpu")
    assert next(ours.parameters()).is_cuda
    expect_exact(ours)
    torch.testing.assert_close(
        ours.head.prototypes.cpu(), theirs.head.prototypes, atol=2e-3, rtol=2e-3
    )
    image = pictures(1)[0]
    ours.save(tmp_path)
    loaded = ppn.load(tmp_path, model=classifier())
    assert not next(loaded.parameters()).is_cuda
    for other in (copy.deepcopy(ours).cpu(), loaded, copy.deepcopy(loaded).cuda()):
        told, again = ours.explain(image), other.explain(image.to(next(other.parameters())))
        assert told.label == again.label
        assert told.adds_up
        assert again.contributions == pytest.approx(told.contributions, abs=1e-4)
        assert np.allclose(told.maps, again.maps, atol=1e-4)


@pytest.mark.parametrize("way", REFINEMENTS)
def test_refinements_are_exact(root, way):
    expect_exact(fitted(root, "cuda", refinement=REFINEMENTS[way]()))


@pytest.mark.parametrize(
    "way",
    [NMF(), NMF(earlier=1.0), KMeans(), Vocabulary(6), NamedParts()],
    ids=lambda way: way.name,
)
def test_discoverers_find_what_they_find_on_the_cpu(root, way):
    k = None if way.name == "named_parts" else 2
    ours, theirs = (fitted(root, on, k=k, discoverer=way) for on in ("cuda", "cpu"))
    expect_exact(ours)
    with imported_faiss() as faiss:
        same = not hasattr(faiss, "StandardGpuResources")  # whose k-means rounds otherwise
    if same:
        torch.testing.assert_close(
            ours.head.prototypes.cpu(), theirs.head.prototypes, atol=5e-3, rtol=5e-3
        )


def test_scores_are_those_of_the_cpu(root):
    network = fitted(root, "cpu")
    data = data_of(root)
    there = copy.deepcopy(network).cuda()
    for pair in ((network, there), (RandomExact(), RandomExact())):
        theirs = ppn.evaluate(pair[0], data, network=network)
        ours = ppn.evaluate(pair[1], data, network=there)
        assert set(ours.scores) == set(theirs.scores)
        for key, score in theirs.scores.items():
            assert ours.scores[key] == pytest.approx(score, abs=1e-3), key


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_mambaout", "test_resnet"])
@pytest.mark.parametrize("pixels", [False, True])
def test_complete_maps_are_those_of_the_cpu(name, pixels):
    from ppn.classifier import Classifier
    from ppn.types import InputConfig

    found = {}
    for device in ("cpu", "cuda"):
        black_box = Classifier(classifier(name), InputConfig((64, 64))).to(device)
        images = pictures(2, 64).to(device)
        weight, _ = black_box.effective_head()
        parts = torch.stack([weight / 3, 2 * weight / 3], 1).float()[[0, 2]]
        if not pixels and name == "test_resnet":
            pytest.skip("its cell maps are exact")
        span = pixel_span() if pixels else default_span(black_box, images)
        spread = torch.ones(2, device=device)
        found[device] = complete_maps(black_box, span, images, parts, spread, 0.01)
    ours, theirs = found["cuda"], found["cpu"]
    scale = theirs.maps.abs().amax()
    assert (ours.maps.cpu() - theirs.maps).abs().amax() <= 2e-3 * scale


@pytest.mark.parametrize("key", [*RIVALS])
def test_rivals_run(root, key):
    try:
        explainer = RIVALS[key]()
        found = ppn.evaluate(
            explainer, data_of(root), network=fitted(root, "cuda"), training=data_of(root)
        )
    except ppn.PPNError as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise
    assert all(np.isfinite(list(found.scores.values())))


def test_threads_explain_each_its_own_image(root):
    network = fitted(root, "cuda")
    images = pictures(8)
    alone = [network.explain(image).contributions for image in images]
    found = {}

    def work(which):
        found[which] = [network.explain(images[which]).contributions for _ in range(20)]

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which, told in found.items():
        for one in told:
            assert one == pytest.approx(alone[which], abs=1e-5)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_the_command_line_trains_discovers_and_measures(root, tmp_path, precision):
    common = [
        *("--data=CUBDataModule", f"--data.root={root}", "--data.num_workers=0"),
        *("--trainer.accelerator=gpu", "--trainer.devices=1"),
        "--trainer.enable_progress_bar=false",
    ]
    shape = ["--model.architecture=test_resnet", "--model.image_size=64"]
    first = tmp_path / "classifier"
    train = ["fit", "--config=ppn:finetune", "--model=ClassificationTask", *shape, *common]
    train += ["--trainer.max_epochs=1", "--model.warmup_epochs=0"]
    train += [f"--trainer.default_root_dir={first}", f"--trainer.precision={precision}"]
    assert main(train) == 0
    second = tmp_path / "prototypes"
    split = ["--model=PrototypeTask", f"--model.classifier_ckpt={first / 'checkpoints/best.ckpt'}"]
    split += ["--model.k=2", *common, "--trainer.max_epochs=0"]
    split += ["--trainer.callbacks+=PrototypeDiscovery"]
    assert main(["fit", *split, f"--trainer.default_root_dir={second}"]) == 0
    ckpt = second / "checkpoints/prototypes.ckpt"
    third = tmp_path / "test"
    assert main(["test", *split, f"--ckpt_path={ckpt}", f"--trainer.default_root_dir={third}"]) == 0
    figures = json.loads((third / "metrics.json").read_text())
    assert figures["agreement"] == 1.0
    assert main(["explain", "--ckpt", str(ckpt), "--json", str(next(root.rglob("*.jpg")))]) == 0


def test_patches_of_a_loader_on_the_gpu_are_seen(root):
    network = fitted(root, "cuda")
    loader = DataLoader(TensorDataset(pictures(9).cuda(), torch.arange(9) % 3), batch_size=4)
    again = ppn.from_classifier(network.classifier.model, loader, k=2)
    expect_exact(again)
    assert again.explain(pictures(1)[0].cuda()).adds_up


def test_a_compiled_classifier_is_explained(root):
    model = classifier().cuda()
    plain = ppn.from_classifier(model, data_of(root), k=2)
    told = plain.explain(pictures(1)[0])
    model.compile()
    again = ppn.from_classifier(model, data_of(root), k=2).explain(pictures(1)[0])
    assert again.contributions == pytest.approx(told.contributions, abs=1e-3)
