"""Pictures from files, and every file that is refused."""

import numpy as np
import pytest
from PIL import Image

from omniflow.errors import DataError
from omniflow.media.image import decode_image, read_image


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert caught.value.where == str(path)
    return caught.value.problem


@pytest.fixture
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def test_picture_is_read_as_it_is(tmp_path, noise):
    noise.save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(noise))


def test_bytes_are_read_as_their_file(tmp_path, noise):
    noise.save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    expected = np.asarray(read_image(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(np.asarray(decode_image(content)), expected)
    for damaged in (content[: len(content) // 2], b"", b"words"):
        with pytest.raises(DataError) as caught:
            decode_image(damaged, where="record 7")
        assert caught.value.where == "record 7"


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.new("RGB", (8, 8), "white").convert(mode).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.mode == "RGB"
    assert found.getpixel((3, 3)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    shades = np.array([[0, 257 * 128], [257 * 200, 65_535]], dtype=np.uint16)
    Image.fromarray(shades).save(tmp_path / "a.png")
    found = np.asarray(read_image(tmp_path / "a.png"))
    assert found[..., 0].tolist() == [[0, 128], [200, 255]]


def test_picture_is_turned_as_its_exif_says(tmp_path, noise):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise.save(tmp_path / "a.png", exif=exif)
    found = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(found), np.rot90(np.asarray(noise), -1))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_missing_empty_and_folder(tmp_path):
    (tmp_path / "empty.png").touch()
    assert refusal(tmp_path / "no.png") == "there is no such file"
    assert refusal(tmp_path / "empty.png") == "the file is empty"
    assert refusal(tmp_path) == "is not a regular file"


def test_text_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("once upon a time")
    expected = "cannot be read as a picture (its format is not known)"
    assert refusal(tmp_path / "a.png") == expected


@pytest.mark.parametrize("end", ["png", "jpg", "webp"])
def test_truncated_picture(tmp_path, noise, end):
    path = tmp_path / f"a.{end}"
    noise.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).startswith("cannot be read as a picture (")


@pytest.mark.parametrize(
    ("format", "offset", "value"), [("DDS", 80, 1), ("AVIF", 200, 0), ("BLP", 4, 65)]
)
def test_damage_that_decoders_do_not_expect(tmp_path, noise, format, offset, value):
    path = tmp_path / "a.png"
    noise.convert("P" if format == "BLP" else "RGB").save(path, format=format)
    content = bytearray(path.read_bytes())
    content[offset] = value
    path.write_bytes(content if format != "AVIF" else content[:offset])
    assert refusal(path).startswith("cannot be read as a picture (")


def test_postscript_is_not_run_whatever_its_name(tmp_path, noise):
    noise.save(tmp_path / "a.png", format="EPS")
    assert refusal(tmp_path / "a.png") == "PostScript is a program and not a picture"


@pytest.mark.parametrize("pixels", [1500, 3000])
def test_decompression_bomb(tmp_path, noise, monkeypatch, pixels):
    noise.resize((pixels // 30, 30)).save(tmp_path / "a.png")
    # Pillow warns beyond this and refuses beyond twice as much.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert refusal(tmp_path / "a.png") == "the picture is too large"


@pytest.mark.parametrize("size", [(30_000, 10), (1, 33)])
def test_slender_picture(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png") == f"the picture is {size[0]} x {size[1]} pixels"


def test_as_slender_as_it_may_be(tmp_path):
    Image.new("RGB", (64, 2)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (64, 2)


def test_floating_point_picture(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tiff")
    assert refusal(tmp_path / "a.tiff") == "the picture has floating-point pixels"
