"""Loading and saving checkpoints: formats, names, averages, what is missing, memory."""

import argparse
import collections
import json
import struct
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from dinar_live.export.checkpoint import load_checkpoint, save_checkpoint, save_random_checkpoint
from dinar_live.export.networks import DinarModel, UvLayout, random_state_dict
from dinar_live.export.networks.model import PREFIXES, ema_name
from dinar_live.runtime.core.errors import CheckpointError, InputError

LAYOUT = UvLayout(
    np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
)


class Callback:
    """A training object such as published checkpoints carry; its class does not exist where they are
    loaded."""

    def __init__(self):
        self.best = {"score": np.float64(0.5)}


@pytest.fixture(scope="module")
def weights():
    """The generator, the discriminator and the layout as plain tensors."""
    source = random_state_dict(7, LAYOUT)
    wanted = (
        PREFIXES["generator"],
        PREFIXES["discriminator"],
        "first_stage.rasterizer",
        "first_stage.normal",
        "betas",
    )
    return {key: source[key] for key in source if key.startswith(wanted)}


def lightning(state):
    """What a trainer writes around the weights."""
    return {
        "epoch": 24,
        "global_step": 46824,
        "pytorch-lightning_version": "1.5.0",
        "state_dict": collections.OrderedDict(state),
        "callbacks": {Callback: {"best": Callback()}, "namespace": argparse.Namespace(lr=1e-4)},
        "optimizer_states": [
            {"state": {0: {"step": 3, "exp_avg": torch.ones(5)}}, "param_groups": [{"betas": (0.9, 0.99)}]}
        ],
        "hyper_parameters": {
            "dtype": torch.float32,
            "size": torch.Size([3, 4]),
            "device": torch.device("cpu"),
            "set": {1, 2},
        },
    }


def assert_same(model, weights, network):
    state = model.state_dict()
    keys = [key for key in weights if key.startswith(PREFIXES[network])]
    assert keys and all(torch.equal(state[key], weights[key].to(state[key].dtype)) for key in keys)


@pytest.mark.parametrize("wrap", ["lightning", "bare", "parameters", "mapping", "numpy", "safetensors"])
def test_every_form_of_a_checkpoint(weights, tmp_path, wrap):
    path = tmp_path / "weights.ckpt"
    source = path
    if wrap == "lightning":
        torch.save(lightning(weights), path)
    elif wrap == "bare":
        torch.save(weights, path)
    elif wrap == "parameters":
        torch.save(
            {
                "state_dict": {
                    key: torch.nn.Parameter(v) if v.is_floating_point() else v for key, v in weights.items()
                }
            },
            path,
        )
    elif wrap == "mapping":
        source = {"state_dict": weights}
    elif wrap == "numpy":
        source = {key: value.numpy() for key, value in weights.items()}
    else:
        safetensors.torch.save_file(weights, path)
    model = load_checkpoint(source, networks=("generator", "discriminator"))
    assert_same(model, weights, "generator")
    assert_same(model, weights, "discriminator")
    assert model.encoder is None and model.unet is None and model.unexpected == []
    np.testing.assert_array_equal(model.uv_layout.faces, LAYOUT.faces)
    np.testing.assert_array_equal(model.uv_layout.uv, LAYOUT.uv)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert (
        "first_stage.encoder.convs.0.0.weight" in model.missing
        and PREFIXES["generator"] + "input.input" not in model.missing
    )


def test_views_other_types_and_shared_storages_are_read_right(weights, tmp_path):
    prefix = PREFIXES["generator"]
    odd = {key: value for key, value in weights.items() if key.startswith(prefix)}
    both = torch.randn(3, 256)
    a, b, turned, half = (
        prefix + name
        for name in (
            "conv1.activate.bias",
            "convs.0.activate.bias",
            "conv1.conv.modulation.weight",
            "convs.1.conv.modulation.weight",
        )
    )
    odd[a], odd[b] = both[1], both[:, :].T[:, 2]  # two views of one storage, one of them strided
    odd[turned] = torch.randn(512, 256).T
    odd[half] = odd[half].half()
    torch.save({"state_dict": odd}, tmp_path / "odd.ckpt")
    assert_same(load_checkpoint(tmp_path / "odd.ckpt", networks=("generator",)), odd, "generator")


def test_the_callers_tensors_stay_theirs(weights):
    key = PREFIXES["generator"] + "input.input"
    before = weights[key].clone()
    model = load_checkpoint(weights, networks=("generator",))
    model.generator.input.input.data.zero_()
    assert torch.equal(weights[key], before)


def test_the_old_name_of_the_vq_model(tmp_path):
    source = random_state_dict(7)
    renamed = {
        key.replace("compress_branch", "vq_branch"): source[key]
        for key in source
        if key.startswith(PREFIXES["vq"])
    }
    model = load_checkpoint({**renamed, "first_stage.encoder_extra.weight": torch.zeros(1)}, networks=("vq",))
    assert torch.equal(model.vq.quant_conv.weight, source[PREFIXES["vq"] + "quant_conv.weight"])
    assert model.unexpected == ["first_stage.encoder_extra.weight"]


def test_averaged_weights_are_sampled_with_unless_refused():
    name = "middle_block.1.qkv.weight"
    averaged_name = "model_ema." + ema_name(name)
    with torch.device("meta"):
        shapes = DinarModel(networks=("unet",)).state_dict()
    # one number each, spread over the shape: 2 for averages, 1 for raw weights
    source = {
        key: torch.tensor(2.0 if key.startswith("model_ema.") else 1.0).expand(value.shape)
        for key, value in shapes.items()
    }
    source["model_ema.num_updates"] = torch.tensor(7, dtype=torch.int32)
    model = load_checkpoint(source, networks=("unet",))
    assert all(p.flatten()[0] == 2 for p in model.unet.parameters())
    state = model.state_dict()
    assert state["model_ema.num_updates"] == 7 and state["model_ema.decay"] == 2
    assert state[averaged_name].data_ptr() == state["model." + name].data_ptr()  # no second copy
    other = torch.full_like(state[averaged_name], 3.0)
    model.load_state_dict({averaged_name: other, "model." + name: other - 1}, strict=False)
    assert (model.unet.get_parameter(name) == 3).all()
    del model, state

    lacking = {key: value for key, value in source.items() if key != averaged_name}
    with pytest.raises(CheckpointError, match=rf"1 weights are missing \({averaged_name}\)"):
        load_checkpoint(lacking, networks=("unet",))
    model = load_checkpoint(lacking, networks=("unet",), ema=False)
    assert (model.unet.get_parameter(name) == 1).all() and model.missing.count(averaged_name) == 1


def test_save_then_load(weights, tmp_path):
    model = load_checkpoint(weights, networks=("generator", "discriminator"))
    path = tmp_path / "saved.safetensors"
    path.write_bytes(b"old")
    save_checkpoint(model, path)
    assert [p.name for p in tmp_path.iterdir()] == ["saved.safetensors"]
    stored = safetensors.torch.load_file(path)
    state = model.state_dict()
    assert stored.keys() == state.keys()
    assert all(
        torch.equal(stored[key], state[key]) and stored[key].dtype == state[key].dtype for key in state
    )
    again = load_checkpoint(path, networks=("generator", "discriminator"))
    assert_same(again, weights, "generator")


def test_a_refusing_disk_leaves_the_old_file(weights, tmp_path, monkeypatch):
    model = load_checkpoint(weights, networks=("generator",))
    path = tmp_path / "saved.safetensors"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dinar_live.export.networks.storage.os.replace", full)
    with pytest.raises(CheckpointError, match="No space left on device.*GB are needed"):
        save_checkpoint(model, path)
    assert [p.name for p in tmp_path.iterdir()] == ["saved.safetensors"] and path.read_bytes() == b"old"
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(model, tmp_path / "nowhere" / "saved.safetensors")


def test_constants_may_be_absent_and_weights_may_not(weights):
    constants = [key for key in weights if key.endswith(".kernel")]
    assert constants
    model = load_checkpoint(
        {key: value for key, value in weights.items() if key not in constants}, networks=("generator",)
    )
    np.testing.assert_allclose(model.generator.convs[0].conv.blur.kernel.sum(), 4.0)
    assert set(constants) <= set(model.missing)
    lacking = {key: value for key, value in weights.items() if "convs.3" not in key}
    with pytest.raises(
        CheckpointError, match=r"5 weights are missing \(first_stage.generator.convs.3.activate.bias, "
    ):
        load_checkpoint(lacking, networks=("generator",))
    with pytest.raises(CheckpointError, match="weights are missing"):
        load_checkpoint(weights)  # the other networks


def test_discriminator_is_optional_only_as_a_whole(weights):
    generator = {key: value for key, value in weights.items() if key.startswith(PREFIXES["generator"])}
    with pytest.raises(CheckpointError, match=r"weights are missing \(first_stage.discriminator.convs"):
        load_checkpoint(generator, networks=("generator", "discriminator"))
    key = PREFIXES["discriminator"] + "final_linear.1.bias"
    with pytest.raises(CheckpointError, match=r"weights are missing \(first_stage.discriminator.convs"):
        load_checkpoint(
            {**random_mapping("encoder"), key: weights[key]}, networks=("encoder", "discriminator")
        )


def random_mapping(network):
    source = random_state_dict(9)
    return {key: source[key] for key in source if key.startswith(PREFIXES[network])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:, :-1], r"conv1.conv.modulation.weight is \[256, 511\], expected \[256, 512\]"),
        (lambda v: v.long(), "conv1.conv.modulation.weight is int64, expected float32"),
        (lambda v: v.clone().fill_(float("nan")), "conv1.conv.modulation.weight holds NaN"),
        (lambda v: "text", "conv1.conv.modulation.weight is a str, expected a tensor"),
    ],
)
def test_wrong_entries_are_named(weights, change, message):
    key = PREFIXES["generator"] + "conv1.conv.modulation.weight"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint({**weights, key: change(weights[key])}, networks=("generator",))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            {"first_stage.rasterizer.faces": torch.tensor([[0, 1, 4]], dtype=torch.int32)},
            r"indices 0..4, expected 0..3",
        ),
        ({"first_stage.rasterizer.vertice_values": torch.full((4, 2), float("inf"))}, "non-finite"),
        (
            {"first_stage.rasterizer.faces": torch.zeros(4, 2, dtype=torch.int32)},
            r"\[4, 2\], expected integers \[F,3\]",
        ),
        ({"first_stage.normal_rasterizer.faces": torch.tensor([[0, 1, 3]], dtype=torch.int32)}, "differs"),
    ],
)
def test_a_broken_layout_is_refused(weights, layout, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint({**weights, **layout}, networks=("generator",))


def test_half_a_layout_is_refused(weights):
    with pytest.raises(CheckpointError, match="without the other half"):
        load_checkpoint(
            {key: value for key, value in weights.items() if key != "first_stage.rasterizer.faces"},
            networks=("generator",),
        )


def test_files_of_something_else(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(path)
    for content, message in [
        (b"", "neither a torch checkpoint"),
        (b"GIF89a and more of a picture", "neither a torch checkpoint"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch < 1.6"),
        (b"PK\x03\x04 and no more", "is the download complete"),
        (struct.pack("<Q", 2) + b"{]", "not a readable safetensors"),
        (struct.pack("<Q", 1 << 60) + b"{}", "not a readable safetensors"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)
    torch.save({"state_dict": {"backbone.weight": torch.ones(3)}}, path)
    with pytest.raises(
        CheckpointError, match=r"not a DINAR checkpoint, none of its 1 tensors \(backbone.weight\)"
    ):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="no dict of weights"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("avatar.json", json.dumps({}))
    with pytest.raises(CheckpointError, match="0 data.pkl"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="got a int"):
        load_checkpoint(3)
    with pytest.raises(InputError, match="decoder"):
        load_checkpoint({}, networks=("decoder",))


def test_a_cut_file_is_refused(weights, tmp_path):
    path = tmp_path / "cut.ckpt"
    torch.save(weights, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="is the download complete"):
        load_checkpoint(path)


def test_random_checkpoint_file_equals_the_mapping(tmp_path, monkeypatch):
    source = random_state_dict(11, LAYOUT)
    small = {key: value for key, value in source._plan.items() if not key.startswith("model.")}
    monkeypatch.setattr(
        "dinar_live.export.networks.random_weights.RandomStateDict.__iter__", lambda self: iter(small)
    )
    path = tmp_path / "random.safetensors"
    save_random_checkpoint(path, 11, LAYOUT)
    model = load_checkpoint(path, networks=[name for name in PREFIXES if name != "unet"])
    key = PREFIXES["renderer"] + "model.start.1.weight"
    assert torch.equal(model.state_dict()[key], source[key])
    assert model.uv_layout.faces.tolist() == LAYOUT.faces.tolist()


def test_unknown_networks_are_refused():
    with pytest.raises(InputError, match="expected names out of"):
        DinarModel(networks=("clip",))
