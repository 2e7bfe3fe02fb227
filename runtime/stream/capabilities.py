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

    def __init__(self, capabilities: Mapping, avatars: Mapping[str, Mapping], limits: Limits, session: int):
        common = {
            "protocol": VERSION,
            "limits": {k: v for k, v in asdict(limits).items() if k != "send_queue"},
            "encodings": ENCODINGS,
        }
        if avatars:
            common["avatars"] = list(avatars)
        self._caps = {
            name: encode(Caps({**capabilities, **info, **common}, session)) for name, info in avatars.items()
        }
        self._caps[""] = next(iter(self._caps.values()), None) or encode(
            Caps({**capabilities, **common}, session)
        )

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
