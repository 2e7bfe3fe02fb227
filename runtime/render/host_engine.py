"""The engine of a network that runs on the CPU, and in which precision."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dinar_live import engines
from dinar_live.engines.cache import EngineCache, EngineKey, platform_name
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose

from . import parity
from .framing import whole_body_camera
from .options import INTEL, INTEL_ENGINE, RenderOptions, RenderPlan
from .window import padded

FASTER = 1.2
"""Times as fast as float32 that int8 must be, to be taken by itself."""
_SIZE = (512, 512)  # of the frames that int8 is prepared and judged with
_WINDOW = (512, 384)
_CLOSE = 4.0  # heights of the frame that the body of a close-up would take
_JUDGED = (256, 192)  # a window of smaller frames: enough to see which is faster, and right
_RUNS = 4

Find = Callable[[], tuple[bool, str]]
_lock = threading.Lock()
_decided: dict[EngineKey, tuple[bool, str]] = {}  # whether it is taken, and why


def open_host_engine(plan: RenderPlan) -> engines.Engine:
    """The engine that the options ask for, on the CPU. Where OpenVINO would run in float32 because the processor has
    nothing better, int8 is tried once a network: it is taken if it is faster and its frames pass the parity check. So
    are Intel's graphics and NPU where the device is "auto".

    Raises EngineError, also for an int8 that was asked for and whose frames do not pass.
    """
    options = plan.options
    wanted = options.precision
    if options.device == INTEL:
        return _open(plan, wanted, INTEL_ENGINE)
    engine = _open(plan, wanted)
    if wanted == "int8":
        taken, why = _decision(plan, engine.info, by_speed=False)
        if not taken:
            engine.close()
            raise engines.EngineError(f"{why}; use another --precision")
    elif wanted == "auto" and engine.info.name == "openvino" and engine.info.precision == "f32":
        taken, why = _decision(plan, engine.info, by_speed=True)
        if taken:
            engine.close()
            engine = _open(plan, "int8")
            engine.info = engine.info.because(f"auto: int8 is {why}")
    if options.device == options.engine == wanted == engines.AUTO and _intel_devices():
        taken, why = _intel_decision(plan, engine)
        if taken:
            engine.close()
            engine = _open(plan, wanted, INTEL_ENGINE)
            engine.info = engine.info.because(f"auto: {why}")
    return engine


def examples(plan: RenderPlan) -> Iterator[np.ndarray]:
    """What the network meets: the check views, the body from four sides, a close-up. f32[1,C,H,W] each."""
    avatar, spec, rig = plan.avatar, plan.spec, plan.avatar.rig
    window = padded(_WINDOW, spec.stride)
    yield from parity.inputs_for(avatar, spec, (1, *window), _SIZE)
    for pose, camera in _sides(plan):
        yield parity.features(avatar, spec, pose, camera, window)[None]
    head = Camera.orbit(rig.joints[15], window, azimuth=0.3, distance=2.0, fov_y=1.7 / _CLOSE / 2.0)
    yield parity.features(avatar, spec, Pose(), head, window)[None]


def _sides(plan: RenderPlan) -> list[tuple[Pose, Camera]]:
    rig, window = plan.avatar.rig, padded(_WINDOW, plan.spec.stride)
    checks = plan.avatar.checks
    pose = Pose(checks.body[0], checks.transl[0], checks.expression[0]) if checks is not None else Pose()
    pelvis = rig.joints[0] + (checks.transl[0] if checks is not None else 0)
    return [
        (pose, whole_body_camera(rig, pelvis, window, azimuth=azimuth)) for azimuth in (0.4, 2.0, 3.5, 5.1)
    ]


def _open(plan: RenderPlan, precision: str, name: str | None = None) -> engines.Engine:
    options: RenderOptions = plan.options
    name = name or options.engine
    known = engines.engine_options(name)
    more: dict[str, Any] = {"examples": lambda: examples(plan)} if "examples" in known else {}
    if engines.engine_runs_on(name) == "both":
        more["device"] = "cpu"
    assert plan.spec.network is not None  # of renderers that have one
    return engines.create_engine(
        plan.spec.network, name, precision=precision, threads=options.threads, **more
    )


def _decision(plan: RenderPlan, info: engines.EngineInfo, by_speed: bool) -> tuple[bool, str]:
    """(whether int8 is to be taken, why or why not), found out once a network on a machine. info: of the engine
    that was opened."""
    return _once(plan, info, "int8", str(by_speed), lambda: _int8_decision(plan, by_speed))


def _int8_decision(plan: RenderPlan, by_speed: bool) -> tuple[bool, str]:
    with _open(plan, "int8") as engine:
        return _decide(plan, engine, by_speed)


def _intel_devices() -> tuple[str, ...]:
    from dinar_live.engines.openvino import intel  # OpenVINO takes a while to import

    try:
        return intel.devices()
    except (RuntimeError, OSError):
        return ()


def _intel_decision(plan: RenderPlan, engine: engines.Engine) -> tuple[bool, str]:
    """As `_decision`, against the engine of the CPU."""

    def find() -> tuple[bool, str]:
        spec, key = plan.spec, (1, *padded(_WINDOW, plan.spec.stride))
        inputs = list(parity.inputs_for(plan.avatar, spec, key, _SIZE))
        with _open(plan, "auto", INTEL_ENGINE) as other:
            session, known = (one.compile(spec.network_key(key)) for one in (other, engine))
            with parity.reference_engine(spec.network, plan.options.threads) as reference:
                plain = reference.compile(spec.network_key(key))
                result = parity.measure(spec, iter(inputs), parity.on_host(plain), parity.on_host(session))
            if not result.passes(other.info.precision):
                return False, f"{other.info.device} is refused: {result} from the network in float32"
            ratio = _fastest(known) / _fastest(session)
            return ratio >= FASTER, f"{other.info.device} is {ratio:.1f} times as fast as the CPU"

    return _once(plan, engine.info, "intel", ",".join(_intel_devices()), find)


def _once(plan: RenderPlan, info: engines.EngineInfo, kind: str, flag: str, find: Find) -> tuple[bool, str]:
    key = EngineKey(
        kind,
        hashlib.sha256(plan.spec.network or b"").hexdigest(),
        (),
        f"{info.name} {info.version} {info.precision}",
        "",
        "",
        f"{platform_name()}, {info.device}",
        (f"threads={info.threads}", f"isa={os.environ.get('ONEDNN_MAX_CPU_ISA', '')}", flag),
    )
    with _lock:
        if key not in _decided:
            _decided[key] = _kept(key) or _found(find, key)
        return _decided[key]


def _kept(key: EngineKey) -> tuple[bool, str] | None:
    try:
        data = EngineCache().load(key)
        taken, why = json.loads(bytes(data)) if data is not None else (None, "")
    except (engines.EngineError, ValueError):
        return None
    return None if taken is None else (bool(taken), str(why))


def _found(find: Find, key: EngineKey) -> tuple[bool, str]:
    try:
        decision = find()
    except engines.EngineError as error:  # float32 does as well
        return False, str(error)
    with contextlib.suppress(engines.EngineError):  # without a folder it is found out again next time
        EngineCache().store(key, json.dumps(decision).encode())
    return decision


def _decide(plan: RenderPlan, engine: engines.Engine, by_speed: bool) -> tuple[bool, str]:
    spec, key = plan.spec, (1, *padded(_JUDGED, plan.spec.stride))
    inputs = list(parity.inputs_for(plan.avatar, spec, key, (_JUDGED[0], _JUDGED[0])))
    session = engine.compile(spec.network_key(key))
    with parity.reference_engine(spec.network, plan.options.threads) as reference:
        known = reference.compile(spec.network_key(key))
        result = parity.measure(spec, iter(inputs), parity.on_host(known), parity.on_host(session))
        if not result.passes("int8"):
            return False, f"int8 is refused: {result} from the network in float32"
        if not by_speed:
            return True, "asked for"
        times = {}
        for name, one in (("f32", known), ("int8", session)) * 2:
            times[name] = min(times.get(name, np.inf), _fastest(one))
    ratio = times["f32"] / times["int8"]
    if ratio < FASTER:
        return False, f"int8 is {ratio:.1f} times as fast as float32"
    return True, f"{ratio:.1f} times as fast as float32, {result.psnr:.0f} dB from it"


def _fastest(session: engines.HostSession) -> float:
    """Seconds."""
    best = np.inf
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.enqueue()
        session.synchronize()
        best = min(best, time.perf_counter() - start)
    return float(best)
