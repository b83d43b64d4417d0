"""Images that would run a program, fill the memory, or train on other pixels than they show."""

import io
import struct
import subprocess
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from datasets import class_folders
from datasets.folder import load_rgb
from smoothmix.utils.errors import UserError
from tests.mistakes import refused


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, before: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(min(height, 8) * (1 + 3 * min(width, 8))))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_bomb() -> bytes:
    """A header of 60,000 by 60,000 pixels on a few bytes."""
    entries = [(256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 60_000), (279, 8)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + bytes(4)


def refuses(path, *words):
    tracemalloc.start()
    with refused(path, *words):
        load_rgb(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("a.png", png(50_000, 50_000), "decompression bomb"),
        ("a.ppm", b"P6 60000 60000 255\n" + bytes(99), "decompression bomb"),
        ("a.tif", tiff_bomb(), "decompression bomb"),
        ("a.png", png(8, 8, chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(64 << 20)))), "too large"),
    ],
)
def test_a_bomb_is_refused_before_it_takes_memory(tmp_path, name, body, reason):
    assert len(body) < 1 << 20
    (tmp_path / name).write_bytes(body)
    refuses(tmp_path / name, reason)


def test_the_harmless_form_of_the_bombs_is_an_image(tmp_path):
    (tmp_path / "a.png").write_bytes(png(8, 8))
    assert load_rgb(str(tmp_path / "a.png")).size == (8, 8)


def test_postscript_in_the_name_of_an_image_reaches_no_interpreter(tmp_path, monkeypatch):
    """Pillow alone starts Ghostscript on such a file, on a system that has it."""
    ran = []
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "/bin/echo")
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: ran.append(a))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    refuses(tmp_path / "a.jpg")
    assert ran == []
    with Image.open(tmp_path / "a.jpg") as image, pytest.raises(OSError, match=r"."):  # the canary can sing
        image.load()
    assert len(ran) == 1


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "u2"), ("a.tif", "u2"), ("a.tif", "i4"), ("a.tif", "f4")])
def test_deep_images_are_not_cut_off_at_255(tmp_path, name, dtype):
    Image.fromarray(np.linspace(0, 60_000, 64).astype(dtype).reshape(8, 8)).save(tmp_path / name)
    refuses(tmp_path / name, "8 bits")


def test_formats_under_another_name_are_read(tmp_path):
    """As a few images of ImageNet are: PNG and CMYK called JPEG."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    for kind in ("PNG", "BMP", "PPM", "TIFF"):
        Image.fromarray(pixels).save(tmp_path / "a.JPEG", kind)
        assert np.array_equal(np.asarray(load_rgb(str(tmp_path / "a.JPEG"))), pixels)


@pytest.mark.parametrize("count", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
def test_damaged_bytes_are_an_image_of_the_same_kind_or_one_sentence(tmp_path, kind, count):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(buffer, kind)
    whole, path, refused = buffer.getvalue(), tmp_path / "a.jpg", 0
    for _ in range(count):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 200), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(whole)) if rng.random() < 0.3 else None])
        try:
            with warnings.catch_warnings(action="ignore"):  # Pillow's, about what it skipped
                image = load_rgb(str(path))
        except UserError as error:
            refused += str(error).isprintable()
            continue
        assert image.mode == "RGB"
        assert len(image.tobytes()) == 3 * image.width * image.height
    assert refused > count / 10


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("image_size", 0), ("resize", 8), ("scale", (0.1, float("inf"))), ("scale", (0, 1)), ("ratio", (2, 1))],
        *[
            ("scale", (float("nan"), 1)),
            ("ratio", (1, float("inf"))),
            ("jitter", -0.1),
            ("jitter", float("nan")),
            ("jitter", 1e20),
        ],
        *[("lighting", float("inf")), ("lighting", -1)],
    ],
)
def test_options_that_would_make_no_images(class_folder, option, value):
    with refused(f"{option}="):
        class_folders(class_folder(), **({"image_size": 16, "resize": 20, "workers": 0} | {option: value}))
