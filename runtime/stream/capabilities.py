"""ServerCapabilities: what a server tells about itself and its avatars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from dinar_live.runtime.stream.protocol.messages import Caps
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import ID_OFFSET, VERSION, ErrorCode, WireError

from .rendering import Limits

ENCODINGS = {
    "color": ["jpeg", "raw"],
    "planes": ["raw", "deflate"],
    "alpha": ["full", "half"],
    "depth": ["metres", "inverse"],
    "cameras": ["matrix", "openxr"],
}


class ServerCapabilities:
    """The CAPS messages of a server, one per avatar. capabilities, avatars: see Server. Raises InputError."""

    _caps: dict[str, bytearray]

    def __init__(self, capabilities: Mapping, avatars: Mapping[str, Mapping], limits: Limits, session: int):
        self._capabilities = dict(capabilities)
        self._session = session
        self._common = {
            "protocol": VERSION,
            "limits": {k: v for k, v in asdict(limits).items() if k != "send_queue"},
            "encodings": ENCODINGS,
        }
        self.update(avatars)

    def update(self, avatars: Mapping[str, Mapping]) -> None:
        """Has other things told of the avatars from now on. From any thread. Raises InputError."""
        common = self._common | ({"avatars": list(avatars)} if avatars else {})
        caps = {
            name: encode(Caps({**self._capabilities, **info, **common}, self._session))
            for name, info in avatars.items()
        }
        caps[""] = next(iter(caps.values()), None) or encode(
            Caps({**self._capabilities, **common}, self._session)
        )
        self._caps = caps

    def check(self, avatar: str) -> None:
        """Raises WireError unless there is an avatar of that name; "" = the first."""
        if avatar not in self._caps:
            known = ", ".join(name for name in self._caps if name) or "one without a name"
            raise WireError(f"no avatar {avatar!r} here, expected {known}", ErrorCode.UNKNOWN_AVATAR)

    def caps(self, avatar: str, id: int = 0) -> bytearray:
        """CAPS about one avatar, in answer to DESCRIBE `id` or, 0, to HELLO. Raises WireError."""
        self.check(avatar)
        caps = bytearray(self._caps[avatar])
        caps[ID_OFFSET : ID_OFFSET + 8] = id.to_bytes(8, "little")
        return caps
