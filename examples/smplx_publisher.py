"""Publishes SMPL-X poses for `dinar live smplx:tcp://127.0.0.1:5560`. Put your own estimator or simulation in
place of the loop.

python examples/smplx_publisher.py
"""

import math
import time

import numpy as np

from dinar_live.runtime.live import SmplxPublisher

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW = 16, 17, 18

with SmplxPublisher("tcp://127.0.0.1:5560", expression_names=("smile",)) as publisher:
    print(f"publishing on {publisher.endpoint}; now start: dinar live smplx:{publisher.endpoint}")
    began = time.monotonic()
    while True:
        t = time.monotonic() - began
        body = np.zeros((55, 3), np.float32)  # axis-angle, SMPL-X joint order; hands: zero is flat
        body[LEFT_SHOULDER, 2] = 0.4 * math.sin(3 * t)
        body[RIGHT_SHOULDER, 2] = 1.2
        body[LEFT_ELBOW, 1] = -1.0
        pelvis = (0.0, 0.95, 0.0)  # metres, y up; SMPL-X's transl will do as well
        publisher.send(body, pelvis, [0.5 + 0.5 * math.sin(t)])
        time.sleep(1 / 60)
