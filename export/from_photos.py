"""An avatar from one photo or several, by the best method that this installation and this body allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dinar_live.runtime.avatar import Avatar, Body
from dinar_live.runtime.core.errors import InputError

from .checks import make_checks
from .completion import renderers, weights
from .inputs import View
from .projection import MAX_TEXTURE, MIN_TEXTURE, project_photos

METHODS = ("completion", "outline", "projection")


def choose_method(body: Body, own_weights=None) -> tuple[str, str]:
    """The best of METHODS, and why it is not the first, or ""."""
    if body.kind != "open":
        return "outline", f"the completion network knows the open body only, not {body.kind!r}"
    if own_weights is None and not weights.shipped():
        return "outline", "the completion network's weights are not in this installation"
    return METHODS[0], ""


def avatar_from_photos(
    views: Sequence[View],
    body: Body,
    *,
    name: str,
    method: str | None = None,
    texture_size: int = 1024,
    licence: str = "",
    own_weights=None,
    threads: int = 0,
) -> tuple[Avatar, dict[str, float]]:
    """Avatar of one person (renderer `texture`; `completion` gives `light` and `lite` too), and figures by
    name: shares of the surface in [0,1].

    method: one of METHODS, None = `choose_method`. own_weights: an .onnx in place of the shipped one. Raises
    InputError.
    """
    if not views:
        raise InputError("photos: got none, expected at least one --photo with --mask and --smplx")
    if not MIN_TEXTURE <= texture_size <= MAX_TEXTURE:
        raise InputError(f"texture size: got {texture_size}, expected {MIN_TEXTURE}..{MAX_TEXTURE}")
    method = method or choose_method(body, own_weights)[0]
    if method not in METHODS:
        raise InputError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
    if method == "completion":
        return _completed(views, body, name, texture_size, licence, own_weights, threads)
    if own_weights is not None:
        raise InputError(f"--weights: means nothing for --method {method}")
    shape = body
    if method == "outline":
        from .completion.outline import outlined

        shape = outlined(views, body)
    avatar, figures = project_photos(views, shape, name=name, texture_size=texture_size, licence=licence)
    return replace(avatar, provenance={**avatar.provenance, "method": method}), figures


def _completed(views, body, name, texture_size, licence, own_weights, threads):
    if body.kind != "open":
        raise InputError(
            f"--method completion: the network knows the open body only, got a body of kind {body.kind!r}; use --method outline"
        )
    from .completion.predict import Completer

    model = weights.read_weights() if own_weights is None else weights.read_file(own_weights)
    generic = renderers.read_renderers() if renderers.shipped() else {}
    completer = Completer(model, body, threads=threads, renderers=generic)
    avatar, figures = completer.complete(views, name=name, texture_size=texture_size, licence=licence)
    return make_checks(avatar, [v.pose for v in views]), figures
