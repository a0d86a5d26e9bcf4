"""What can be wrong with a film."""


class VideoError(ValueError):
    """A video file cannot be read or written; the message says why and what to do."""
