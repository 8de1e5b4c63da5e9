"""`metrics.json` as `ppn test` writes it, with a metric and an explainer that ppn does not know."""

ABOUT = {
    "effective_prototypes": {
        "title": "Effective prototypes",
        "unit": "",
        "bounds": None,
        "higher_is_better": None,
        "help": "Of contributions, which floors have none of.",
        "of_maps": True,
        "protocol": "compactness",
        "constants": {"share": 0.9},
    },
    "consistency": {
        "title": "Consistency",
        "unit": "%",
        "bounds": [0, 100],
        "higher_is_better": True,
        "help": "Share of prototypes that cover one part.",
        "of_maps": True,
        "protocol": "evalprotopnet-2023",
        "constants": {
            "half_size": 36,
            "sweep_half_sizes": [27, 36],
            "threshold": 0.8,
            "sweep_thresholds": [0.7, 0.8],
        },
    },
    "distinct_peaks": {
        "title": "Distinct peaks",
        "unit": "",
        "bounds": [0, 1],
        "higher_is_better": True,
        "help": "Maxima in different cells.",
        "of_maps": True,
        "protocol": "distinct-peaks",
        "constants": {},
    },
    "toy_drift": {
        "title": "Toy drift",
        "unit": "px",
        "bounds": [0, 50],
        "higher_is_better": False,
        "help": "How far a toy is from its box.",
        "of_maps": True,
        "protocol": "toy-2026",
        "constants": {"toys": 7},
    },
    "toy_weight": {
        "title": "Toy weight",
        "unit": "g",
        "bounds": None,
        "higher_is_better": None,
        "help": "Of the whole network.",
        "of_maps": False,
        "protocol": "toy-2026",
        "constants": {},
    },
}
"""What the file says of each metric; the toys are nobody's but this file's."""

# Name: kind, title, whether it is exact, and its scores of maps.
_EXPLAINERS = {
    "cam_split": ("method", "", True, (80.0, 0.95, 12.5)),
    "equal": ("method", "", True, (60.0, 0.9, 7.5)),
    "unrefined": ("method", "", False, (90.0, 0.85, 3.5)),
    "toy": ("method", "Toy maps", True, (65.0, 0.25, 20.5)),
    "shuffled": ("control", "shuffled head", True, (10.0, 0.97, 31.5)),
    "ceiling": ("ceiling", "annotated parts", True, (90.0, 0.96, 6.5)),
    "random": ("floor", "chance: random", False, (0.0, 0.98, 40.5)),
    "centre": ("floor", "chance: centre", False, (50.0, 0.0, 30.5)),
}


def scores(consistency, distinct_peaks, toy_drift):
    """The figures of one set of maps."""
    return {
        "consistency": consistency,
        "consistency_standard_error": 4.0,
        "distinct_peaks": distinct_peaks,
        "toy_drift": toy_drift,
        "effective_prototypes": 2.5,
    }


def figures(**changes):
    """A whole file's content, some of it changed."""
    return {
        "split": "test",
        "model": "PrototypeTask",
        "images": 243,
        "accuracy": 0.9,
        "blackbox_accuracy": 0.9,
        "agreement": 1.0,
        "max_logit_error": 2e-6,
        "completeness_error": 1e-7,
        "gini": 0.5,
        "toy_weight": 123.0,
        **scores(*_EXPLAINERS["cam_split"][3]),
        "consistency_sweep": [[70.0, 60.0], [85.0, 80.0]],
        "refinement": "cam_split",
        "explainers": {
            name: {
                "kind": kind,
                "title": title or name,
                "exact": exact,
                "additive": exact,
                "k": 3,
                **scores(*values),
                "effective_prototypes": None if kind == "floor" else 2.5,
            }
            for name, (kind, title, exact, values) in _EXPLAINERS.items()
        },
        "metrics": ABOUT,
        "head": {"level": "contributions and maps exact", "case": "mean_linear"},
        **changes,
    }
