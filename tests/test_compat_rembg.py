"""rembg's two functions on segzoo's models: their signatures, and what they give back."""

import inspect
import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter
from serving import saved_moody
from skimage.morphology import disk, opening

from segzoo.compat import rembg
from segzoo.compat.rembg import new_session, remove
from segzoo.errors import PictureError

# rembg 2.0.86: rembg/bg.py and rembg/session_factory.py.
REMOVE = {
    "data": inspect.Parameter.empty,
    "alpha_matting": False,
    "alpha_matting_foreground_threshold": 240,
    "alpha_matting_background_threshold": 10,
    "alpha_matting_erode_size": 10,
    "session": None,
    "only_mask": False,
    "post_process_mask": False,
    "bgcolor": None,
    "force_return_bytes": False,
}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield new_session(saved_moody(tmp_path_factory.mktemp("saved") / "moody", patch))


@pytest.fixture
def picture():
    """Dark, with a bright square whose edge is soft."""
    gray = np.full((40, 60), 20, np.uint8)
    gray[10:30, 20:40] = 230
    gray[10:30, 19] = gray[10:30, 40] = 125
    return Image.fromarray(np.dstack([gray, gray, gray // 2 + 60]))


def file_of(picture, format="PNG", **more):
    content = io.BytesIO()
    picture.save(content, format, **more)
    return content.getvalue()


class Masks:
    """A session of one's own, as rembg's users have them."""

    def __init__(self, *masks):
        self.masks, self.given = masks, None

    def predict(self, img, *args, **kwargs):
        self.given = args, kwargs
        return [*self.masks]


# --- signatures -----------------------------------------------------------------------------------


def test_remove_has_the_signature_of_rembgs():
    parameters = inspect.signature(remove).parameters
    assert [*parameters] == [*REMOVE, "args", "kwargs"]
    assert {name: parameters[name].default for name in REMOVE} == REMOVE
    kinds = [str(parameter.kind) for parameter in parameters.values()]
    assert kinds == ["POSITIONAL_OR_KEYWORD"] * 10 + ["VAR_POSITIONAL", "VAR_KEYWORD"]


def test_new_session_has_the_signature_of_rembgs():
    found = [
        (p.name, p.default, p.kind.name) for p in inspect.signature(new_session).parameters.values()
    ]
    empty = inspect.Parameter.empty
    assert found == [
        ("model_name", "u2net", "POSITIONAL_OR_KEYWORD"),
        ("args", empty, "VAR_POSITIONAL"),
        ("sess_opts", None, "KEYWORD_ONLY"),
        ("kwargs", empty, "VAR_KEYWORD"),
    ]


# --- what is given back ---------------------------------------------------------------------------


def test_the_type_is_the_one_that_was_given(session, picture):
    from_pillow = remove(picture, session=session)
    from_array = remove(np.asarray(picture), session=session)
    from_bytes = remove(file_of(picture), session=session)
    assert isinstance(from_pillow, Image.Image) and from_pillow.mode == "RGBA"
    assert isinstance(from_array, np.ndarray) and from_array.dtype == np.uint8
    assert isinstance(from_bytes, bytes) and from_bytes.startswith(b"\x89PNG")
    assert (np.asarray(from_pillow) == from_array).all()
    assert (np.asarray(Image.open(io.BytesIO(from_bytes))) == from_array).all()
    forced = remove(picture, session=session, force_return_bytes=True)
    assert forced == from_bytes


@pytest.mark.parametrize("data", [None, "photo.jpg", 7, [b""]])
def test_another_type_is_the_value_error_that_rembg_has(data):
    with pytest.raises(ValueError, match=r"is not supported\. Try using force_return_bytes=True"):
        remove(data)


def test_bytes_that_are_no_picture(session):
    with pytest.raises(PictureError):
        remove(b"hello", session=session)


def test_soft_pixels_are_dimmed_unless_putalpha_is_given(picture):
    mask = Image.new("L", picture.size, 100)
    plain = np.asarray(remove(picture, session=Masks(mask)))
    kept = np.asarray(remove(picture, session=Masks(mask), putalpha=True))
    assert (
        plain == np.asarray(Image.composite(picture, Image.new("RGBA", picture.size), mask))
    ).all()
    assert (kept[..., :3] == np.asarray(picture)).all() and (kept[..., 3] == 100).all()
    assert picture.mode == "RGB"  # the caller's is as it was


def test_only_the_mask(session, picture):
    mask = remove(picture, session=session, only_mask=True)
    assert (mask.mode, mask.size) == ("L", picture.size)
    values = np.asarray(mask)
    assert values[20, 30] > 200 and values[0, 0] < 50
    kept = remove(picture, session=session, only_mask=True, bgcolor=(255, 0, 0, 255))
    assert kept.mode == "L"  # there is no colour behind a mask


def test_a_colour_behind(picture):
    nothing = Masks(Image.new("L", picture.size, 0))
    found = np.asarray(remove(picture, session=nothing, bgcolor=(1, 2, 3, 255)))
    assert (found == (1, 2, 3, 255)).all()
    assert (np.asarray(remove(picture, session=nothing, bgcolor=(9, 9, 9, 40)))[..., 3] == 40).all()


def test_several_masks_are_put_below_each_other(picture):
    masks = [Image.new("L", picture.size, value) for value in (255, 0)]
    found = remove(picture, session=Masks(*masks))
    assert found.size == (60, 80)
    alpha = np.asarray(found)[..., 3]
    assert (alpha[:40] == 255).all() and (alpha[40:] == 0).all()
    assert remove(picture, session=Masks()).size == picture.size


def test_what_else_is_given_goes_to_the_session(picture):
    session = Masks(Image.new("L", picture.size))
    defaults = [*REMOVE.values()][1:]
    defaults[4] = session
    remove(picture, *defaults, "more", sam_prompt=[1])
    assert session.given == (("more",), {"sam_prompt": [1]})


def test_a_photo_is_turned_upright(session, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file_of(picture, "JPEG", exif=exif)
    assert Image.open(io.BytesIO(remove(turned, session=session))).size == (40, 60)
    assert remove(Image.open(io.BytesIO(turned)), session=session).size == (40, 60)


# --- masks ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy():
    return np.random.default_rng(0).integers(0, 256, (50, 70)).astype(np.uint8)


def smoothed_there(mask):
    """rembg's `post_process`, in the words of the libraries that it uses."""
    mask = gaussian_filter(opening(mask, disk(1)).astype(np.float64), sigma=2)
    return np.where(mask < 127, 0, 255)


@pytest.mark.parametrize("which", ["noise", "blobs"])
def test_a_mask_is_smoothed_as_by_scipy_and_scikit_image(which, noisy, picture):
    blobs = (gaussian_filter(noisy.astype(float), 4) > 127) * np.uint8(255)
    mask = noisy if which == "noise" else blobs
    image = Image.new("RGB", mask.shape[::-1])
    arguments = {"session": Masks(Image.fromarray(mask)), "only_mask": True}
    found = remove(image, **arguments, post_process_mask=True)
    assert (np.asarray(found) == smoothed_there(mask)).all()


@pytest.mark.parametrize("size", [0, 1, 3, 10])
@pytest.mark.parametrize("outside", [True, False])
def test_a_region_is_eroded_as_by_scipy(noisy, size, outside):
    region = gaussian_filter(noisy.astype(float), 3) > 120
    structure = np.ones((size, size)) if size else np.ones((1, 1))
    expected = binary_erosion(region, structure=structure, border_value=outside)
    assert (rembg._eroded(region, size, outside=outside) == expected).all()


def test_matting_gives_the_subjects_own_colours(picture):
    """A known mixture: half of the border pixels is the subject."""
    behind, subject = np.array([30, 40, 50.0]), np.array([220, 180, 60.0])
    alpha = np.zeros((60, 60))
    alpha[15:45, 15:45] = 1
    alpha = gaussian_filter(alpha, 1.0)
    mixed = alpha[..., None] * subject + (1 - alpha[..., None]) * behind
    image = Image.fromarray(np.rint(mixed).astype(np.uint8))
    mask = Image.fromarray(np.rint(gaussian_filter(alpha, 2) * 255).astype(np.uint8))
    plain = np.asarray(remove(image, session=Masks(mask))).astype(float)
    matted = np.asarray(remove(image, True, 240, 10, 3, Masks(mask))).astype(float)
    error = [abs(found[..., 3] / 255 - alpha).mean() for found in (plain, matted)]
    assert error[1] < error[0] / 2
    half = abs(alpha - 0.5) < 0.2
    assert abs(matted[half][:, :3] - subject).mean() < abs(plain[half][:, :3] - subject).mean() / 3


# --- sessions -------------------------------------------------------------------------------------


def test_a_session_is_asked_as_rembgs_are(session, picture):
    [mask] = session.predict(picture, "anything", at="all")
    assert (mask.mode, mask.size) == ("L", picture.size)
    assert session.model_name.startswith("local-dir:")


def test_names_of_rembg_are_found_by_the_files_of_the_weights(monkeypatch):
    known = rembg._known()
    assert known["u2netp"] == "u2netp.official"
    assert known["u2net"] == "u2net.official"
    assert known["u2net_human_seg"] == "u2net.human"
    asked = []
    monkeypatch.setattr(rembg, "Session", lambda *given: asked.append(given))
    new_session()
    new_session("u2netp", providers=["CPUExecutionProvider"])
    new_session("u2netp", providers=[("CUDAExecutionProvider", {"device_id": 0})])
    new_session("lite0")
    assert asked == [
        ("u2net", "u2net.official", "auto"),
        ("u2netp", "u2netp.official", "cpu"),
        ("u2netp", "u2netp.official", "cuda"),
        ("lite0", "lite0", "auto"),
    ]


@pytest.mark.parametrize("name", ["isnet-general-use", "sam", "no_such_model"])
def test_an_unknown_name_is_the_value_error_that_rembg_has(name):
    with pytest.raises(ValueError, match=f"No session class found for model '{name}'; of rembg's"):
        new_session(name)


def test_options_of_onnxruntime_are_said_to_do_nothing(monkeypatch):
    monkeypatch.setattr(rembg, "Session", lambda *given: given)
    with pytest.warns(UserWarning, match="sess_opts are onnxruntime's"):
        new_session("lite0", sess_opts=object())
