"""Photo of a person in, live avatar out. `from dinar_live import Avatar, Camera, Pose, Renderer, Client`;
names load when first used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinar_live.runtime.avatar import Avatar, Body
    from dinar_live.runtime.core.camera import Camera
    from dinar_live.runtime.core.errors import DinarError
    from dinar_live.runtime.core.pose import Pose
    from dinar_live.runtime.live import open_source
    from dinar_live.runtime.motion import Motion, demo_motion, load_motion
    from dinar_live.runtime.render import Frame, Renderer
    from dinar_live.runtime.service import AvatarGroup, AvatarService
    from dinar_live.runtime.stream import Client, Server, Spectator

__version__ = "0.2.0.dev0"

_HOMES = {
    "Avatar": "runtime.avatar",
    "AvatarGroup": "runtime.service",
    "AvatarService": "runtime.service",
    "Body": "runtime.avatar",
    "Camera": "runtime.core",
    "Client": "runtime.stream",
    "DinarError": "runtime.core",
    "Frame": "runtime.render",
    "Motion": "runtime.motion",
    "Pose": "runtime.core",
    "Renderer": "runtime.render",
    "Server": "runtime.stream",
    "Spectator": "runtime.stream",
    "demo_motion": "runtime.motion",
    "load_motion": "runtime.motion",
    "open_source": "runtime.live",
}

__all__ = [
    "Avatar",
    "AvatarGroup",
    "AvatarService",
    "Body",
    "Camera",
    "Client",
    "DinarError",
    "Frame",
    "Motion",
    "Pose",
    "Renderer",
    "Server",
    "Spectator",
    "__version__",
    "demo_motion",
    "load_motion",
    "open_source",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
