"""Load the published DINAR checkpoint, or one of our own, into our networks; save them as safetensors.

model = load_checkpoint("last-epoch=24-step=46824.ckpt")
style = model.encoder(rgb, mask, noise)
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from dinar_live.export.networks.model import (
    EMA,
    FACES_KEY,
    LAYOUT_KEYS,
    NORMAL_FACES_KEY,
    PREFIXES,
    UNET,
    UV_KEY,
    DinarModel,
    UvLayout,
    checked_layout,
    ema_name,
)
from dinar_live.export.networks.random_weights import RandomStateDict
from dinar_live.export.networks.storage import (
    StoredTensor,
    read_safetensors,
    read_torch_file,
    write_safetensors,
)
from dinar_live.runtime.core.errors import CheckpointError, InputError

ALIASES = (("vq_branch", "compress_branch"),)
OPTIONAL_NETWORKS = ("discriminator",)
NAMES_SHOWN = 8


def load_checkpoint(source, *, ema: bool = True, networks: Collection[str] | None = None) -> DinarModel:
    """Build the networks of a checkpoint, in eval mode and with frozen parameters.

    source: path of a PyTorch-Lightning .ckpt (torch.save) or of a .safetensors file, or a mapping of
    published names to tensors or arrays (at the top or under "state_dict"). Files are read as data: whatever
    else a .ckpt carries is neither imported nor called.
    ema: sample with the moving average of the U-Net where the checkpoint has one.
    networks: names out of `networks.model.PREFIXES` to load, the others stay None; by default all, of which
    only the discriminator may be absent.

    Returns a DinarModel with `.missing` and `.unexpected`. Raises CheckpointError (unreadable, of something
    else, lacking weights, wrong shapes or types, NaN) and InputError (unknown network). The weights are held
    once; the caller's tensors are copied.
    """
    where, entries = weight_entries(source)
    for old, new in ALIASES:
        for key in [key for key in entries if old in key]:
            value = entries.pop(key)
            entries.setdefault(key.replace(old, new), value)
    wanted = list(PREFIXES) if networks is None else list(networks)
    if networks is None:
        wanted = [
            name
            for name in wanted
            if name not in OPTIONAL_NETWORKS or any(key.startswith(PREFIXES[name]) for key in entries)
        ]

    layout = _layout(where, entries)
    with torch.device("meta"):
        model = DinarModel(wanted, layout)
    published = _published_names()
    if not published & entries.keys():
        raise CheckpointError(
            f"{where}: not a DINAR checkpoint, none of its {len(entries)} tensors{_listed(entries)} has a published name; "
            f"expected names like {UNET}time_embed.0.weight"
        )
    averaged = (
        ema and "unet" in wanted and any(key.startswith(EMA + ema_name("time_embed")) for key in entries)
    )

    found, missing, problems = [], [], []
    for module, name, key in _places(model):
        stored = EMA + ema_name(key.removeprefix(UNET)) if averaged and key.startswith(UNET) else key
        if (entry := entries.get(stored)) is not None:
            if (problem := _mismatch(_member(module, name), entry)) is None:
                found.append((module, name, stored))
            else:
                problems.append(f"{stored} is {problem}")
        elif not _complete_without(module, name):
            missing.append(stored)
    if missing:
        problems.insert(0, f"{len(missing)} weights are missing{_listed(missing)}")
    if problems:
        more = f"; and {len(problems) - NAMES_SHOWN} more" if len(problems) > NAMES_SHOWN else ""
        raise CheckpointError(
            f"{where}: does not fit the published networks: {'; '.join(problems[:NAMES_SHOWN])}{more}"
        )

    # Only now that everything is known to fit are numbers read.
    for module, name, stored in found:
        _assign(module, name, _finite(where, stored, entries[stored].load()))
    model.missing = sorted(published - entries.keys())
    model.unexpected = sorted(entries.keys() - published)
    return model.eval().requires_grad_(False)


def save_checkpoint(model: DinarModel, path, *, ema: bool = True) -> None:
    """Write all weights of `model` as .safetensors under the published names and types; the file appears
    whole or not at all.

    `ema` also writes the moving-average names (the same numbers as the U-Net again), which the published code
    samples with; without it the file is 1.5 GB smaller and loads here as before. Raises CheckpointError when
    the disk refuses.
    """
    state = {key: value for key, value in model.state_dict().items() if ema or not key.startswith(EMA)}
    specs = {
        key: (torch.float32 if value.is_floating_point() else value.dtype, tuple(value.shape))
        for key, value in state.items()
    }
    write_safetensors(pathlib.Path(path), specs, state.__getitem__)


def save_random_checkpoint(
    path, seed: int = 0, uv_layout: UvLayout | None = None, *, ema: bool = False
) -> None:
    """Write a full-size .safetensors checkpoint of seeded random weights (see `random_state_dict`), one
    tensor in memory at a time."""
    weights = RandomStateDict(seed, uv_layout, ema)
    write_safetensors(pathlib.Path(path), {key: weights.spec(key) for key in weights}, weights.__getitem__)


def weight_entries(source) -> tuple[str, dict[str, StoredTensor]]:
    """What to call the source in messages, and its tensors by name: of a torch file (zip), a .safetensors
    file, or a mapping. Files are read as data. Raises CheckpointError naming the file."""
    if isinstance(source, Mapping):
        inner = source.get("state_dict", source)
        if not isinstance(inner, Mapping):
            raise CheckpointError(
                f"mapping: 'state_dict' is a {type(inner).__name__}, expected a mapping of names to tensors"
            )
        return "mapping", {key: _in_memory(inner, key) for key in inner if isinstance(key, str)}
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"checkpoint: got a {type(source).__name__}, expected a path or a mapping of names to tensors"
        )
    path = pathlib.Path(source)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror or e})") from e
    if start.startswith(b"PK"):
        return str(path), read_torch_file(path)
    if start[8:9] == b"{":
        return str(path), read_safetensors(path)
    if start.startswith(b"\x80") or b"ustar" in start:
        raise CheckpointError(
            f"{path}: saved in the format of torch < 1.6, which is not read; load and save it again with a newer torch"
        )
    raise CheckpointError(f"{path}: neither a torch checkpoint (zip) nor a safetensors file, or cut short")


def _in_memory(mapping: Mapping, key: str) -> StoredTensor:
    if isinstance(mapping, RandomStateDict):
        return StoredTensor(*mapping.spec(key), lambda: mapping[key])
    value = mapping[key]
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub":
        value = torch.from_numpy(np.array(value))
    if not isinstance(value, Tensor):
        raise CheckpointError(
            f"mapping: {key} is a {type(value).__name__}, expected a tensor or an array of numbers"
        )
    return StoredTensor(
        value.dtype, tuple(value.shape), lambda: value.detach().to("cpu", copy=True).contiguous()
    )


def _published_names() -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(DinarModel().state_dict()) | frozenset(LAYOUT_KEYS)


def _layout(where: str, entries: dict[str, StoredTensor]) -> UvLayout | None:
    present = [key for key in (FACES_KEY, UV_KEY) if key in entries]
    if not present:
        return None
    if len(present) == 1:
        raise CheckpointError(
            f"{where}: {present[0]} comes without the other half of the UV layout, expected both"
        )
    try:
        layout = checked_layout(entries[FACES_KEY].load().numpy(), entries[UV_KEY].load().float().numpy())
    except InputError as e:
        raise CheckpointError(f"{where}: {e}") from e
    if NORMAL_FACES_KEY in entries and not np.array_equal(
        entries[NORMAL_FACES_KEY].load().numpy(), layout.faces
    ):
        raise CheckpointError(
            f"{where}: {NORMAL_FACES_KEY} differs from {FACES_KEY}, expected the same faces"
        )
    return layout


def _places(model: DinarModel) -> Iterable[tuple[nn.Module, str, str]]:
    """(module, name in it, published name) of every tensor to fill; the layout is in place already and the
    averages are the U-Net's own."""
    for prefix, module in model.named_modules():
        for name in (*module._parameters, *module._buffers):
            empty = {**module._parameters, **module._buffers}[name] is None
            if not empty and (key := f"{prefix}.{name}".lstrip(".")) not in LAYOUT_KEYS:
                yield module, name, key


def _member(module: nn.Module, name: str) -> Tensor:
    tensors: dict[str, Tensor | None] = {**module._buffers, **module._parameters}
    tensor = tensors[name]
    assert tensor is not None  # only what is there has a place, see _places
    return tensor


def _mismatch(place: Tensor, entry: StoredTensor) -> str | None:
    """What is wrong with the entry for its place, or None."""
    if entry.shape != tuple(place.shape):
        return f"{list(entry.shape)}, expected {list(place.shape)}"
    if entry.dtype.is_floating_point != place.dtype.is_floating_point or entry.dtype == torch.bool:
        return (
            f"{str(entry.dtype).removeprefix('torch.')}, expected {str(place.dtype).removeprefix('torch.')}"
        )
    return None


def _finite(where: str, key: str, value: Tensor) -> Tensor:
    # A sum is ten times as fast as looking at every number, and finite only if all are.
    if value.is_floating_point() and not torch.isfinite(value.sum()) and not torch.isfinite(value).all():
        raise CheckpointError(f"{where}: {key} holds NaN or infinite values, the checkpoint is damaged")
    return value


def _assign(module: nn.Module, name: str, value: Tensor) -> None:
    place = _member(module, name)
    value = value.to(place.dtype)
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(value, requires_grad=False)
    else:
        module._buffers[name] = value


def _complete_without(module: nn.Module, name: str) -> bool:
    """Whether a tensor that the checkpoint lacks has its value by construction (kernels, schedule) or is a
    counter that nothing reads."""
    if name == "num_batches_tracked":
        module._buffers[name] = torch.zeros((), dtype=torch.int64)
    return not _member(module, name).is_meta


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    shown = ", ".join(name[:120] for name in names[:NAMES_SHOWN])
    return f" ({shown}{', ...' if len(names) > NAMES_SHOWN else ''})" if names else ""
