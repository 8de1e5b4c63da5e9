"""Nearest patches among all classes: against loops, in every kind of index, and after damage."""

import json

import numpy as np
import pytest
import torch

from ppn.discovery import ClassTokens
from ppn.errors import DataError
from ppn.prototypes.foreign import foreign_share, foreign_shares
from ppn.prototypes.patch_index import PatchIndex, build_index
from ppn.prototypes.patch_shards import About, PatchShards

GRID, SIZE, WIDTH = (3, 4), (48, 64), 16
ABOUT = About("key", GRID, SIZE, WIDTH, ["ant", "bee", "cat"])


def classes(images=(5, 9, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = 0
    for label, count in enumerate(images):
        tokens = torch.rand(count, 12, WIDTH, generator=generator).half().float()
        indices = torch.arange(first, first + count).flip(0) * 2  # not in order, not without gaps
        yield ClassTokens(label, ABOUT.class_names[label], tokens, indices, None, GRID)
        first += count


def filled(folder, items, about=ABOUT):
    shards = PatchShards(folder, about)
    for item in items:
        shards.write(item, lambda index: f"image {index}")
    return shards


def literal(items, query, count, cosine):
    """(score, label, image, cell) of the best patch of each image, as lists."""
    found = []
    for item in items:
        for row, image in enumerate(item.indices.tolist()):
            scores = []
            for token in item.tokens[row]:
                score = float(token @ query)
                if cosine:
                    score /= float(token.norm() * query.norm())
                scores.append(score)
            best = max(range(len(scores)), key=lambda cell: scores[cell])
            found.append((scores[best], item.label, image, best))
    return sorted(found, key=lambda one: -one[0])[:count]


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "ivf_pq"])
def test_nearest_patches_are_those_of_a_loop(tmp_path, kind, cosine):
    items = list(classes())
    index = build_index(filled(tmp_path, items), [0, 1, 2], kind)
    assert (tmp_path / "inverted.faiss").exists() == (kind != "flat")
    queries = torch.randn(4, WIDTH)
    found = index.nearest(queries, 6, cosine, probes=100)
    for row, query in enumerate(queries):
        expected = literal(items, query, 6, cosine)
        assert found.image[row].tolist() == [one[2] for one in expected]
        assert found.label[row].tolist() == [one[1] for one in expected]
        assert found.cell[row].tolist() == [one[3] for one in expected]
        assert found.score[row].tolist() == pytest.approx([one[0] for one in expected], abs=1e-4)
        y, x = divmod(expected[0][3], GRID[1])
        assert found.box[row, 0].tolist() == [16 * x, 16 * y, 16 * x + 16, 16 * y + 16]
    assert index.name(int(found.image[0, 0])) == f"image {int(found.image[0, 0])}"


def test_more_images_than_there_are_have_no_score(tmp_path):
    index = build_index(filled(tmp_path, classes((2, 1))), [0, 1])
    found = index.nearest(torch.rand(1, WIDTH), 5)
    assert (found.score > -torch.inf).sum() == 3
    assert len(index) == 36
    assert index.images == 3


def test_codes_find_nearly_all_of_what_an_exact_search_finds(tmp_path):
    generator = torch.Generator().manual_seed(1)
    centres = torch.rand(40, WIDTH, generator=generator) ** 4
    items = []
    for label in range(3):
        member = torch.randint(40, (120, 12), generator=generator)
        noise = 0.1 * torch.rand(120, 12, WIDTH, generator=generator)
        tokens = centres[member] + noise
        items.append(ClassTokens(label, "", tokens, torch.arange(120) + 120 * label, None, GRID))
    shards = filled(tmp_path, items)
    exact = build_index(shards, [0, 1, 2], "flat").nearest(centres, 5)
    found = build_index(shards, [0, 1, 2], "ivf_sq8").nearest(centres, 5, probes=8)
    hits = [
        len({*a.tolist()} & {*b.tolist()}) for a, b in zip(exact.image, found.image, strict=True)
    ]
    assert sum(hits) / (5 * len(hits)) >= 0.95


def test_processes_share_the_classes_and_one_completes(tmp_path):
    items = list(classes())
    filled(tmp_path, items[:1])
    with pytest.raises(DataError, match="lacks 2 of 3 classes, the first is 'bee'"):
        build_index(PatchShards(tmp_path), [0, 1, 2])
    shards = filled(tmp_path, items[1:])
    assert shards.labels == [0, 1, 2]
    assert build_index(shards, [0, 1, 2]).images == 17


def test_patches_of_another_classifier_are_refused(tmp_path):
    filled(tmp_path, classes())
    with pytest.raises(DataError, match="another classifier"):
        PatchShards(tmp_path, ABOUT._replace(key="other"))


def test_directions_of_another_width_are_refused(tmp_path):
    index = build_index(filled(tmp_path, classes()), [0, 1, 2])
    with pytest.raises(DataError, match="16 channels"):
        index.nearest(torch.rand(2, 5))


def test_features_beyond_half_precision_are_refused(tmp_path):
    item = next(classes())
    item.tokens[0, 0, 0] = 1e6
    with pytest.raises(DataError, match="16 bits"):
        filled(tmp_path, [item])
    assert not list(tmp_path.glob("*.npy"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("about.json", b"{"),
        ("about.json", b'{"format": "ppn patches", "format_version": 9}'),
        ("000001.json", b"[]"),
        ("000001.json", b'{"images": [1], "names": ["a"]}'),
        ("000001.npy", b""),
        ("000001.npy", b"\x93NUMPY\x01\x00junk"),
        ("inverted.faiss", b"junk"),
        ("inverted.faiss", b""),
    ],
)
def test_damage_is_one_sentence(tmp_path, name, content):
    build_index(filled(tmp_path, classes()), [0, 1, 2], "ivf_sq8")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        PatchIndex(tmp_path)
    assert "\n" not in str(caught.value)
    assert name.split(".")[0] in str(caught.value)


def test_no_pickle_is_loaded(tmp_path):
    filled(tmp_path, classes())
    np.save(tmp_path / "000001.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be used"):
        PatchIndex(tmp_path)


def test_sides_that_are_none_are_refused(tmp_path):
    filled(tmp_path, classes())
    content = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps({**content, "grid": [0, 3]}))
    with pytest.raises(DataError, match="grid"):
        PatchShards(tmp_path)


def test_foreign_share_counts_as_many_images_as_the_class_has():
    labels = torch.tensor([[0, 1, 0, 2], [1, 1, 0, 0], [2, 0, 1, 0]])
    known = torch.ones(3, 4, dtype=torch.bool)
    known[1, 1:] = False
    shares = foreign_share(labels, torch.tensor([0, 0, 2]), known, torch.tensor([3, 9, 1]))
    assert shares.tolist() == pytest.approx([1 / 3, 1, 0])


def test_a_prototype_that_other_classes_fire_is_told_from_one_that_they_do_not(tmp_path):
    items = []
    for label in range(3):
        tokens = 0.1 * torch.rand(4, 12, WIDTH)
        tokens[:, 0, label] += 5  # its own
        tokens[:, 1, 15] += 5 + (label == 2)  # of all, and most of another class
        items.append(ClassTokens(label, "", tokens, torch.arange(4) + 4 * label, None, GRID))
    index = build_index(filled(tmp_path, items), [0, 1, 2])
    prototypes = torch.zeros(3, 3, WIDTH)
    prototypes[[0, 1, 2], 0, [0, 1, 2]] = 1
    prototypes[:, 1, 15] = 1
    shares = foreign_shares(index, prototypes, torch.full((3,), 4))
    assert shares[:, 0].tolist() == [0, 0, 0]
    assert shares[:, 1].tolist() == [1, 1, 0]
    assert bool(shares[:, 2].isnan().all())
