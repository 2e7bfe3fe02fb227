"""AvatarGroup: several avatars behind one server."""

from __future__ import annotations

from collections.abc import Container, Sequence

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.stream import RenderedFrame, RenderRequest
from dinar_live.runtime.stream.protocol.messages import MAX_NAME

from .avatar_service import AvatarService, renderer_keys
from .renderer_pool import MAX_RENDERERS, RendererKey

MAX_AVATARS = 16


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

    def capabilities(self) -> dict[str, dict]:
        """Name -> what clients are told about that avatar; see AvatarService."""
        return {name: service.capabilities() | {"name": name} for name, service in self.services.items()}

    def render(self, request: RenderRequest) -> RenderedFrame | tuple[RenderedFrame, ...]:
        """The frames of one request, whose avatar the server has checked. Raises DinarError with what to
        tell the client."""
        return self._of(request).render(request)

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
