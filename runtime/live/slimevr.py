"""SlimeVR: the whole skeleton that its server works out, which it sends over VMC.

As the server's public source has it: a bundle without a time tag at up to 250 Hz, T and OK first, then the root and
the bones with their positions; arms that controllers track are left out, and hang here. The trackers' own protocol
(UDP 6969) is not spoken: it gives turns of single trackers, which only the server puts on a body.
"""

from __future__ import annotations

from .source_form import OpenOptions, SourceForm, port_of
from .vmc import PORT, VmcSource


class SlimeVrSource(VmcSource):
    """A performer with SlimeVR trackers, through the SlimeVR server. Arguments: see VmcSource."""

    kind = "SlimeVR"

    def _waiting_hint(self) -> str:
        machine = "this machine's address"
        if self.host == "127.0.0.1":
            machine = "address 127.0.0.1 (--bind 0.0.0.0 hears a server on another machine)"
        return (
            f"waiting for packets on UDP {self.host}:{self.port}: in SlimeVR's settings, OSC, VMC: switch it on, {machine}, "
            f"Port Out {self.port}"
        )


def _open(port: str, options: OpenOptions) -> SlimeVrSource:
    return SlimeVrSource(
        port_of(port, PORT),
        options.bind,
        calibration=options.calibration,
        calibrate_after=options.calibrate_after,
    )


FORM = SourceForm("slimevr", "slimevr[:PORT]", _open, calibrates=True)
