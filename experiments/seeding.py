"""What NMF should start from: FAISS k-means or NNDSVDa, judged on validation images.

Usage: python experiments/seeding.py PROTOTYPES_YAML BLACK_BOX_CKPT RUN_DIR [ppn arguments ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ppn.__main__ import main as ppn
from ppn.report.measured import ERROR, measured


def main(experiment: str, black_box: str, run_dir: str, *more: str) -> None:
    """Discover with each start, validate, and print what maps score, and standard errors."""
    rows = []
    for seeding in ("kmeans", "nndsvda"):
        root = Path(run_dir, seeding)
        discovery = {
            "class_path": "PrototypeDiscovery",
            "init_args": {"discoverer": {"class_path": "NMF", "init_args": {"init": seeding}}},
        }
        common = ["--config", experiment, *more, "--trainer.default_root_dir", str(root)]
        common += [f"--trainer.callbacks={json.dumps([discovery])}"]
        network = root / "checkpoints/prototypes.ckpt"
        for command in (
            ["fit", *common, "--model.init_args.classifier_ckpt", black_box],
            ["validate", *common, "--ckpt_path", str(network)],
        ):
            if code := ppn(command):
                sys.exit(code)
        path = root / "metrics.json"
        found = measured(json.loads(path.read_text()), str(path))
        scores = []
        for metric in found.map_metrics:
            error = found.figures.get(f"{metric.key}{ERROR}")
            shown = f"{metric.name} {found.figures[metric.key]:.4g}"
            scores.append(shown if error is None else f"{shown} +- {error:.1f}")
        rows.append(f"{seeding}: {', '.join(scores)} (val)")
    print("\n".join(rows))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    arguments, sys.argv = sys.argv[1:], sys.argv[:1]
    main(*arguments)
