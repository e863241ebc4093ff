"""A stream of GStreamer's RTSP server, which is stopped and started again in the middle."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

import pytest

from vocdet.inference.camera import camera
from vocdet.inference.frames import MediaSource

PYTHON = shutil.which("python3", path="/usr/bin")  # Debian's, for which its packages are
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GLib, Gst, GstRtspServer"
SERVER = f"""
import sys
{NEEDS}
Gst.init(None)
server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
server.set_service(sys.argv[1])
factory.set_launch("( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=64,height=48 "
                   "! jpegenc ! rtpjpegpay name=pay0 pt=96 )")
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print("up", flush=True)
GLib.MainLoop().run()
"""


@contextmanager
def serving(port: int) -> Iterator[None]:
    assert PYTHON
    with subprocess.Popen([PYTHON, "-c", SERVER, str(port)], stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline() == b"up\n"
        yield
        server.kill()


@pytest.mark.skipif(
    PYTHON is None or subprocess.run([PYTHON, "-c", NEEDS], capture_output=True, check=False).returncode != 0,
    reason="GStreamer is not installed: apt-get install gstreamer1.0-plugins-good gir1.2-gst-rtsp-server-1.0 python3-gi",
)
def test_a_server_that_stops_and_starts_again_is_read_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = MediaSource("camera", f"rtsp://127.0.0.1:{port}/cam", "cam")
    with ExitStack() as first:
        first.enter_context(serving(port))
        with camera(source, retry=0.1) as reader:
            assert next(reader.frames()).pixels.shape == (48, 64, 3)
            first.close()
            assert any(reader.reconnected for _ in islice(reader.news(), 500))
            lost = reader.read
            with serving(port):
                assert any(frame and frame.number >= lost for frame in islice(reader.news(), 500))
