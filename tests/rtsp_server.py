#!/usr/bin/python3
"""Serves a video file as an H.264 camera over RTSP, in a loop, for tests.

Needs GStreamer with its RTSP server, which only the system's own Python can import (Debian: python3-gi,
gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-{base,good,bad,ugly}). Prints ``READY rtsp://127.0.0.1:PORT/cam``.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ROLE = "viewer"
ENCODER = "x264enc name=encoder tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=4000"
PAYLOADER = "rtph264pay name=pay0 pt=96 config-interval=1"


class LoopingFactory(GstRtspServer.RTSPMediaFactory):
    """Builds the pipeline that plays the file over and over."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def do_create_element(self, url):
        """Called by the server for every new stream."""
        pipeline = Gst.parse_launch(f"filesrc name=file ! decodebin ! videoconvert ! {ENCODER} ! {PAYLOADER}")
        pipeline.get_by_name("file").set_property("location", self.path)
        Loop(pipeline.get_by_name("encoder").get_static_pad("sink"))
        return pipeline


class Loop:
    """Catches the end of the file before the encoder and jumps back, so that the client sees one endless stream."""

    def __init__(self, pad):
        self.end = 0  # nanoseconds: where the frame last seen ends, in this turn
        pad.add_probe(Gst.PadProbeType.BUFFER, self.on_buffer)
        pad.add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM | Gst.PadProbeType.EVENT_FLUSH, self.on_event)

    def on_buffer(self, pad, info):
        """Remembers how far the file has been played."""
        buffer = info.get_buffer()
        self.end = buffer.pts + buffer.duration
        return Gst.PadProbeReturn.OK

    def on_event(self, pad, info):
        """Lets nothing of the jump reach the encoder: neither the end nor the flush."""
        event = info.get_event()
        if event.type == Gst.EventType.EOS:
            GLib.idle_add(self.rewind, pad)  # not from here: this thread is the one that the jump restarts
            return Gst.PadProbeReturn.DROP
        if event.type in (Gst.EventType.FLUSH_START, Gst.EventType.FLUSH_STOP):
            return Gst.PadProbeReturn.DROP
        return Gst.PadProbeReturn.OK

    def rewind(self, pad):
        """Plays on from the beginning, with time stamps that go on from where they are."""
        pad.set_offset(pad.get_offset() + self.end)
        pad.push_event(
            Gst.Event.new_seek(1.0, Gst.Format.TIME, Gst.SeekFlags.FLUSH, Gst.SeekType.SET, 0, Gst.SeekType.NONE, 0)
        )
        return GLib.SOURCE_REMOVE


def require_password(server, factory, user, password):
    """Lets in nobody but this user (basic authentication)."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE)
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    role = Gst.Structure.new_empty(ROLE)
    role.set_value(GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    role.set_value(GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    factory.add_role_from_structure(role)


def main():
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    args = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    factory = LoopingFactory(args.path)
    factory.set_shared(True)
    if args.user:
        require_password(server, factory, args.user, args.password)
    server.get_mount_points().add_factory("/cam", factory)
    loop = GLib.MainLoop()
    if not server.attach(None):
        sys.exit(f"port {args.port} cannot be bound")
    print(f"READY rtsp://127.0.0.1:{server.get_bound_port()}/cam", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
