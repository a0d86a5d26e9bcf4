"""Hostile image files: sound ones of every format, then mutated, lied about in their headers, or given absurd metadata.

All is drawn from a `random.Random`, so that a number makes the same file again.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
PILLOW_FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}
FOREIGN = {"gif": "GIF", "ico": "ICO", "ppm": "PPM", "jp2": "JPEG2000", "tga": "TGA", "pcx": "PCX", "eps": "EPS", "pdf": "PDF"}
KINDS = (*PILLOW_FORMATS, "png16", "tif16", "tif32", "tif8", "frames", *FOREIGN, "bytes")
WEIGHTS = (*(12,) * len(PILLOW_FORMATS), 8, 8, 6, 6, 4, *(1,) * len(FOREIGN), 2)
MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I;16",
    "I;16B",
    "I",
    "F",
    "La",
    "RGBa",
)
SIZES = (1, 1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33, 40, 63)
EXTREMES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 100_000, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(random, *shape, dtype=np.uint8):
    """Noise, or a constant, for compressors meet both."""
    rng = np.random.default_rng(random.getrandbits(32))
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    top = min(np.iinfo(dtype).max, 2**62)
    return (
        np.full(shape, rng.integers(top), dtype) if random.random() < 0.3 else rng.integers(0, top, shape, dtype, endpoint=True)
    )


def pillow_image(random, mode, size=None):
    """A sound PIL image of a mode."""
    width, height = size or (random.choice(SIZES), random.choice(SIZES))
    if mode in ("I;16", "I;16B", "I", "F"):
        wide = noise(random, height, width, dtype=np.uint16)
        return (
            Image.fromarray({"I": wide.astype(np.int32), "F": (wide / 65535).astype(np.float32)}.get(mode, wide.astype("<u2")))
            if (mode != "I;16B")
            else Image.fromarray(wide.astype(">u2"))
        )
    image = Image.fromarray(noise(random, height, width, 4), "RGBA")
    if mode == "P":
        return image.convert("RGB").quantize(random.choice((2, 5, 16, 256))) if random.random() < 0.5 else image.quantize(16)
    if mode == "PA":
        return image.convert("RGB").quantize(16).convert("PA")
    if mode in ("La", "RGBa"):
        return image.convert("LA" if mode == "La" else "RGBA").convert(mode)
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, noise(random, height, width, 3).tobytes())
    return image.convert("RGB").convert(mode) if mode not in ("RGBA", "LA") else image.convert(mode)


# Metadata


def exif_block(random):
    """A TIFF block of absurd tags: orientations that do not exist, loops, counts of billions, rationals of 0/0."""
    order = random.choice("<>")
    data = b""
    entries = []
    for _ in range(random.randint(0, 8)):
        tag = random.choice(
            (274, 274, 274, 271, 282, 283, 306, 513, 514, 34665, 34853, 37500, 40962, 40963, 40965, 700, 34675, 65535, 0)
        )
        kind = random.choice((1, 2, 3, 3, 3, 4, 5, 7, 10, 12, 13, 0, 14, 255))
        count = random.choice((1, 1, 1, 1, 0, 2, 3, 100, 65535, 2**31, 2**32 - 1))
        value = random.choice((0, 1, 3, 6, 8, 9, 65535, 2**31, 8, 26))
        if tag == 274 and random.random() < 0.7:
            kind, count, value = 3, 1, random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 65535))
        if kind == 3 and count == 1:
            word = struct.pack(order + "HH", value & 0xFFFF, 0)
        elif random.random() < 0.3:
            data += random.choice((bytes(8), random.randbytes(random.randint(1, 60)), b"\xff" * 16, random.randbytes(3000)))
            word = struct.pack(order + "I", 10 + 12 * 8 + len(data) // 2)
        else:
            word = struct.pack(order + "I", value)
        entries.append(struct.pack(order + "HHI", tag, kind, count) + word)
    start = random.choice((8, 8, 8, 8, 8, 0, 4, 9, 2**31, 2**32 - 1))
    count = random.choice((len(entries), len(entries), len(entries), len(entries), 65535, 0))
    follow = random.choice((0, 0, 0, 8, 2**31))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + struct.pack(order + "H", count) + b"".join(entries) + struct.pack(order + "I", follow) + data


def profile(random):
    """A colour profile: sound, cut, altered, of a wrong size, or nothing at all."""
    kind = random.randrange(6)
    if kind == 0:
        return SRGB
    if kind == 1:
        return SRGB[: random.randrange(len(SRGB))]
    if kind == 2:
        return random.randbytes(random.choice((1, 4, 127, 128, 500)))
    if kind == 3:
        return struct.pack(">I", random.choice(EXTREMES)) + SRGB[4:]
    altered = bytearray(SRGB)
    for _ in range(20):
        altered[random.randrange(len(altered))] = random.randrange(256)
    return bytes(altered)


def metadata(random):
    """Options of Pillow's writers, some of them, sound or absurd."""
    options = {}
    if random.random() < 0.4:
        options["exif"] = random.choice((b"Exif\0\0", b"")) + exif_block(random)
    if random.random() < 0.3:
        options["icc_profile"] = profile(random)
    if random.random() < 0.2:
        options["xmp"] = random.choice(
            (b"", b"\xff\xfe\x00", b"<x:xmpmeta", b'tiff:Orientation="6"' * 50, random.randbytes(200))
        )
    if random.random() < 0.2:
        options["dpi"] = random.choice(((0, 0), (1, 1), (72, 300), (1e5, 1e5), (0.001, 3)))
    return options


# Files


def sound(random, kind):
    """The bytes of a file of a kind; what cannot be written with the drawn mode and metadata is written plainly."""
    if kind == "bytes":
        return random.choice(
            (
                b"",
                b"\0",
                b"hello",
                b"\x89PNG\r\n\x1a\n",
                b"II*\0",
                b"BM",
                b"\xff\xd8\xff",
                b"RIFF\0\0\0\0WEBP",
                random.randbytes(300),
            )
        )
    if kind in ("png16", "tif16", "tif32", "tif8"):
        return wide(random, kind)
    file = io.BytesIO()
    image = pillow_image(random, random.choice(MODES if kind in PILLOW_FORMATS else ("L", "P", "RGB")))
    if kind == "frames":
        name = random.choice(("TIFF", "WEBP", "PNG", "GIF", "MPO"))
        first = image.convert("RGB")
        more = [pillow_image(random, "RGB", first.size) for _ in range(random.choice((1, 2, 30)))]
        first.save(file, name, save_all=True, append_images=more)
        return file.getvalue()
    name = (PILLOW_FORMATS | FOREIGN)[kind]
    options = metadata(random) if kind in PILLOW_FORMATS else {}
    if kind == "jpg":
        options |= {"progressive": random.random() < 0.3, "quality": random.choice((1, 50, 95, 100))}
    if kind == "tif":
        options["compression"] = random.choice((None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"))
        options.pop("xmp", None)
    for attempt in (options, {}):
        for candidate in (image, pillow_image(random, "RGB", image.size)):
            try:
                file.seek(0), file.truncate()
                candidate.save(file, name, **attempt)
            except Exception:  # the writer has no such mode, or not such metadata
                continue
            return file.getvalue()
    raise AssertionError(kind)


def wide(random, kind):
    """PNG of 16 bits; TIFF of 8, 16 or 32 bits with tiles, planes, predictors, both byte orders, big or not."""
    height, width, channels = random.choice(SIZES), random.choice(SIZES), random.randint(1, 4)
    shape = (height, width, channels) if channels > 1 else (height, width)
    if kind == "png16":
        return imagecodecs.png_encode(noise(random, *shape, dtype=np.uint16))
    dtypes = {
        "tif8": ("u1", "i1", "?"),
        "tif16": ("u2", "u2", "u2", "f2", "i2"),
        "tif32": ("f4", "f4", "f8", "u4", "i4", "c8", "u8"),
    }
    dtype = np.dtype(random.choice(dtypes[kind]))
    array = noise(random, *shape, dtype=dtype if dtype.kind in "ufi" else np.uint8).astype(dtype)
    if dtype.kind == "f" and random.random() < 0.3:
        array[..., -1] = random.choice((np.nan, np.inf, -np.inf, -1, 200, 1e-45))
    options = {
        "photometric": random.choice(("rgb", "minisblack", "miniswhite"))
        if channels > 2
        else random.choice(("minisblack", "miniswhite")),
        "compression": random.choice((None, "zlib", "lzw", "packbits", "jpeg", "zstd", "deflate")),
        "predictor": random.random() < 0.3 or None,
        "tile": random.choice((None, None, (16, 16), (32, 16))),
        "bigtiff": random.random() < 0.2,
        "byteorder": random.choice("<>"),
        "rowsperstrip": random.choice((None, 1, 3)),
        "metadata": None,
    }
    if random.random() < 0.4:
        options["extratags"] = [(274, 3, 1, random.choice((0, 1, 3, 6, 8, 9, 65535)), True)]
    if random.random() < 0.2:
        options["planarconfig"] = "separate"
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0)) if channels > 2 else array
    for attempt in (options, {"metadata": None}):
        file = io.BytesIO()
        try:
            tifffile.imwrite(file, array, **attempt)
        except Exception:  # no such combination
            continue
        return file.getvalue()
    return b"II*\0"


# Mutations


def mutate(random, data):
    """Change bytes anywhere: flips, cuts, repetitions, extremes in place of numbers, the half of another file."""
    data = bytearray(data)
    kind = random.randrange(8)
    place = random.randrange(len(data) + 1) if random.random() < 0.5 else random.randrange(min(len(data), 80) + 1)
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:
        for _ in range(random.choice((1, 3, 20))):
            if data:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif kind == 2:
        data[place : place + random.randint(1, 40)] = b""
    elif kind == 3:
        data[place:place] = random.randbytes(random.randint(1, 40))
    elif kind == 4:
        length = random.randint(1, 64)
        data[place : place + length] = bytes([random.choice((0, 255))]) * length
    elif kind == 5:
        number = random.choice(EXTREMES)
        data[place : place + 4] = number.to_bytes(4, random.choice(("little", "big")))
    elif kind == 6:
        data[place : place + 2] = (random.choice(EXTREMES) & 0xFFFF).to_bytes(2, random.choice(("little", "big")))
    else:
        other = sound(random, random.choice(KINDS))
        data[place:] = other[random.randrange(len(other) + 1) :] if random.random() < 0.5 else data[place:] + other
    return bytes(data)


def png_chunks(data):
    """Names and contents of a PNG's chunks."""
    chunks, place = [], 8
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png_of(chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def png_lie(random, data):
    """A PNG whose checksums are right and whose chunks are not: sizes, depths, palettes, profiles, text."""
    chunks = png_chunks(data)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return data
    for _ in range(random.randint(1, 3)):
        place = random.randint(1, len(chunks))
        lie = random.randrange(12)
        if lie <= 2 and len(chunks[0][1]) == 13:
            fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
            field = random.randrange(7)
            fields[field] = random.choice(
                (0, 1, 2, 100_000, 2**31 - 1, 2**32 - 1) if field < 2 else (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 255)
            )
            chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
        elif lie == 3:
            chunks.insert(place, (b"PLTE", random.randbytes(random.choice((0, 1, 3, 4, 30, 767, 768, 769, 2000)))))
        elif lie == 4:
            chunks.insert(place, (b"tRNS", random.randbytes(random.choice((0, 1, 2, 5, 6, 16, 256, 257, 900)))))
        elif lie == 5:
            body = random.choice((zlib.compress(profile(random)), random.randbytes(20), b"", zlib.compress(bytes(10**6))))
            chunks.insert(1, (b"iCCP", random.choice((b"a\0\0", b"a" * 90 + b"\0\0", b"", b"a\0\7")) + body))
        elif lie == 6:
            chunks.insert(place, (b"eXIf", exif_block(random)))
        elif lie == 7:
            chunks.insert(
                1, (b"pHYs", random.choice((struct.pack(">IIB", 0, 0, 1), b"\xff" * 9, b"", struct.pack(">IIB", 1, 2**31, 9))))
            )
        elif lie == 8:
            text = random.choice((b"XML:com.adobe.xmp", b"exif", b"Raw profile type exif", b"", b"\xff" * 100))
            body = random.choice((zlib.compress(bytes(3 * 10**6)), random.randbytes(30), b"", b"\n1\n2\n3"))
            chunks.insert(
                place,
                random.choice(
                    ((b"zTXt", text + b"\0\0" + body), (b"iTXt", text + b"\0\1\0\0\0" + body), (b"tEXt", text + b"\0" + body))
                ),
            )
        elif lie == 9:
            chunks[random.randrange(len(chunks))] = (
                b"IDAT",
                random.choice((b"", zlib.compress(b""), zlib.compress(bytes(10**6)), random.randbytes(9))),
            )
        elif lie == 10:
            chunks.insert(
                place,
                random.choice(
                    (
                        (b"acTL", struct.pack(">II", random.choice(EXTREMES), 0)),
                        (b"fcTL", random.randbytes(26)),
                        (b"gAMA", bytes(4)),
                        (b"fdAT", b"12"),
                    )
                ),
            )
        elif len(chunks) > 1:
            del chunks[random.randrange(1, len(chunks))]
    return png_of(chunks)


def tiff_lie(random, data):
    """A TIFF with entries of its directory changed."""
    if data[:4] not in (b"II*\0", b"MM\0*") or len(data) < 10:
        return data
    order = "<" if data[:2] == b"II" else ">"
    data = bytearray(data)
    (place,) = struct.unpack(order + "I", data[4:8])
    if place + 2 > len(data):
        return bytes(data)
    (count,) = struct.unpack(order + "H", data[place : place + 2])
    for _ in range(random.randint(1, 4)):
        entry = place + 2 + 12 * random.randrange(max(count, 1))
        if entry + 12 > len(data):
            continue
        lie = random.randrange(5)
        if lie == 0:
            tags = (
                256,
                257,
                258,
                259,
                262,
                266,
                273,
                274,
                277,
                278,
                279,
                282,
                284,
                296,
                317,
                320,
                322,
                338,
                339,
                700,
                34665,
                34675,
            )
            data[entry : entry + 2] = struct.pack(order + "H", random.choice(tags))
        elif lie == 1:
            data[entry + 2 : entry + 4] = struct.pack(order + "H", random.choice((0, 1, 2, 3, 4, 5, 11, 12, 16, 17, 255)))
        elif lie == 2:
            data[entry + 4 : entry + 8] = struct.pack(order + "I", random.choice(EXTREMES))
        elif lie == 3:
            data[entry + 8 : entry + 12] = struct.pack(order + "I", random.choice(EXTREMES))
        else:
            data[entry + 8 : entry + 10] = struct.pack(
                order + "H", random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 32, 64, 65535))
            )
    if random.random() < 0.1:
        after = place + 2 + 12 * count
        data[after : after + 4] = struct.pack(order + "I", random.choice((place, 0, 8, 2**31)))  # a loop of directories
    return bytes(data)


def jpeg_lie(random, data):
    """A JPEG with segments put in: EXIF, pieces of profiles, XMP, a size that is not its own, tables of nothing."""
    if data[:2] != b"\xff\xd8":
        return data

    def segment(marker, body):
        return bytes((255, marker)) + struct.pack(">H", (len(body) + 2) & 0xFFFF) + body

    lies = [segment(0xE1, b"Exif\0\0" + exif_block(random)[:60000])]
    lies.append(
        segment(0xE2, b"ICC_PROFILE\0" + bytes((random.choice((0, 1, 2)), random.choice((0, 1, 3)))) + profile(random)[:60000])
    )
    lies.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + random.randbytes(random.choice((0, 50)))))
    lies.append(segment(0xE2, b"MPF\0" + exif_block(random)[:60000]))
    lies.append(segment(0xEE, b"Adobe" + random.randbytes(7)))
    lies.append(segment(0xED, b"Photoshop 3.0\0" + b"8BIM" + random.randbytes(20)))
    lies.append(segment(0xDB, random.randbytes(random.choice((0, 1, 65, 130)))))
    inserted = b"".join(random.sample(lies, random.randint(1, 3)))
    data = bytearray(data[:2] + inserted + data[2:])
    frame = next((data.find(bytes((255, marker))) for marker in (0xC0, 0xC2) if data.find(bytes((255, marker))) > 0), -1)
    if frame > 0 and random.random() < 0.3:
        data[frame + 4 : frame + 9] = struct.pack(
            ">BHH", random.choice((8, 8, 12, 0)), *random.choices((0, 1, 7, 500, 65535), k=2)
        )
    return bytes(data)


def bmp_lie(random, data):
    """A BMP with a header of extremes."""
    if data[:2] != b"BM" or len(data) < 54:
        return data
    data = bytearray(data)
    for _ in range(random.randint(1, 3)):
        place, length = random.choice(
            ((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (38, 4), (42, 4), (46, 4))
        )
        number = random.choice((0, 1, 2, 4, 8, 12, 16, 24, 32, 40, 124, 256, *EXTREMES))
        data[place : place + length] = (number & (256**length - 1)).to_bytes(length, "little")
    return bytes(data)


def webp_lie(random, data):
    """A WebP in the extended form with a wrong canvas, flags of what is not there, and metadata of its own."""
    if data[:4] != b"RIFF" or len(data) < 30:
        return data

    def chunk(name, body):
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    side = [random.choice((0, 1, 8, 16, 100, 16383, 2**24 - 1)) for _ in range(2)]
    canvas = bytes((random.randrange(64), 0, 0, 0)) + side[0].to_bytes(3, "little") + side[1].to_bytes(3, "little")
    start = 12 if data[12:16] != b"VP8X" else 30
    parts = [
        chunk(b"VP8X", canvas),
        data[start:],
        chunk(b"EXIF", exif_block(random)),
        chunk(b"ICCP", profile(random)),
        chunk(b"XMP ", random.randbytes(20)),
    ]
    body = b"WEBP" + parts[0] + b"".join(random.sample(parts[1:], random.randint(1, 4)))
    return b"RIFF" + struct.pack("<I", len(body)) + body


LIES = {
    "png": png_lie,
    "tif": tiff_lie,
    "jpg": jpeg_lie,
    "bmp": bmp_lie,
    "webp": webp_lie,
    "png16": png_lie,
    "tif16": tiff_lie,
    "tif32": tiff_lie,
    "tif8": tiff_lie,
}


def hostile_file(random, folder: Path, stem="image"):
    """Write a file and say what it is.

    Returns:
        The path, and words such as "png, lied about, mutated, named .webp".
    """
    kind = random.choices(KINDS, WEIGHTS)[0]
    data, words = sound(random, kind), [kind]
    way = random.random()
    if way < 0.4 and kind in LIES:
        data = LIES[kind](random, data)
        words.append("lied about")
    if way > 0.3 and way < 0.9:
        data = mutate(random, data)
        words.append("mutated")
    suffix = {"jpg": ".jpg", "webp": ".webp", "bmp": ".bmp"}.get(kind, ".tif" if "tif" in kind else ".png")
    if random.random() < 0.1:
        suffix = random.choice(SUFFIXES)
        words.append(f"named {suffix}")
    path = folder / f"{stem}{suffix}"
    path.write_bytes(data)
    return path, ", ".join(words)
