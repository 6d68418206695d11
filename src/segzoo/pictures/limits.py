"""How large a picture may be, judged before a pixel of it is decoded."""

from segzoo.errors import PictureError, PictureTooLargeError

__all__ = ["ALLOW_MORE", "judge_bytes", "judge_size"]

ALLOW_MORE = "Allow more with --max-pixels (max_pixels= in Python)"
BYTES_PER_PIXEL = 8  # of the most pixels: what samples of any number and depth may take


def judge_size(height: int, width: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureTooLargeError(
            "the picture is too large",
            found=f"height {height} and width {width}",
            expected=f"at most {max_pixels} pixels",
            next_step=ALLOW_MORE,
        )
    if width * height == 0:
        raise PictureError("the picture has no pixels", found=f"{height} rows of {width}")


def judge_bytes(shape: tuple[int, ...], nbytes: int, max_pixels: int) -> None:
    """PictureTooLargeError for more pixels or more bytes than a picture may have."""
    if len(shape) == 2:
        judge_size(*shape, max_pixels)
    if nbytes > BYTES_PER_PIXEL * max_pixels:
        raise PictureTooLargeError(
            "the picture is too large",
            found=f"{nbytes} bytes of samples",
            expected=f"at most {BYTES_PER_PIXEL * max_pixels}",
            next_step=ALLOW_MORE,
        )
