"""Streams frames from a server, as a client in another process or on another machine does.

python examples/03_connect_and_stream.py                         # starts a server of its own
python examples/03_connect_and_stream.py tcp://127.0.0.1:5555    # that of `dinar serve demo`
"""

import contextlib
import sys
import time

import numpy as np

from dinar_live import Avatar, AvatarService, Camera, Client, Server, demo_motion
from dinar_live.runtime.render.sinks import contact_sheet, write_png

SIZE, FPS, FRAMES = (384, 288), 30, 60


@contextlib.contextmanager
def own_server():
    """What `dinar serve demo` does, in short; gives its endpoint."""
    with AvatarService(Avatar.demo(), size=SIZE) as service:
        service.warm_up()
        with Server(service.render, service.capabilities(), ready=service.ready) as server:
            yield server.endpoint


with contextlib.ExitStack() as stack:
    endpoint = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(own_server())
    client = stack.enter_context(Client(endpoint, window=2))
    joints = np.array(client.capabilities["rest_joints"])  # of the avatar, metres
    motion = demo_motion().for_avatar(joints)
    camera = Camera.orbit(joints[0] + motion.pose_at(0).transl, SIZE)
    shown, latencies = [], []
    for i in range(FRAMES):
        began = time.monotonic()
        client.send(motion.pose_at(i / FPS), camera, SIZE)  # never waits; a newer request replaces it
        frame = client.read_latest()  # the newest that has come
        if frame is not None and (not shown or frame.id != shown[-1].id):
            shown.append(frame)
            latencies.append(frame.latency_ms)
        time.sleep(max(0.0, 1 / FPS - (time.monotonic() - began)))
    if not shown:  # a machine that is slower than this loop
        shown.append(client.async_read())
        latencies.append(shown[-1].latency_ms)
print(f"{len(shown)} frames, latency p50 {np.median(latencies):.1f} ms")
write_png(
    "out/03_stream.png", contact_sheet([frame.rgba for frame in shown[:: max(1, len(shown) // 6)][:6]], 6)
)
print("out/03_stream.png")
