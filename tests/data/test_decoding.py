import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from clip_lightning.data import Damaged, decode

RANDOM = np.random.default_rng(0)
PHOTO = np.asarray(
    Image.fromarray(RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((48, 36), Image.Resampling.BICUBIC)
)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image):
    return decode(image).permute(1, 2, 0).numpy()


def over_white(rgba):
    alpha = rgba[..., 3:].astype(np.float64) / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def test_pixels_come_back_as_they_are():
    assert decode(PHOTO).shape == (3, 36, 48)
    np.testing.assert_array_equal(pixels(PHOTO), PHOTO)
    read_only = PHOTO[::-1].copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(pixels(read_only), PHOTO[::-1])
    np.testing.assert_array_equal(pixels(PHOTO[::-1]), PHOTO[::-1])
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(PHOTO))), PHOTO)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_any_mode_is_the_picture(mode):
    original = Image.fromarray(PHOTO).convert(mode)
    found = pixels(encoded(original, "JPEG", quality=98))
    assert np.abs(found.astype(int) - np.asarray(original.convert("RGB"))).mean() < 5


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_real_photos_are_as_torchvision_decodes_them(shared_data):
    with tarfile.open(shared_data / "coco-captions-mini.tar") as tar:
        names = [member for member in tar.getmembers() if member.name.endswith(".jpg")][:12]
        assert len(names) == 12
        for name in names:
            image = tar.extractfile(name).read()
            data = torch.frombuffer(bytearray(image), dtype=torch.uint8)
            assert torch.equal(decode(image), decode_jpeg(data, ImageReadMode.RGB))


def test_transparent_emoji_lie_over_white(shared_data):
    modes = set()
    with tarfile.open(shared_data / "emoji-noto.tar") as tar:
        manifest = tar.extractfile("emoji-noto/captions.jsonl").read().decode()
        for line in manifest.splitlines()[::300]:
            image = tar.extractfile("emoji-noto/" + json.loads(line)["image"]).read()
            opened = Image.open(io.BytesIO(image))
            modes.add(opened.mode)
            expected = over_white(np.asarray(opened.convert("RGBA")))
            assert np.abs(pixels(image) - expected).max() <= 1
    assert modes & {"P", "RGBA"}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_white(mode):
    alpha = RANDOM.integers(0, 256, PHOTO.shape[:2], dtype=np.uint8)
    image = Image.fromarray(PHOTO).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    expected = over_white(np.asarray(image.convert("RGBA")))
    assert np.abs(pixels(encoded(image)) - expected).max() <= 1


def test_transparent_palette_hides_its_colour():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert (pixels(encoded(image)) == [10, 20, 30]).all()
    assert (pixels(encoded(image, transparency=1)) == 255).all()
    assert (pixels(encoded(image, "GIF", transparency=1)) == 255).all()


def test_sixteen_bits_become_eight():
    deep = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    found = pixels(encoded(Image.fromarray(deep)))
    np.testing.assert_allclose(found, np.repeat(deep[..., None] / 257, 3, axis=2), atol=1)


def png(width, depth, colour_type, row, *chunks):
    """A PNG of one row, for what Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0))
    parts = [chunk(*part) for part in [*chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts)


def words(*values):
    return struct.pack(f">{len(values)}H", *values)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (png(2, 16, 2, words(0x0102, 0x8000, 0xFFFF, 0x7FFF, 0x80FF, 0)), [[1, 128, 255], [127, 128, 0]]),
        (png(2, 16, 6, words(0xFFFF, 0, 0, 0x8000, *[0] * 4)), [[255, 127, 127], [255] * 3]),
        (png(2, 16, 4, words(0x8000, 0x8000, 0xFFFF, 0)), [[191] * 3, [255] * 3]),
        (png(4, 2, 0, bytes([0b00011011])), [[0] * 3, [85] * 3, [170] * 3, [255] * 3]),
    ],
    ids=["RGB of 16 bits", "RGBA of 16 bits", "grey and alpha of 16 bits", "grey of 2 bits"],
)  # fmt: skip
def test_depths_of_png_become_eight_bits(image, expected):
    np.testing.assert_allclose(pixels(image)[0], expected, atol=1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (png(2, 16, 0, words(0x8000, 0x0200), (b"tRNS", words(0x8000))), [[255] * 3, [1] * 3]),
        (png(2, 16, 2, words(0x0102, 3, 0xFF12, 0, 0, 0), (b"tRNS", words(0x0102, 3, 0xFF12))), [[255] * 3, [0] * 3]),
        (png(2, 8, 2, bytes([1, 2, 3, 4, 5, 6]), (b"tRNS", words(1, 2, 3))), [[255] * 3, [4, 5, 6]]),
        (png(2, 8, 0, bytes([7, 9]), (b"tRNS", words(7))), [[255] * 3, [9] * 3]),
        (png(2, 4, 0, bytes([0x5A]), (b"tRNS", words(5))), [[255] * 3, [170] * 3]),
        (png(4, 2, 0, bytes([0b00011011]), (b"tRNS", words(1))), [[0] * 3, [255] * 3, [170] * 3, [255] * 3]),
        (png(2, 1, 0, bytes([0b01000000]), (b"tRNS", words(0))), [[255] * 3, [255] * 3]),
        (
            png(3, 8, 3, bytes([0, 1, 2]), (b"PLTE", bytes(range(10, 100, 10))), (b"tRNS", bytes([0, 128]))),
            [[255] * 3, [147, 152, 157], [70, 80, 90]],
        ),
    ],
    ids=["grey 16", "RGB 16", "RGB 8", "grey 8", "grey 4", "grey 2", "1 bit", "palette, partly"],
)  # fmt: skip
def test_a_transparent_colour_is_white_at_every_depth(image, expected):
    np.testing.assert_allclose(pixels(image)[0], expected, atol=1)


@pytest.mark.parametrize("adobe", [False, True])
def test_cmyk_jpeg_has_the_colours_that_pillow_gives_it(adobe):
    image = encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=98)
    if adobe:
        marker = b"\xff\xee" + struct.pack(">H", 14) + b"Adobe" + words(100, 0, 0) + b"\0"
        image = image[:2] + marker + image[2:]
    np.testing.assert_array_equal(pixels(image), np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))
    assert np.abs(pixels(image).astype(int) - PHOTO).mean() < 6


def test_tiff_of_other_colour_spaces():
    found = pixels(encoded(Image.fromarray(PHOTO).convert("CMYK"), "TIFF"))
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(PHOTO).convert("CMYK").convert("RGB")))
    deep = np.array([[0, 300, 65535]], np.uint16)
    assert pixels(encoded(Image.fromarray(deep), "TIFF"))[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_applied(kind, orientation):
    # Where the first row and the first column of the stored image belong, as EXIF defines it.
    upright = {
        1: lambda stored: stored,
        2: np.fliplr,
        3: lambda stored: np.rot90(stored, 2),
        4: np.flipud,
        5: lambda stored: stored.transpose(1, 0, 2),
        6: lambda stored: np.rot90(stored, -1),
        7: lambda stored: np.rot90(stored.transpose(1, 0, 2), 2),
        8: np.rot90,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(encoded(Image.fromarray(PHOTO), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})))
    assert found.shape == upright(PHOTO).shape
    assert np.abs(found.astype(int) - upright(PHOTO)).mean() < (12 if kind == "JPEG" else 0.1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize(
    "exif",
    [
        b"garbage!",
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        b"II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
    ],
    ids=["garbage", "no table", "a table behind the end", "half a table", "orientation 9"],
)
def test_damaged_exif_does_not_damage_the_picture(exif):
    jpeg = encoded(Image.fromarray(PHOTO), "JPEG")
    payload = b"Exif\0\0" + exif
    damaged = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]
    np.testing.assert_array_equal(pixels(damaged), pixels(jpeg))


def test_one_bit():
    assert (pixels(encoded(Image.new("1", (3, 2), 1))) == 255).all()
    assert (pixels(encoded(Image.new("1", (3, 2), 0))) == 0).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    image = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(image)).n_frames == 3
    assert np.abs(pixels(image).astype(int) - [255, 0, 0]).max() <= 2


def large_png(side):
    """A PNG whose header names a size that its data do not have."""
    png = bytearray(encoded(Image.new("1", (8, 8))))
    png[16:24] = side.to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image"),
        (encoded(Image.fromarray(PHOTO), "JPEG")[:-60], "image data cannot be decoded"),
        (encoded(Image.fromarray(PHOTO))[:500], "image data cannot be decoded"),
        (large_png(8001), "more than 64 megapixels"),
        (large_png(30_000), "more than 64 megapixels"),
        (np.zeros((4, 4), np.uint8), "pixels are not uint8"),
        (np.zeros((4, 4, 3), np.float32), "pixels are not uint8"),
        (encoded(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF"), "more than 16 bits"),
        (encoded(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(PHOTO), "WEBP")[:100], "image data cannot be decoded|not an image"),
        (encoded(Image.fromarray(PHOTO), "GIF")[:900], "image data cannot be decoded"),
        (encoded(Image.fromarray(PHOTO), "TIFF")[:500], "not an image|image data cannot be decoded"),
        (encoded(Image.fromarray(PHOTO))[:-40] + b"scrambled" * 10, "image data cannot be decoded"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (Image.new("RGB", (0, 0)), "no pixels"),
    ],
    ids=[
        "empty", "text", "half jpeg", "half png", "large", "bomb", "grey array", "float array", "32 bits", "float tiff",
        "half webp", "half gif", "half tiff", "scrambled png", "svg", "empty array", "empty picture",
    ],
)  # fmt: skip
def test_damage_has_a_reason(image, reason):
    with pytest.raises(Damaged, match=reason):
        decode(image)
