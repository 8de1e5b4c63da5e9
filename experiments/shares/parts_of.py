"""Which keypoints belong to which named part, for each data set and number of parts."""

from __future__ import annotations

_HEAD = ["beak", "crown", "forehead", "left eye", "right eye"]
_BACK = ["back", "left wing", "right wing"]
_DRAWN_HEAD = ["beak", "crown", "eye"]
GROUPS: dict[str, dict[int, dict[str, list[str]]]] = {
    "cub": {
        3: {"head": _HEAD, "underside": ["belly", "breast"], "back and wings": _BACK},
        5: {
            "head": _HEAD,
            "belly": ["belly"],
            "breast": ["breast", "throat"],
            "back and wings": _BACK,
            "nape": ["nape"],
        },
    },
    "funnybirds": {
        3: {
            "head": ["beak", "eye01", "eye02"],
            "wings": ["wing01", "wing02"],
            "tail": ["tail"],
        },
        5: {
            "beak": ["beak"],
            "eyes": ["eye01", "eye02"],
            "feet": ["foot01", "foot02"],
            "tail": ["tail"],
            "wings": ["wing01", "wing02"],
        },
    },
    "synthetic_birds": {
        3: {
            "head": _DRAWN_HEAD,
            "underside": ["belly", "breast"],
            "back and wing": ["back", "wing"],
        },
        5: {
            "head": _DRAWN_HEAD,
            "belly": ["belly"],
            "breast": ["breast", "throat"],
            "back and wing": ["back", "wing"],
            "nape": ["nape"],
        },
    },
}
"""Data set -> number of parts -> name -> keypoints."""
