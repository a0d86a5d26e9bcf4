"""Hostile images in memory: PIL images from seeds, arrays and tensors from hypothesis, and paths that lead to no file."""

from __future__ import annotations

import os
import socket

import hypothesis.extra.numpy as hnp
import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from campaign.files import MODES, exif_block, pillow_image, profile

FLOATS = (np.float16, np.float32, np.float64)
EDGES = (0.0, 1.0, 0.5, -0.0, 1e-45, 1.4999, -0.4999, 2.6, -1.6, 255.0, np.nan, np.inf, -np.inf)
TORCH_DTYPES = tuple(
    getattr(torch, name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32"),
        *("float64", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"),
    )
    if hasattr(torch, name)
)

WAYS = (
    *("plain", "plain", "transposed", "expanded", "strided", "flipped", "gradient", "result", "inference", "sparse", "csr"),
    *("quantised", "meta", "parameter", "negative", "conjugate", "nested", "mkldnn", "channels last", "storage of others"),
)


def hostile_pillow(random):
    """A PIL image of any mode with sides of 0 and 1 too, absurd `info`, wrong palettes, impossible numbers, or closed."""
    mode = random.choice(MODES)
    words = [mode]
    if random.random() < 0.1:
        size = random.choice(((0, 0), (0, 5), (5, 0), (1, 0)))
        image = Image.new(mode, size)
        words.append(f"{size[0]} x {size[1]}")
    else:
        image = pillow_image(random, mode)
    way = random.randrange(8)
    if way == 0 and mode == "P":
        image.putpalette(random.randbytes(3 * random.choice((0, 1, 3, 100, 256))))
        words.append("palette of another length")
    elif way == 1:
        image.info["transparency"] = random.choice(
            (0, 5, 255, 256, 70000, -1, b"", b"\0\1", bytes(300), (1, 2, 3), (300, 0, 0), (1,), "x", None)
        )
        words.append("transparency")
    elif way == 2:
        odd = (None, 0, -1, "text", b"\xff\xfe", [], (1, 2), {}, 3.5, profile(random), exif_block(random))
        for name in random.sample(("icc_profile", "exif", "xmp", "dpi", "XML:com.adobe.xmp", "gamma"), 2):
            image.info[name] = random.choice(odd)
        words.append("info")
    elif way == 3:
        image.info["dpi"] = random.choice(
            ((0, 0), (float("nan"), 1), (float("inf"), 72), (72,), ("a", "b"), 72, (-5, 5), (1e300, 1e300))
        )
        words.append("dpi")
    elif way == 4 and mode in ("F", "I"):
        numbers = np.array(image)
        if numbers.size:
            numbers.flat[0] = (
                random.choice((np.nan, np.inf, -3.0, 2.0, 300.0)) if mode == "F" else random.choice((-1, 65536, 2**31 - 1))
            )
        image = Image.fromarray(numbers)
        words.append("impossible numbers")
    elif way == 5:
        image.getexif()[274] = random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535, "6", 6.0, None, (6, 6)))
        words.append("orientation")
    elif way == 6 and random.random() < 0.5:
        image.close()
        words.append("closed")
    return image, ", ".join(words)


@st.composite
def arrays(draw):
    """Arrays of every type, order and shape."""
    numbers = st.sampled_from([np.bool_, np.uint8, np.uint16, *FLOATS])
    dtype = draw(
        st.one_of(
            numbers.map(np.dtype),
            st.sampled_from(
                [
                    ">u2",
                    ">f4",
                    "<f2",
                    "i1",
                    "i4",
                    "u4",
                    "u8",
                    "c8",
                    "c16",
                    "longdouble",
                    "M8[s]",
                    "m8[s]",
                    "S3",
                    "U2",
                    "V4",
                    "O",
                ]
            ).map(np.dtype),
            st.just(np.dtype([("r", "u1"), ("g", "u1")])),
        )
    )
    likely = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))
    odd = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)
    shape = draw(st.one_of(likely, likely.map(lambda shape: shape[:2]), odd))
    if dtype.kind == "f":
        elements = st.one_of(st.floats(0, 1, width=16), st.sampled_from(EDGES))
        array = draw(
            hnp.arrays(
                dtype,
                shape,
                elements=elements.map(lambda value: dtype.type(value).item() if dtype.itemsize < 16 else value),
                fill=st.sampled_from((0.5, 0.0, 1.0)),
            )
        )
    elif dtype.kind in "bu" and dtype.itemsize < 4:
        array = draw(hnp.arrays(dtype, shape))
    else:
        array = np.zeros(shape, dtype)
    view = draw(
        st.sampled_from(
            ("plain", "plain", "reversed", "step", "transposed", "fortran", "read-only", "broadcast", "masked", "matrix")
        )
    )
    if not shape:
        return array
    if view == "reversed":
        array = array[tuple(slice(None, None, -1) for _ in shape)]
    elif view == "step":
        array = array[tuple(slice(None, None, 2) for _ in shape[:2])]
    elif view == "transposed":
        array = array.swapaxes(0, 1) if array.ndim > 1 else array
    elif view == "fortran":
        array = np.asfortranarray(array)
    elif view == "read-only":
        array.flags.writeable = False
    elif view == "broadcast" and array.ndim > 1 and array.shape[0]:
        array = np.broadcast_to(array[:1], array.shape)
    elif view == "masked":
        array = np.ma.masked_array(array, mask=np.zeros(array.shape, bool)) if dtype.names is None else array
    elif view == "matrix" and array.ndim == 2 and dtype.names is None:
        array = np.asmatrix(array)
    return array


@st.composite
def tensors(draw):
    """Tensors of every type, layout and shape, with gradients, conjugate and negative bits, in inference mode."""
    dtype = draw(st.sampled_from(TORCH_DTYPES))
    if draw(st.booleans()):
        dtype = draw(st.sampled_from((torch.uint8, torch.float32, torch.float16, torch.uint16)))
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
            st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
            st.lists(st.integers(0, 6), max_size=6).map(tuple),
        )
    )
    tensor = torch.zeros(shape, dtype=torch.float64)
    if tensor.numel():
        tensor.view(-1)[:] = 0.25 * (torch.arange(tensor.numel()) % 5)
        edge = draw(st.sampled_from((0.0, 0.0, 0.0, *EDGES)))
        if dtype.is_floating_point:
            tensor.view(-1)[-1] = edge
    tensor = tensor.mul(200 if not (dtype.is_floating_point or dtype.is_complex) and dtype != torch.bool else 1).to(dtype)
    way = draw(st.sampled_from(WAYS))
    return _made(tensor, way)


def _made(tensor, way):
    """A tensor in another form; as it is, where it has no such form."""
    try:
        if way == "transposed":
            return tensor.transpose(-2, -1)
        if way == "expanded":
            return tensor[..., :1].expand(tensor.shape)
        if way == "strided":
            return tensor[..., ::2, ::3]
        if way == "flipped":
            return tensor.as_strided(tensor.shape, [0] * tensor.ndim)
        if way == "gradient":
            return tensor.requires_grad_()
        if way == "result":
            return tensor.requires_grad_() * 1
        if way == "inference":
            with torch.inference_mode():
                return tensor.clone()
        if way == "sparse":
            return tensor.to_sparse()
        if way == "csr":
            return tensor.to_sparse_csr()
        if way == "quantised":
            return torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8)
        if way == "meta":
            return tensor.to("meta")
        if way == "parameter":
            return torch.nn.Parameter(tensor, requires_grad=False)
        if way == "negative":
            return torch._neg_view(-tensor)
        if way == "conjugate":
            return torch.conj(tensor)
        if way == "nested":
            return torch.nested.nested_tensor([tensor, tensor])
        if way == "mkldnn":
            return tensor.to_mkldnn()
        if way == "channels last":
            return tensor.contiguous(memory_format=torch.channels_last)
        if way == "storage of others":
            return torch.cat((tensor.flatten(), tensor.flatten()))[tensor.numel() // 2 :][: tensor.numel()].view(tensor.shape)
    except (RuntimeError, IndexError, TypeError, NotImplementedError):
        pass
    return tensor


def odd_paths(folder):
    """What is no image file by its place: folders, links in a circle, pipes, devices, sockets, impossible names."""
    folder.mkdir(exist_ok=True)
    (folder / "folder.png").mkdir(exist_ok=True)
    names = {"gone.png": "nowhere", "circle.png": "circle.png"}
    for name, to in names.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(to)
    if not (folder / "pipe.png").exists():
        os.mkfifo(folder / "pipe.png")
    if not (folder / "zeros.png").is_symlink():
        (folder / "zeros.png").symlink_to("/dev/zero")
    if not (folder / "socket.png").exists():
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(folder / "socket.png"))
    found = [
        str(folder / name)
        for name in ("folder.png", "gone.png", "circle.png", "pipe.png", "zeros.png", "socket.png", "none.png")
    ]
    return [
        *found,
        *(
            "",
            "\0",
            "a\0b.png",
            "x" * 5000 + ".png",
            "/dev/null",
            "/dev/zero",
            "/dev/tty",
            "/proc/self/mem",
            "/proc/self/maps",
            "/",
        ),
        *(str(folder), f"{folder}/\udcff.png", "~", "*.png", "-o", "http://localhost/a.png", "data:image/png;base64,AA"),
    ]


OTHER_OBJECTS = (
    None,
    0,
    1.5,
    True,
    b"",
    b"\x89PNG",
    bytearray(3),
    [],
    [[1, 2]],
    {},
    set(),
    object(),
    int,
    Image,
    ...,
    memoryview(b"abc"),
    range(3),
    (1, 2),
)


def hostile_options(random):
    """Keyword arguments of `restore`: mostly sound, sometimes not."""
    options = {}
    choices = {
        "tile": ("auto", None, 8, 16, (8, 16), (1, 1), 0, -4, "x", (3,), 2.5, 10**9),
        "overlap": (None, 0, 2, 7, 1000, -1),
        "batch": (1, 2, 5, 0, -1, 1.5),
        "dtype": ("auto", "float32", "bfloat16", "float16", "float64", torch.bfloat16, "int8", None),
        "alpha": ("resize", "model", "drop", "keep"),
        "exact": (True, False),
        "ensemble": (True, False),
        "strict": (True, False),
        "seed": (None, 0, 7, -1, 2**70, 1.5),
        "device": ("auto", "cpu", "cuda:99", "toaster", None),
        "max_output_pixels": (10**6, 1, 0, -5),
    }
    for name in random.sample(sorted(choices), random.choice((0, 0, 0, 0, 1, 1, 2, 3))):
        options[name] = random.choice(choices[name])
    return options
