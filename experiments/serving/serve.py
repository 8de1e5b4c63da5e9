"""Serves what `ppn export` wrote, with onnxruntime, numpy and Pillow alone; ppn is not needed.

Usage: python serve.py prototypes.onnx [--port 8000]
       curl --data-binary @bird.jpg http://127.0.0.1:8000/

The answer is JSON: the predicted class, its probability, logit and bias, and of each part what it
adds to the logit and where on the image (x, y in [0, 1]) it does so most.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MOST = 20_000_000
"""Bytes of an image that are accepted."""
Image.MAX_IMAGE_PIXELS = 50_000_000


class Explainer:
    """An exported graph with its description.

    Args:
        path: The ONNX file; the JSON file that was written with it is beside it.
    """

    def __init__(self, path: Path) -> None:
        self.about = json.loads(path.with_suffix(".json").read_text())
        self.session = onnxruntime.InferenceSession(
            str(path), providers=onnxruntime.get_available_providers()
        )
        if self.about["input"].get("transform"):
            print(
                "Prototypes were found with a transform of their author's own. This example "
                "prepares images as `input` says, so its numbers may differ: put that transform "
                "into Explainer.prepare.",
                file=sys.stderr,
            )

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """Return (1, channels, H, W) float32: resized, cropped in the middle, normalised."""
        given = self.about["input"]
        height, width = given["size"]
        method = Image.Resampling[given["interpolation"].upper()]
        picture = ImageOps.exif_transpose(picture)
        picture = picture.convert("L" if len(given["mean"]) == 1 else "RGB")
        processor = given.get("processor") or {}
        if "height" in (processor.get("size") or {}) and not processor.get("do_center_crop"):
            picture = picture.resize((width, height), method)  # transformers' way: stretched
            return self._normal(picture)
        if height == width:  # the shorter side, so that proportions stay
            short = round(height / given["crop_pct"])
            least = min(picture.size)
            size = (int(short * picture.width / least), int(short * picture.height / least))
        else:
            size = (round(width / given["crop_pct"]), round(height / given["crop_pct"]))
        picture = picture.resize(size, method)
        left, top = (round((a - b) / 2) for a, b in zip(picture.size, (width, height), strict=True))
        return self._normal(picture.crop((left, top, left + width, top + height)))

    def _normal(self, picture: Image.Image) -> np.ndarray:
        given = self.about["input"]
        pixels = np.atleast_3d(np.asarray(picture, np.float32)) / 255
        normal = (pixels - np.float32(given["mean"])) / np.float32(given["std"])
        return normal.transpose(2, 0, 1)[None].astype(np.float32)

    def explain(self, picture: Image.Image) -> dict[str, Any]:
        """Return the predicted class and its parts as plain values."""
        images = self.prepare(picture)
        found = dict(
            zip(self.about["outputs"], self.session.run(None, {"images": images}), strict=True)
        )
        logits = found["logits"][0].astype(np.float64)
        label = int(logits.argmax())
        if self.about["probability"] == "sigmoid":
            probability = 1 / (1 + np.exp(-logits[label]))
        else:
            probability = 1 / np.exp(logits - logits[label]).sum()
        parts: list[dict[str, Any]] = [
            {"part": index, "contribution": float(value)}
            for index, value in enumerate(found["contributions"][0, label], 1)
        ]
        if "maps" in found:  # a part that was removed is nowhere
            maps = (
                found["maps"][0] if self.about["maps"] == "predicted" else found["maps"][0, label]
            )
            for part, grid in zip(parts, maps, strict=True):
                if not grid.any():  # removed by an edit
                    continue
                row, column = np.unravel_index(int(grid.argmax()), grid.shape)
                part["at"] = [(column + 0.5) / grid.shape[1], (row + 0.5) / grid.shape[0]]
        return {
            "class": self.about["classes"][label],
            "probability": float(probability),
            "logit": float(logits[label]),
            "bias": self.about["bias"][label],
            "parts": parts,
            "edits": self.about["edits"],
        }


def server(explainer: Explainer, port: int) -> ThreadingHTTPServer:
    """Return a server on the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            if not 0 < size <= MOST:
                self.answer(413, {"error": f"Send an image of at most {MOST} bytes."})
                return
            try:
                picture = Image.open(io.BytesIO(self.rfile.read(size)))
                self.answer(200, explainer.explain(picture))
            except Exception as error:
                print(f"Refused: {error}", file=sys.stderr)
                self.answer(400, {"error": "This is no image that can be read."})

        def answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the .onnx file")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    made = server(Explainer(given.model), given.port)
    print(f"http://127.0.0.1:{made.server_port}/", flush=True)
    made.serve_forever()


if __name__ == "__main__":
    main()
