"""Films: restored frame by frame through PyAV (extra `video`), with sound, times and colours as they were."""

from restoralib.video.clip import restore_iter
from restoralib.video.encoding import Encoding
from restoralib.video.reading import VideoError, VideoInfo, video_info
from restoralib.video.restoring import restore_video
from restoralib.video.steady import Steady, flicker

__all__ = ["Encoding", "Steady", "VideoError", "VideoInfo", "flicker", "restore_iter", "restore_video", "video_info"]
