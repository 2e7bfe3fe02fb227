"""Compositing in float64."""

import numpy as np


def compose(
    rgb,
    alpha,
    *,
    mask=None,
    threshold=0.0,
    background=None,
    straight=False,
    samples=1,
    origin=(0, 0),
    size=None,
    depth=None,
):
    """Bytes before rounding, f64[Hf,Wf,4] in 0..255, and depth f64[Hf,Wf] or None; `size` is that of the
    picture. Other arguments as in dinar_live.kernels.compose."""
    rgb, a = (
        np.clip(np.nan_to_num(np.asarray(x, np.float64), posinf=1, neginf=0), 0, 1) for x in (rgb, alpha)
    )
    if mask is not None:
        a = np.minimum(1, a + mask)
    if threshold != 0:
        with np.errstate(over="ignore"):
            a = np.clip((1 - np.exp((threshold - a) * 20)) * (1 + np.exp((a - threshold - 0.2) * 70)), 0, 1)

    def average(x):
        h, w = x.shape[0] // samples, x.shape[1] // samples
        return x.reshape(h, samples, w, samples).mean((1, 3))

    colour, opacity = np.stack([average(c * a) for c in rgb], -1), average(a)[..., None]
    rest = np.zeros(4)
    if background is not None:
        colour = colour + np.asarray(background, np.float64) * (1 - opacity)
        opacity = np.ones_like(opacity)
        rest = np.r_[np.asarray(background, np.float64), 1.0]
    elif straight:
        colour = np.divide(colour, opacity, out=np.zeros_like(colour), where=opacity > 0)
    window = np.concatenate([colour, opacity], -1)
    h, w = window.shape[:2]
    H, W = size or (h, w)
    near = None
    if depth is not None:
        d = (
            np.where(np.asarray(depth) > 0, np.asarray(depth, np.float64), np.inf)
            .reshape(h, samples, w, samples)
            .min((1, 3))
        )
        near = _place(np.where(np.isfinite(d), d, 0), (H, W), origin, 0.0)
    return 255 * _place(window, (H, W), origin, rest), near


def _place(window, size, origin, rest):
    (H, W), (x, y), (h, w) = size, origin, window.shape[:2]
    out = np.empty((H, W, *window.shape[2:]))
    out[:] = rest
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + h, H), min(x + w, W)
    if top < bottom and left < right:
        out[top:bottom, left:right] = window[top - y : bottom - y, left - x : right - x]
    return out
