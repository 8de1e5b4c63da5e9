"""A report on generated pictures: smooth blobs, of the size and the file size of photographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ppn.classifier.head_case import HeadInspection
from ppn.explanation.record import Explanation, Patch, Ranked
from ppn.report.content import Column, ExplainerRow, Fact, MetricCard, Report, Sensitivity
from ppn.report.parts import ClassCard, Prototype

HEAD = HeadInspection("mean_norm_linear", "NCHW", 0, 0, None, 0, ("fc",), ("all",), (1.0,))
CONSISTENCY, NEGATIVE = Column("Consistency", "%"), Column("Negative", better="lower")


def picture(rng, side=224):
    coarse = rng.integers(0, 256, (28, 28, 3)).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def heatmap(rng, side=7):
    y, x = np.mgrid[:side, :side]
    cy, cx = rng.uniform(0, side, 2)
    return np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 4).astype(np.float32) - 0.05


def patch(rng, name="training 1.jpg"):
    x, y = rng.uniform(0, 152, 2)
    return Patch(picture(rng), (x, y, x + 72, y + 72), 12.5, name, heatmap(rng))


def card(rng, label, k, patches):
    prototypes = [
        Prototype(
            index=i,
            patches=[patch(rng, f"class {label} image {n}.jpg") for n in range(patches)],
            share=1 / k,
            cosine=0.83,
            part="crown",
            part_rate=0.92,
            consistent=True,
        )
        for i in range(k)
    ]
    return ClassCard(label, f"Bird {label:03d}", prototypes, images=30, accuracy=0.9)


def sample(rng, label, k, contributions=None):
    contributions = contributions or [float(c) for c in rng.uniform(0.5, 4, k)]
    name, logit = f"Bird {label:03d}", sum(contributions) - 0.25
    return Explanation(
        image=picture(rng),
        name=f"test {label}.jpg",
        label=label,
        class_name=name,
        logit=logit,
        bias=-0.25,
        contributions=tuple(contributions),
        maps=tuple(heatmap(rng) for _ in range(k)),
        patches=tuple(patch(rng, f"class {label} image {i}.jpg") for i in range(k)),
        ranking=(Ranked(label, name, logit, 0.987),),
        probability=0.987,
        inspection=HEAD,
        scale=0.5,
        true_class=name,
    )


def build(k=3, classes=2, samples=1, patches=2, **changes):
    rng = np.random.default_rng(0)
    report = Report(
        title="Birds in parts",
        model="tiny_net",
        dataset="generated",
        split="test",
        facts=[
            Fact("Agreement with the black box", 100.0, "on all 40 images", "%"),
            Fact("Largest logit error", 3e-7),
        ],
        certificate=[Fact("Head", "mean, linear"), Fact("Images checked", 40)],
        metrics=[
            MetricCard(
                "Consistency",
                67.4,
                "%",
                {"random maps": 0.0, "image centre": 22.0},
                "evalprotopnet-2023",
                {"half size": 36},
                "Share of consistent prototypes.",
                error=3.1,
            )
        ],
        explainers=[
            ExplainerRow("equal", {CONSISTENCY: 47.0, NEGATIVE: 0.04}),
            ExplainerRow("cam_split", {CONSISTENCY: 67.4, NEGATIVE: 0.01}, chosen=True),
            ExplainerRow("unrefined", {CONSISTENCY: 90.0}, exact=False),
            ExplainerRow("shuffled", {CONSISTENCY: 95.0}, kind="control"),
        ],
        sensitivity=[
            Sensitivity(
                "Consistency %",
                ("half size", [27, 36]),
                ("threshold", [0.7, 0.8]),
                [[60.0, 50.0], [75.0, 67.4]],
                (36, 0.8),
            )
        ],
        samples=[sample(rng, n % max(classes, 1), k) for n in range(samples)],
        classes=[card(rng, n, k, patches) for n in range(classes)],
        notes=["Exactness is not interpretability."],
        total_classes=200,
    )
    return replace(report, **changes)


@pytest.fixture
def make_report():
    return build


@pytest.fixture
def make_sample():
    return lambda contributions, label=0: sample(
        np.random.default_rng(1), label, len(contributions), contributions
    )
