"""AvatarGroup: several avatars behind one server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.stream import RenderedFrame, RenderRequest
from dinar_live.runtime.stream.protocol.messages import MAX_NAME

from .avatar_service import AvatarService
from .ladder import differs, renderer_keys
from .renderer_pool import MAX_RENDERERS, RendererKey

MAX_AVATARS = 16
TELL_SECONDS = 2.0  # between two times that clients are told what rate holds now

log = logging.getLogger(__name__)


class AvatarGroup:
    """Several avatars behind one server: `Server(group.render, {}, avatars=group.capabilities(),
    ready=group.ready)`.

    services: one AvatarService per avatar, the first being the default; they are closed with the group. Their
    names, made different where they are not, are what clients choose by. Each keeps its renderers, so that
    switching costs nothing; what one avatar is asked for is made ready for the others as well.
    """

    def __init__(self, services: Sequence[AvatarService]):
        if not 1 <= len(services) <= MAX_AVATARS:
            raise InputError(f"avatars: got {len(services)}, expected 1 to {MAX_AVATARS}")
        self.services: dict[str, AvatarService] = {}
        for service in services:
            self.services[different(service.avatar.name, self.services)] = service
        self.first = services[0]
        self._asked: set[RendererKey] = set()
        self._tell: Callable[[Mapping[str, Mapping]], None] | None = None
        self._told: dict[str, dict | None] = {}
        self._told_at = 0.0
        self._trying: AvatarService | None = None

    def capabilities(self) -> dict[str, dict]:
        """Name -> what clients are told about that avatar; see AvatarService."""
        return {name: service.capabilities() | {"name": name} for name, service in self.services.items()}

    def render(self, request: RenderRequest) -> RenderedFrame | tuple[RenderedFrame, ...]:
        """The frames of one request, whose avatar the server has checked. Raises DinarError with what to
        tell the client."""
        service = self._of(request)
        frames = service.render(request)
        if service.changed or time.monotonic() > self._told_at + TELL_SECONDS:
            self._tell_if_changed()
        return frames

    def tell(self, update: Callable[[Mapping[str, Mapping]], None]) -> None:
        """From now on `update` (of a Server) is called, on the render thread, with `capabilities()` whenever
        another renderer is chosen or another rate holds."""
        self._told = {name: service.quality for name, service in self.services.items()}
        self._tell = update

    def _tell_if_changed(self) -> None:
        self._told_at = time.monotonic()
        now = {name: service.quality for name, service in self.services.items()}
        for name, quality in now.items():
            old = self._told.get(name)
            if quality is not None and (old is None or old["why"] != quality["why"]):
                log.info("quality of %s: %s", name, quality["why"])
        if self._tell is not None and any(differs(self._told.get(name), q) for name, q in now.items()):
            self._told = now
            self._tell(self.capabilities())

    def due(self) -> bool:
        """Whether an avatar has a better renderer to try; see SpareTime."""
        self._trying = next((s for s in self.services.values() if s.ladder.due()), None)
        return self._trying is not None

    def use(self) -> None:
        """Tries it."""
        if self._trying is not None and self._trying.ladder.use():
            self._tell_if_changed()

    def ready(self, request: RenderRequest) -> bool:
        """See AvatarService."""
        if not self._of(request).ready(request):
            return False
        if not self._asked.issuperset(renderer_keys(request)):
            self._asked = (
                {*self._asked, *renderer_keys(request)}
                if len(self._asked) < MAX_RENDERERS
                else set(renderer_keys(request))
            )
            for service in self.services.values():
                service.prepare(request)
        return True

    def warm_up(self) -> None:
        """Warms every avatar up."""
        for service in self.services.values():
            service.warm_up()

    def close(self) -> None:
        """Closes every service."""
        for service in self.services.values():
            service.close()

    def __enter__(self) -> AvatarGroup:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _of(self, request: RenderRequest) -> AvatarService:
        return self.services[request.avatar] if request.avatar else self.first


def different(name: str, taken: Container[str]) -> str:
    """A name that clients can choose by (printable, at most MAX_NAME bytes) like `name` and not among
    `taken`."""
    name = "".join(c for c in name if c.isprintable()).strip() or "avatar"
    number, end = 1, ""
    while True:
        candidate = name.encode()[: MAX_NAME - len(end)].decode("utf-8", "ignore") + end
        if candidate not in taken:
            return candidate
        number += 1
        end = f" {number}"
