"""Slow references, written from the definitions: one image, prototype, part and pixel at a time."""

from __future__ import annotations

import math

import numpy as np
from torch.nn.functional import interpolate


def cubic(distance, a=-0.75):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    if d < 2:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return 0.0


def bicubic(grid, size):
    """cv2.INTER_CUBIC: half-pixel centres, a = -0.75, the border replicated."""
    height, width = grid.shape
    out = np.zeros(size)
    for y in range(size[0]):
        source_y = (y + 0.5) * height / size[0] - 0.5
        for x in range(size[1]):
            source_x = (x + 0.5) * width / size[1] - 0.5
            for v in range(math.floor(source_y) - 1, math.floor(source_y) + 3):
                for u in range(math.floor(source_x) - 1, math.floor(source_x) + 3):
                    value = grid[min(max(v, 0), height - 1), min(max(u, 0), width - 1)]
                    out[y, x] += cubic(source_y - v) * cubic(source_x - u) * value
    return out


def first_maximum(values):
    best, where = -math.inf, None
    for y, row in enumerate(values.tolist()):
        for x, value in enumerate(row):
            if value > best:
                best, where = value, (y, x)
    return where


def peak(grid, size, mode="bicubic"):
    return first_maximum(interpolate(grid[None, None], size, mode=mode, align_corners=False)[0, 0])


def hits(where, keypoints, half, size):
    """O_j(I): one 0 or 1 per part."""
    found = []
    for x, y, visible in keypoints.tolist():
        if not visible:
            found.append(0)
            continue
        rows = max(0, where[0] - half) <= int(y) <= min(size, where[0] + half)
        columns = max(0, where[1] - half) <= int(x) <= min(size, where[1] + half)
        found.append(int(rows and columns))
    return found


def consistency(peaks, keypoints, labels, half=36, threshold=0.8, size=224):
    """Score, best parts and their shares {(class, prototype): ...}."""
    consistent, best = [], {}
    for c in sorted(set(labels.tolist())):
        members = [i for i, label in enumerate(labels.tolist()) if label == c]
        for j in range(peaks.shape[1]):
            covered = [0] * keypoints.shape[1]
            shown = [0] * keypoints.shape[1]
            for i in members:
                found = hits(peaks[i, j].tolist(), keypoints[i], half, size)
                for p in range(keypoints.shape[1]):
                    covered[p] += found[p]
                    shown[p] += int(keypoints[i, p, 2] > 0)
            shares = [o / max(1, m) for o, m in zip(covered, shown, strict=True)]
            best[c, j] = (shares.index(max(shares)), max(shares))
            consistent.append(max(shares) >= threshold)
    return 100 * sum(consistent) / len(consistent), best


def stability(peaks, noisy_peaks, keypoints, labels, half=36, size=224):
    """Score and the share of pairs with nothing covered."""
    shares, empty, pairs = [], 0, 0
    for c in sorted(set(labels.tolist())):
        members = [i for i, label in enumerate(labels.tolist()) if label == c]
        for j in range(peaks.shape[1]):
            same = 0
            for i in members:
                clean = hits(peaks[i, j].tolist(), keypoints[i], half, size)
                noisy = hits(noisy_peaks[i, j].tolist(), keypoints[i], half, size)
                same += clean == noisy
                empty += not any(clean + noisy)
                pairs += 1
            shares.append(same / len(members))
    return 100 * sum(shares) / len(shares), empty / pairs


def distinctiveness(maps, top=5, box=72, size=224):
    per_image = []
    for image in maps:
        order = sorted(range(len(image)), key=lambda j: (-image[j].max().item(), j))[:top]
        corners = []
        for j in order:
            height, width = image[j].shape
            grid = image[j]
            if height >= 2 and width >= 2:
                grid = grid[: height // 2 * 2, : width // 2 * 2]
                grid = grid.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
            y, x = peak(grid, (size, size), "bilinear")
            corners.append((y - box // 2, x - box // 2, y + box // 2, x + box // 2))
        ious = []
        for a in range(len(corners)):
            for b in range(a + 1, len(corners)):
                (y0, x0, y1, x1), (v0, u0, v1, u1) = corners[a], corners[b]
                overlap = max(0, min(y1, v1) - max(y0, v0)) * max(0, min(x1, u1) - max(x0, u0))
                areas = (y1 - y0) * (x1 - x0) + (v1 - v0) * (u1 - u0)
                ious.append(overlap / (areas - overlap))
        per_image.append(sum(ious) / len(ious))
    return 1 - sum(per_image) / len(per_image)
