"""What the scenarios over ZeroMQ measure: an avatar at a server that runs already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.motion.motion import Motion


@dataclass(frozen=True, eq=False)
class Served:
    """The server at `endpoint` and what it was started with.

    motion: what its clients ask for. options: keyword arguments of Renderer that the server has too, `size`
    (height, width) among them. access: keys, as keyword arguments of Client. alive: raises DinarError if the
    server is gone.
    """

    avatar: Avatar
    motion: Motion
    endpoint: str
    options: dict
    access: Mapping = field(default_factory=dict)
    alive: Callable[[], None] = lambda: None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a frame."""
        return self.options["size"]
