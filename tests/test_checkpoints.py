"""Files of every kind that users have: what can be loaded loads, what cannot says why, and nothing runs code."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file, save_model
from torch import nn

from restoralib.archs import (
    DMCNN,
    FSRCNN,
    DiffIRS2,
    MPRNet,
    NAFNet,
    NAFNetLocal,
    Restormer,
    SRGANDiscriminator,
    SRResNet,
    SwinIR,
)
from restoralib.checkpoints import (
    AmbiguousCheckpoint,
    CheckpointError,
    CheckpointWarning,
    DamagedCheckpoint,
    MissingCheckpoint,
    UnknownCheckpoint,
    UnsafeCheckpoint,
    load_model,
    load_weights,
    read_checkpoint,
    recognize,
)

TINY = {"img_channel": 3, "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]}


@pytest.fixture
def net():
    net = NAFNet(**TINY).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)  # new blocks of NAFNet are the identity
    return net


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def assert_equal(loaded, net):
    assert type(loaded) is type(net) and not loaded.training
    image = torch.rand(1, net.spec.in_channels, 9, 11)
    assert torch.equal(loaded(image), net(image))


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


# Wrappers

WRAPPERS = {
    "bare": lambda state: state,
    "ordered": OrderedDict,
    **{
        key: lambda state, key=key: {key: state, "epoch": 3, "best": torch.tensor(31.5)}
        for key in ("params_ema", "params-ema", "params", "ema_state_dict", "state_dict", "model_state_dict", "model", "net")
    },
    "generator": lambda state: {"generator": state, "discriminator": {"conv.weight": torch.ones(3)}},
    "an unknown name": lambda state: {"netz": state, "epoch": 3},
    "nested": lambda state: {"state_dict": {"net": {"model": state}}},
    "nested in unknown names": lambda state: {
        "run": {"best": {"params": state}, "options": {"lr": {"start": 1e-4}}},
        "epoch": 3,
    },
    "nothing averaged": lambda state: {"params_ema": {}, "ema": {"decay": {"rate": 0.999}}, "params": state},
    "beside a training's state": lambda state: {
        "netz": {"weights": state},
        "optimizers": {"exp_avg": prefixed(state, "net.")},
        "scheduler": {"last": {"lr": torch.ones(1)}},
    },
    "beside numpy's values": lambda state: {
        "params": state,
        "best": np.float64(3),
        "converged": np.bool_(True),
        "losses": np.arange(3.0),
        "names": np.array(["a", "b"]),
        "kind": np.dtype("f4"),
    },
    "beside options": lambda state: {"args": argparse.Namespace(lr=1e-4, crop=[64, 64], seed=np.int64(3)), "model": state},
    **{
        prefix: lambda state, prefix=prefix: {"state_dict": prefixed(state, prefix)}
        for prefix in ("module.", "_orig_mod.", "net.", "netG.", "generator.", "model.", "module._orig_mod.model.")
    },
    "Lightning": lambda state: {
        "pytorch-lightning_version": "2.5",
        "state_dict": prefixed(state, "model.") | {"loss.vgg.0.weight": torch.ones(3), "metric.total": torch.zeros(())},
        "optimizer_states": [{"state": {}, "param_groups": []}],
    },
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_wrapped_and_prefixed_files_load(wrapper, zipped, net, path):
    torch.save(WRAPPERS[wrapper](net.state_dict()), path, _use_new_zipfile_serialization=zipped)
    assert_equal(load_model(path), net)


def test_averaged_weights_are_preferred_and_others_can_be_chosen(net, path):
    other = NAFNet(**TINY)
    torch.save({"params": other.state_dict(), "params_ema": net.state_dict()}, path)
    assert_equal(load_model(path), net)
    assert_equal(load_model(path, key="params"), other)
    with pytest.raises(ValueError, match="no entry 'ema'; it has params, params_ema"):
        load_model(path, key="ema")


def test_several_sets_of_weights_have_to_be_chosen_from(net, path):
    torch.save({"day": net.state_dict(), "night": net.state_dict()}, path)
    with pytest.raises(AmbiguousCheckpoint, match="choose one: key='day' or 'night'"):
        load_model(path)
    assert_equal(load_model(path, key="night"), net)


def test_what_a_file_holds_counts_and_not_its_extension(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "weights.ckpt")
    assert_equal(load_model(tmp_path / "weights.ckpt"), net)
    torch.save(net.state_dict(), tmp_path / "weights.safetensors")
    assert_equal(load_model(tmp_path / "weights.safetensors"), net)
    with pytest.raises(ValueError, match="leave key='params' out"):
        load_model(tmp_path / "weights.ckpt", key="params")


@pytest.mark.parametrize(
    "net",
    [
        MPRNet(n_feat=8, scale_unetfeats=2, scale_orsnetfeats=2, num_cab=1, reduction=1),
        DMCNN(tied=True),
        DiffIRS2(1, dim=4, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 1, 1, 1)),
    ],
    ids=lambda net: type(net).__name__,
)
def test_tensors_of_several_names_that_safetensors_wrote_once_are_found(net, tmp_path):
    save_model(net.eval(), str(tmp_path / "weights.safetensors"))
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert len(file.keys()) < len(net.state_dict())
    loaded = load_model(tmp_path / "weights.safetensors")
    assert type(loaded) is type(net)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in net.state_dict().items())


# What comes out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_are_float32_and_keep_gradients(dtype, net, path):
    torch.save({key: value.to(dtype) for key, value in net.state_dict().items()}, path)
    loaded = load_model(path)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_loading_leaves_the_random_state_alone(net, path):
    torch.save(net.state_dict(), path)
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_that_are_not_finite_warn(net, path):
    net.intro.bias.data[0] = torch.nan
    torch.save(net.state_dict(), path)
    with pytest.warns(CheckpointWarning, match=r"NaN or infinite values: intro\.bias"):
        load_model(path)


# What weights do not tell


def test_an_argument_that_no_weight_tells_has_to_be_given(path):
    net = FSRCNN(3, d=4, s=3, m=1)
    torch.save(net.state_dict(), path)
    with pytest.raises(AmbiguousCheckpoint, match=r"no weight of a FSRCNN tells scale_factor; .*scale_factor=…"):
        load_model(path)
    assert_equal(load_model(path, scale=3), net)
    assert load_model(path, scale_factor=2, num_channels=1).spec.scale == 2


def test_arguments_that_contradict_the_file_are_refused(path):
    torch.save(FSRCNN(3, d=4, s=3, m=1).state_dict(), path)
    with pytest.raises(ValueError, match="the file tells d=4, so d=56 cannot be"):
        load_model(path, scale=3, d=56)
    with pytest.raises(TypeError, match="FSRCNN has no argument sharpness; its arguments are scale_factor"):
        load_model(path, scale=3, sharpness=1)


def test_what_is_assumed_is_said(path):
    config = {"width": 2, "enc_blk_nums": [1, 1, 1, 28], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 1, 1]}
    torch.save(NAFNet(**config).state_dict(), path)
    with pytest.warns(CheckpointWarning, match="no weight tells train_size"):
        assert type(load_model(path)) is NAFNetLocal
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(path, train_size=(1, 3, 256, 256))
        assert type(load_model(path, arch="NAFNet")) is NAFNet


def test_a_local_class_asked_for_says_what_it_assumes(net, path):
    torch.save(net.state_dict(), path)
    with pytest.warns(CheckpointWarning, match=r"no weight tells train_size; train_size=\[1, 3, 256, 256\] is assumed"):
        assert type(load_model(path, arch="NAFNetLocal")) is NAFNetLocal


SWINIR = {"embed_dim": 4, "depths": [2], "num_heads": [1], "window_size": 4, "mlp_ratio": 1, "img_size": 16}
RESTORMER = {"dim": 8, "num_blocks": [1] * 4, "num_refinement_blocks": 1, "heads": [1] * 4}

# Weights only tell one of several values of these arguments.
TRUE_ARGUMENTS = {
    "windows cut to the image": (SwinIR, SWINIR, {"img_size": 6, "window_size": 8}),
    "no enlargement": (SwinIR, SWINIR, {"upscale": 2}),
    "an oblong image": (SwinIR, SWINIR, {"img_size": (16, 24)}),
    "a rounded width of SwinIR": (SwinIR, SWINIR | {"embed_dim": 30}, {"mlp_ratio": 2.66}),
    "a rounded width of Restormer": (Restormer, RESTORMER, {"ffn_expansion_factor": 2.665}),
}


@pytest.mark.parametrize("case", TRUE_ARGUMENTS)
def test_true_arguments_are_taken(case, path):
    cls, config, true = TRUE_ARGUMENTS[case]
    net = cls(**config | true).eval()
    torch.save(net.state_dict(), path)
    loaded = load_model(path, **true)
    assert loaded.spec == net.spec
    assert_equal(loaded, net)


def test_an_image_size_that_changes_no_result_is_taken(path):
    net = SwinIR(**SWINIR).eval()
    torch.save(net.state_dict(), path)
    assert_equal(load_model(path, img_size=64), net)
    with pytest.raises(ValueError, match="the file tells img_size=16, so img_size=4 cannot be"):
        load_model(path, img_size=4)  # such layers are not shifted, and the file has masks


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"embed_dim": 8}, "the file tells embed_dim=4, so embed_dim=8 cannot be"),
        ({"img_size": 32, "depths": [3]}, r"the file tells depths=\(2,\), so depths=\[3\] cannot be"),
        ({"window_size": 8}, "the file tells window_size=4"),
        ({"mlp_ratio": 1.5}, "the file tells mlp_ratio=1"),
        ({"num_heads": [3]}, r"the file tells num_heads=\(1,\)"),
    ],
)
def test_arguments_that_weights_do_not_fit_are_refused(given, words, path):
    torch.save(SwinIR(**SWINIR).state_dict(), path)
    with pytest.raises(ValueError, match=words):
        load_model(path, **given)


def test_what_follows_from_a_default_can_be_given(path):
    torch.save(SwinIR(embed_dim=4, depths=[1], num_heads=[1], window_size=8, mlp_ratio=1).state_dict(), path)
    assert load_model(path).img_range == 1
    assert load_model(path, img_range=255.0).img_range == 255


def test_arch_chooses_a_family_or_a_class(net, path):
    torch.save(net.state_dict(), path)
    assert_equal(load_model(path, arch="nafnet"), net)
    assert type(load_model(path, arch="NAFNetLocal", train_size=(1, 3, 64, 64))) is NAFNetLocal
    with pytest.raises(ValueError, match="unknown architecture 'nafnets'; did you mean nafnet"):
        load_model(path, arch="nafnets")
    with pytest.raises(UnknownCheckpoint):
        load_model(path, arch="restormer")


# Our own files


def save_recorded(net, path, **metadata):
    save_file(net.state_dict(), path, metadata={"arch": "fsrcnn", "class": type(net).__name__} | metadata)


def test_a_recorded_configuration_leaves_nothing_to_guess(path):
    config = {"scale_factor": 3, "d": 4, "s": 3, "m": 1}
    net = FSRCNN(**config)
    save_recorded(net, path, config=json.dumps(config))
    assert_equal(load_model(path), net)
    assert_equal(load_model(path, scale=3, arch="FSRCNN"), net)
    with pytest.raises(ValueError, match="the file tells scale_factor=3"):
        load_model(path, scale=4)
    with pytest.raises(ValueError, match="holds a FSRCNN, so arch='nafnet' cannot be"):
        load_model(path, arch="nafnet")


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ({"arch": "os"}, UnknownCheckpoint, "neither restoralib nor a plug-in here has"),
        ({"class": "Module"}, UnknownCheckpoint, "it holds a Module"),
        ({"config": "{"}, DamagedCheckpoint, "no JSON"),
        ({"config": "[" * 100_000}, DamagedCheckpoint, "no JSON"),
        ({"config": "[1]"}, DamagedCheckpoint, "should hold arguments of FSRCNN"),
        ({"config": '{"forward": 1}'}, DamagedCheckpoint, "should hold arguments of FSRCNN"),
        ({"config": '{"scale_factor": 1000000000}'}, DamagedCheckpoint, "absurd"),
        ({"config": '{"scale_factor": NaN}'}, DamagedCheckpoint, "absurd"),
        ({"config": '{"scale_factor": {"a": 1}}'}, DamagedCheckpoint, "absurd"),
        ({"config": '{"scale_factor": "2"}'}, DamagedCheckpoint, "cannot be built"),
        ({"config": '{"scale_factor": 2, "m": 60000}'}, DamagedCheckpoint, "far more layers"),
        ({"config": '{"scale_factor": 2, "d": 65536, "s": 65536}'}, UnknownCheckpoint, "of another shape"),
    ],
)
def test_recorded_configurations_are_validated(metadata, error, words, path):
    save_recorded(FSRCNN(2, d=4, s=3, m=1), path, **{"config": "{}"} | metadata)
    with pytest.raises(error, match=words):
        load_model(path)


def test_tables_that_a_file_claims_are_bounded(path):
    config = {"img_size": 60_000, "embed_dim": 4, "depths": [2], "num_heads": [1], "window_size": 2, "mlp_ratio": 1}
    save_recorded(SwinIR(**config | {"img_size": 8}), path, arch="swinir", config=json.dumps(config))
    with pytest.raises(DamagedCheckpoint, match="bytes of tables that are not in the file"):
        load_model(path)


# Buffers


@pytest.mark.parametrize("masks", ["none", "of another size"])
def test_masks_and_indices_may_be_missing_or_of_another_size(masks, path):
    config = {"embed_dim": 4, "depths": [2], "num_heads": [1], "window_size": 4, "mlp_ratio": 1}
    net = SwinIR(**config, img_size=8).eval()
    state = SwinIR(**config, img_size=16).state_dict() | {
        key: value for key, value in net.state_dict().items() if not key.endswith(SwinIR.derived_suffixes)
    }
    if masks == "none":
        state = {key: value for key, value in state.items() if not key.endswith(SwinIR.derived_suffixes)}
    torch.save(state, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        assert_equal(load_model(path), net)


def test_counters_of_batch_norm_may_be_missing(path):
    net = SRResNet(channels=4, num_rcb=1, upscale=2).eval()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, path)
    assert_equal(load_model(path, output="clamp", input_norm=None), net)


# Code


class Call:
    """Pickles as a call that leaves a trace."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def trace(tmp_path):
    return tmp_path / "ran"


MALICIOUS = {
    "os.system": lambda tmp_path: Call(os.system, f"touch {trace(tmp_path)}"),
    "exec": lambda tmp_path: Call(exec, f"open({str(trace(tmp_path))!r}, 'w')"),
    "nested": lambda tmp_path: {"params": {"weight": [(Call(os.mkdir, str(trace(tmp_path))),)]}},
    "pickle in a pickle": lambda tmp_path: Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(trace(tmp_path))))),
}


@pytest.mark.parametrize("kind", MALICIOUS)
@pytest.mark.parametrize("form", ["zip", "legacy", "plain", "tar"])
def test_code_never_runs(kind, form, tmp_path):
    path, content = tmp_path / "model.pth", {"weight": torch.ones(3), "extra": MALICIOUS[kind](tmp_path)}
    if form in ("zip", "legacy"):
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    elif form == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        (tmp_path / "pickle").write_bytes(pickle.dumps(content))
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "pickle")
    with pytest.raises(UnsafeCheckpoint, match=r"model\.pth: "):
        load_model(path)
    assert not trace(tmp_path).exists()


def test_a_refusal_names_what_would_be_called_and_what_to_do(path):
    torch.save({"a": Call(os.mkdir, "x"), "b": Call(exec, "1")}, path)
    with pytest.raises(UnsafeCheckpoint, match=r"call builtins\.exec, (posix|nt)\.mkdir, .*save the weights alone: "):
        load_model(path)


def test_a_pickled_network_is_refused(net, path):
    torch.save({"model": nn.Sequential(nn.Conv2d(3, 3, 1))}, path)
    with pytest.raises(UnsafeCheckpoint, match="a whole pickled network"):
        load_model(path)


@pytest.mark.parametrize("protocol", [0, 1])
def test_pickles_of_old_protocols_are_refused(protocol, net, tmp_path):
    path = tmp_path / "model.pth"
    contents = {"weights": {"weight": [1.0, 2.0]}, "code": Call(os.mkdir, str(trace(tmp_path)))}
    for content in contents.values():
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(UnsafeCheckpoint, match=r"a pickle of protocol 0 or 1.* refused"):
            load_model(path)
    torch.save(net.state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeCheckpoint, match="a pickle of protocol 0 or 1"):
        load_model(path)
    assert not trace(tmp_path).exists()


def test_what_is_harmless_is_not_named_in_a_refusal_and_stays_refused_elsewhere(path):
    content = {"best": np.float64(3), "code": Call(os.mkdir, "x")}
    for zipped in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnsafeCheckpoint, match=r"have to call (posix|nt)\.mkdir, and"):
            load_model(path)
    assert not [entry for entry in torch.serialization.get_safe_globals() if "numpy" in str(entry)]
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_numpy_objects_are_not_made(path):
    dtype = Call(np.dtype, "O8", False, True)
    forged = Call(np.float64(3).__reduce__()[0], dtype, bytes(8))
    torch.save({"params": {"weight": torch.ones(3)}, "forged": forged, "array": np.array([object], dtype=object).dtype}, path)
    assert read_checkpoint(path)[0].keys() == {"weight"}


def test_a_torchscript_file_is_refused(path):
    torch.jit.script(nn.Conv2d(3, 3, 1)).save(path)
    with pytest.raises(UnsafeCheckpoint, match="TorchScript"):
        load_model(path)


def test_an_old_torch_reads_no_pickle(net, path, monkeypatch):
    torch.save(net.state_dict(), path)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    with pytest.raises(UnsafeCheckpoint, match=r"upgrade it to 2\.6"):
        load_model(path)


# Files that are no checkpoints

OTHER_FILES = {
    "empty": (b"", "empty"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG image"),
    "html": (b"\n<!DOCTYPE html><html>sign in</html>", "a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "text": (b"learning_rate: 1e-4\n", "text that begins 'learning_rate"),
    "json": (b'{"config": {}}', "text that begins"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "a gzip archive"),
    "numpy": (b"\x93NUMPY\x01\x00" + bytes(100), "a numpy array"),
    "noise": (bytes(range(255, 100, -1)), "of an unknown format"),
    "pickle cut short": (b"\x80\x02}q\x00X", "may be truncated"),
    "zip cut short": (b"PK\x03\x04" + bytes(100), "may be truncated"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files_are_named_for_what_they_are(kind, path):
    content, words = OTHER_FILES[kind]
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=f"weights.pth: .*{words}"):
        load_model(path)


def test_a_missing_file_lists_its_neighbours(net, path):
    torch.save(net.state_dict(), path)
    with pytest.raises(MissingCheckpoint, match=r"no such file; did you mean weights\.pth\?"):
        load_model(path.with_name("weight.pth"))
    with pytest.raises(FileNotFoundError):
        load_model(path.parent / "nowhere" / "weights.pth")
    with pytest.raises(UnknownCheckpoint, match=r"a folder; give a file of it: weights\.pth"):
        load_model(path.parent)


def test_zip_archives_of_others_are_named(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.bin", b"1")
    with pytest.raises(DamagedCheckpoint, match="unpack it and load the file inside"):
        load_model(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_truncated_or_altered_file_gives_one_of_our_errors(form, path):
    net = FSRCNN(2, d=4, s=3, m=1)
    if form == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    for length in range(1, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            load_model(path, scale=2)
    for position in range(0, min(len(whole), 4000), 59):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        with contextlib.suppress(CheckpointError):  # some bytes are only values, or padding
            load_model(path, scale=2)


# Hostile shapes


def header(entries, size=0):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


SAFETENSORS = {
    "a billion channels": header({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 16]}}, 16),
    "overflow": header({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 16]}}, 16),
    "overlap": header(
        {key: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for key in "ab"},
        16,
    ),
    "beyond the end": header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, 4),
    "a long header": struct.pack("<Q", 2**60) + b"{" + bytes(100),
    "nothing": header({"a": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]}}),
}


@pytest.mark.parametrize("lie", SAFETENSORS)
def test_lies_in_a_safetensors_header_are_found(lie, path):
    path.write_bytes(SAFETENSORS[lie])
    with pytest.raises(DamagedCheckpoint):
        load_model(path)


HOSTILE = {
    "repeated": lambda: torch.ones(1).expand(10**6, 10**6),
    "without data": lambda: torch.empty(10**9, 10**6, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "empty": lambda: torch.ones(0, 3, 3, 3),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_tensors_that_do_not_lie_in_the_file_are_refused(kind, net, path):
    torch.save(net.state_dict() | {"intro.weight": HOSTILE[kind]()}, path)
    with pytest.raises(DamagedCheckpoint, match=r"intro\.weight (claims|should|has)"):
        load_model(path)


def test_tensors_that_share_one_storage_are_bounded(net, path):
    state = NAFNet(**TINY | {"width": 128}).state_dict()
    storage = torch.zeros(max(value.numel() for value in state.values()))
    torch.save({key: storage[: value.numel()].view(value.shape) for key, value in state.items()}, path)
    with pytest.raises(DamagedCheckpoint, match="its tensors claim"):
        load_model(path)


def test_tied_weights_load(net, path):
    net.ending.bias.data = net.intro.bias.data[:3]
    torch.save(net.state_dict(), path)
    assert_equal(load_model(path), net)


def test_a_compressed_archive_is_refused(net, path):
    torch.save({"a": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as stored:
        members = {member.filename: stored.read(member) for member in stored.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DamagedCheckpoint, match="claims to unpack to"):
        load_model(path)


def test_keys_that_claim_a_billion_blocks_build_nothing(net, path):
    state = net.state_dict()
    torch.save({key.replace("encoders.0.0.", "encoders.999999999.999999999."): state[key] for key in state}, path)
    with pytest.raises(CheckpointError):
        load_model(path)


def test_shapes_that_fit_no_network_are_refused(net, path):
    state = net.state_dict()
    for key, value in list(state.items())[::5]:
        for shape in ([], [1], [7] * value.ndim, [1] * (value.ndim + 1)):
            torch.save(state | {key: torch.ones(shape)}, path)
            with pytest.raises(CheckpointError):
                load_model(path)


def test_dictionaries_nested_without_end_are_refused(path):
    content = {"weight": torch.ones(3)}
    for _ in range(50):
        content = {"model": content}
    torch.save(content, path)
    with pytest.raises(DamagedCheckpoint, match="nested too deep"):
        load_model(path)


# Files of other networks


def test_an_unknown_file_names_the_nearest_network_and_what_differs(net, path):
    state = {key: value for key, value in net.state_dict().items() if key != "encoders.0.0.beta"}
    torch.save(state | {f"adapter.{i}.weight": torch.ones(2) for i in range(12)}, path)
    with pytest.raises(UnknownCheckpoint, match=r"Nearest is NAFNet.*missing: .*12 unexpected: adapter\.0.* and 2 more"):
        load_model(path)


def test_a_file_like_nothing_here_lists_its_keys(path):
    torch.save({"transformer.h.0.attn.bias": torch.ones(3)}, path)
    with pytest.raises(UnknownCheckpoint, match=r"no network here has such weights, 1 tensors: transformer\.h\.0"):
        load_model(path)


def test_an_optimizer_file_is_named_as_one(net, path):
    optimizer = torch.optim.Adam(net.parameters())
    for content in (optimizer.state_dict(), {"epoch": 1, "optimizers": [optimizer.state_dict()]}):
        torch.save(content, path)
        with pytest.raises(UnknownCheckpoint, match="the state of an optimizer"):
            load_model(path)


def test_discriminators_are_named_as_such(path):
    convolution = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 3))
    torch.save(prefixed(convolution.state_dict(), "conv1."), path)
    with pytest.raises(UnknownCheckpoint, match="looks like a discriminator"):
        load_model(path)
    assert recognize(SRGANDiscriminator(channels=2).state_dict()).cls is SRGANDiscriminator


def test_what_is_no_state_dict_says_what_it_is(path):
    for content, words in ((torch.ones(3), "got a Tensor"), ([1, 2], "got a list"), ({}, "an empty dictionary")):
        torch.save(content, path)
        with pytest.raises(UnknownCheckpoint, match=words):
            load_model(path)


def test_weights_load_strictly(net):
    state = net.state_dict()
    del state["intro.bias"]
    with pytest.raises(UnknownCheckpoint, match=r"do not fit NAFNet: 1 missing: intro\.bias"):
        load_weights(net, state)
    with pytest.raises(UnknownCheckpoint, match=r"1 of another shape: intro\.bias is \(4,\) of whole numbers"):
        load_weights(net, state | {"intro.bias": torch.ones(4, dtype=torch.int64)})


def test_read_checkpoint_gives_weights_and_metadata(net, path):
    torch.save({"params": prefixed(net.state_dict(), "module.")}, path)
    state, metadata = read_checkpoint(path)
    assert list(state) == list(net.state_dict()) and metadata == {}
    save_file(net.state_dict(), path, metadata={"author": "me"})
    assert read_checkpoint(path)[1] == {"author": "me"}
