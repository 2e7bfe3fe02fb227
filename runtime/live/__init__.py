"""Live motion: VMC, SMPL-24 body tracking, SMPL-X over ZeroMQ, Rokoko, mocopi, SlimeVR, WebXR, cameras and videos; what
follows them and what happens when they stop."""

from .avatar_fit import AvatarFit
from .file_source import FileSource
from .first_performer import FirstPerformer
from .follower import Follower
from .mocopi import MocopiSource
from .registry import open_source
from .rokoko import RokokoSource
from .sample_buffer import SampleBuffer
from .seen_source import SeenSource
from .slimevr import SlimeVrSource
from .smpl24 import Smpl24Source, smpl24_pose
from .source import Source
from .vmc import VmcSource
from .webxr import WebXrSource, encode_xr_body
from .zmq_pose import SmplxPublisher, SmplxSubscriber

__all__ = [
    "AvatarFit",
    "FileSource",
    "FirstPerformer",
    "Follower",
    "MocopiSource",
    "RokokoSource",
    "SampleBuffer",
    "SeenSource",
    "SlimeVrSource",
    "Smpl24Source",
    "SmplxPublisher",
    "SmplxSubscriber",
    "Source",
    "VmcSource",
    "WebXrSource",
    "encode_xr_body",
    "open_source",
    "smpl24_pose",
]
