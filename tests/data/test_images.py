"""One reader gives training, evaluation and predictor the same pixels of every kind of file."""

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from wecromcl_d2.data.images import (
    IMAGE_KEYS,
    ImageError,
    read_image,
    read_record,
    upright_size,
)
from wecromcl_d2.predictor.images import ImageSource

ORIENTATION = 0x0112


def colors():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return {"exif": exif}


def with_alpha(mode):
    channels = len(mode)
    pixels = np.dstack([colors()[..., : channels - 1], colors()[..., 2]])
    return Image.fromarray(np.ascontiguousarray(pixels), mode)


def files():
    """Name -> image, options for saving."""
    rgb = Image.fromarray(colors())
    deep = Image.fromarray(colors()[..., 0].astype(np.uint16) * 257)
    palette = rgb.convert("P")
    found = {
        "rgb.png": (rgb, {}),
        "rgb.jpg": (rgb, {}),
        "grey.png": (rgb.convert("L"), {}),
        "grey.jpg": (rgb.convert("L"), {}),
        "bilevel.png": (rgb.convert("1"), {}),
        "palette.png": (palette, {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "frames.gif": (palette, {"save_all": True, "append_images": [rgb.rotate(180)]}),
        "rgba.png": (with_alpha("RGBA"), {}),
        "grey_alpha.png": (with_alpha("LA"), {}),
        "clear_color.png": (rgb, {"transparency": tuple(colors()[0, 0].tolist())}),
        "clear_palette.png": (palette, {"transparency": palette.getpixel((0, 0))}),
        "deep.png": (deep, {}),
        "deep.tif": (deep, {}),
    }
    found |= {f"turned_{n}.jpg": (rgb, turned(n)) for n in range(1, 10)}
    return found


# Files that Detectron2's own reader, which knows neither transparency nor 16 bits, reads otherwise.
OTHERWISE = {
    "rgba.png",
    "grey_alpha.png",
    "clear_color.png",
    "clear_palette.png",
    "deep.png",
    "deep.tif",
}


@pytest.fixture(params=files())
def path(request, tmp_path):
    image, options = files()[request.param]
    image.save(tmp_path / request.param, **options)
    return tmp_path / request.param


def test_training_evaluation_and_predictor_see_the_same_pixels(path):
    seen = ImageSource(path).read()
    assert seen.dtype == np.uint8 and seen.shape[2] == 3
    for keys in (IMAGE_KEYS, ("file_name", "texts")):
        kept, image = read_record({"file_name": str(path), "texts": ["a"]}, keys, "RGB")
        np.testing.assert_array_equal(image, seen)
        assert (kept["height"], kept["width"]) == seen.shape[:2]
        _, reversed_ = read_record({"file_name": str(path)}, keys, "BGR")
        np.testing.assert_array_equal(reversed_, seen[..., ::-1])
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(image), seen)


def test_only_transparent_and_deep_files_differ_from_detectron2(path):
    theirs = detection_utils.read_image(str(path), "RGB")
    assert np.array_equal(read_image(path), theirs) == (path.name not in OTHERWISE)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bits_are_scaled_to_8(tmp_path, name):
    image, _ = files()[name]
    image.save(tmp_path / name)
    _, pixels = read_record({"file_name": str(tmp_path / name)}, (), "RGB")
    np.testing.assert_array_equal(pixels, np.repeat(colors()[..., :1], 3, axis=2))


def test_a_clear_color_lies_on_white(tmp_path):
    image, options = files()["clear_color.png"]
    image.save(tmp_path / "x.png", **options)
    expected = colors()
    expected[0, 0] = 255
    _, pixels = read_record({"file_name": str(tmp_path / "x.png")}, (), "RGB")
    np.testing.assert_array_equal(pixels, expected)


def test_reading_leaves_a_pillow_image_as_it_was(tmp_path):
    image, options = files()["turned_6.jpg"]
    image.save(tmp_path / "x.jpg", **options)
    with Image.open(tmp_path / "x.jpg") as file:
        assert read_image(file).shape == (9, 6, 3)
        assert file.size == (9, 6) and file.getexif()[ORIENTATION] == 6


def test_what_does_not_fit_is_named(tmp_path):
    path = tmp_path / "x.png"
    files()["rgb.png"][0].save(path)
    with pytest.raises(ImageError, match=r"x\.png"):
        read_record({"file_name": str(path), "height": 7, "width": 9}, ("height", "width"), "RGB")
    with pytest.raises(ImageError, match=r"missing\.png"):
        read_record({"file_name": str(tmp_path / "missing.png")}, (), "RGB")
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT is 'L'"):
        read_record({"file_name": str(path)}, (), "L")


@pytest.mark.parametrize("name", files())
def test_the_header_tells_the_size_of_the_pixels(tmp_path, name):
    image, options = files()[name]
    image.save(tmp_path / name, **options)
    assert upright_size(tmp_path / name) == read_image(tmp_path / name).shape[:2]


def test_a_header_that_cannot_be_read_names_its_file(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    for name in ("bad.jpg", "missing.jpg"):
        with pytest.raises(ImageError, match=name):
            upright_size(tmp_path / name)


def test_a_size_taken_without_the_exif_tag_is_explained(tmp_path):
    path = tmp_path / "turned.jpg"
    Image.fromarray(colors()).save(path, **turned(6))
    record = {"file_name": str(path), "height": 6, "width": 9}
    with pytest.raises(ImageError, match=r"9 pixels high and 6 wide.*EXIF.*leave them out"):
        read_record(record, IMAGE_KEYS, "RGB")
    record["height"] = 7
    with pytest.raises(ImageError) as error:
        read_record(record, IMAGE_KEYS, "RGB")
    assert "EXIF" not in str(error.value)
