"""How large a picture may be, and of how many parts, judged before a pixel of it is decoded."""

from segzoo.errors import PictureError, PictureTooLargeError

__all__ = [
    "ALLOW_MORE",
    "MAX_CHUNKS",
    "SCAN",
    "judge_bytes",
    "judge_chunks",
    "judge_scans",
    "judge_size",
]

ALLOW_MORE = "Allow more with --max-pixels (max_pixels= in Python)"
MAX_SCANS, MAX_CHUNKS = 100, 100_000  # of a JPEG, of a PNG
SCAN = b"\xff\xda"  # begins a scan of a JPEG; in its pixels 0xff is followed by 0
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


def judge_scans(count: int) -> None:
    """PictureError for a JPEG that would be decoded for minutes, once for each scan."""
    _judge_parts("scans", count, f"{count:,}", MAX_SCANS)


def judge_chunks(count: int) -> None:
    """PictureError for a PNG of so many chunks. count: where it is more, by how many is unknown."""
    _judge_parts("chunks", count, f"more than {MAX_CHUNKS:,}", MAX_CHUNKS)


def _judge_parts(what: str, count: int, found: str, most: int) -> None:
    if count > most:
        raise PictureError(
            f"the picture has too many {what}", found=found, expected=f"at most {most:,}"
        )
