"""Contact sheets: their pieces, and where those of reports go."""

from __future__ import annotations

import pathlib

import cv2
import numpy as np

CAPTION = 22  # pixels of height


def report_paths(out) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the report of the bundle `out` goes: sheet (.png) and figures (.json)."""
    out = pathlib.Path(out)
    name = out.name.removesuffix(".zip")
    return out.with_name(f"{name}_report.png"), out.with_name(f"{name}_report.json")


def captioned(text: str, image: np.ndarray) -> np.ndarray:
    """u8[H,W,3] below a white band that says `text` (ASCII)."""
    band = np.full((CAPTION, image.shape[1], 3), 255, np.uint8)
    cv2.putText(band, text, (6, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([band, image])


def fitted(image: np.ndarray, side: int, background: int = 255) -> np.ndarray:
    """u8[H,W,3] scaled to fit and centred in a square of `side` pixels."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    small = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    out = np.full((side, side, 3), background, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    out[y : y + height, x : x + width] = small
    return out
