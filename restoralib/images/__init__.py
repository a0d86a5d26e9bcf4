"""Images at the door: files, PIL images, arrays and tensors as one `Picture`, and back in the same kind."""

from restoralib.images.files import FORMATS, MAX_PIXELS, check_target, decode_image, encode_image, read_image, write_image
from restoralib.images.kinds import from_picture, to_picture
from restoralib.images.picture import ImageError, Picture, check_pixels

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "ImageError",
    "Picture",
    "check_pixels",
    "check_target",
    "decode_image",
    "encode_image",
    "from_picture",
    "read_image",
    "to_picture",
    "write_image",
]
