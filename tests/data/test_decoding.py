import io
import json
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation_is_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = pixels(encoded(Image.fromarray(PHOTO), kind, exif=exif))
    assert np.abs(found.astype(int) - np.rot90(PHOTO, -1)).mean() < (0.1 if kind == "PNG" else 12)


def test_one_bit_and_animation():
    assert (pixels(encoded(Image.new("1", (3, 2), 1))) == 255).all()
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    assert (pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == [255, 0, 0]).all()


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
    ],
    ids=["empty", "text", "half jpeg", "half png", "large", "bomb", "grey array", "float array", "32 bits"],
)
def test_damage_has_a_reason(image, reason):
    with pytest.raises(Damaged, match=reason):
        decode(image)
