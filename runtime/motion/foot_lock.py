"""Feet that stay where they are put down: footskate taken out of whole clips by inverse kinematics of the legs.

The plan is that of Kovar, Schreiner, Gleicher, "Footskate Cleanup for Motion Capture Editing", SCA 2002: find
what is planted and where, place the pelvis so that the legs reach, bend the legs, ease between. Here a contact
also gives way, at its ends, where holding it would jerk a joint.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from . import kinematics, leg_ik
from . import reference_body as ref
from .foot_contacts import BALL, HEEL, Contact, contacts, extent, lowest_near, runs
from .foot_legs import LEGS, LOWER, Legs, added_turns, legs_of, stepped
from .foot_metrics import report_legs
from .motion import Motion

MAX_ADDED = np.radians(2.0)
"""Radians a frame: what the lock may add to the turning of a joint."""
_AIM = 0.93 * MAX_ADDED  # with room for what rounding to float32 adds
_EASE = 0.35  # seconds in which a foot is let go, or caught
_BRAKE = 0.12  # seconds in which what is let go, or caught, comes to rest
_PELVIS = 0.07  # seconds, sigma of the smoothing of the pelvis' height
_PELVIS_MOST = 0.12  # leg lengths
_ROUNDS = 200
_SLIDE = 0.0055  # leg lengths that a held foot may go
_DEEP = 2e-4  # metres that soles may be deeper than before
_MOST_WRAPPED = 20_000  # frames


def lock_feet(motion: Motion, *, rig_joints=None, sole: float | None = None) -> Motion:
    """The clip with each heel and ball at rest, while it rests, on one spot of the ground.

    rig_joints: [55,3] rest joints, metres, of the avatar whose feet count, by default the open body's; sole: y
    of its soles at rest. Hips, knees and ankles turn, the pelvis goes up or down; everything else stays. No
    joint gains more than `MAX_ADDED` from one frame to the next: where a contact would, it is shortened, and
    given up if nothing is left of it; the note says how much of the contacts' time is held. Raises MotionError.
    """
    rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
    if rest.shape != (55, 3) or not np.isfinite(rest).all():
        raise MotionError(f"rig_joints: got shape {list(rest.shape)}, expected [55, 3] finite numbers")
    leg = kinematics.leg_length(rest)
    n = motion.frames
    legs = legs_of(motion, rest, sole)
    once = slice(0, n)
    if motion.cyclic and n <= _MOST_WRAPPED:  # between two more of itself, so that the seam is none
        legs = replace(legs, world=np.tile(legs.world, (3, 1, 1)), pelvis=np.tile(legs.pelvis, (3, 1)))
        once = slice(n, 2 * n)
    found = contacts(legs.marks(), motion.fps, leg)
    locked, held = held_within(legs, found, motion.fps)
    local = kinematics.local_rotations(locked.world[once], LOWER)
    body = motion.body.copy()
    changed = [j for side in LEGS for j in side[:3]]
    body[:, changed] = rot.quaternion_to_axis_angle(local[:, changed])
    pelvis = locked.pelvis[once] * (motion.leg_length / leg)
    note = _note(
        legs, locked, *([c for c in some if once.start <= c.first < once.stop] for some in (found, held))
    )
    return replace(motion, body=body, pelvis=pelvis, notes=(*motion.notes, note))


def _note(legs: Legs, locked: Legs, found: list[Contact], held: list[Contact]) -> str:
    """What the lock has done, in a line."""
    total = sum(c.stop - c.first for c in found)
    share = 100 * sum(c.stop - c.first for c in held) / total if total else 0.0
    text = f"feet locked: {len(held)} of {len(found)} contacts, {share:.0f} % of their time"
    if held:
        lift = 100 * (locked.pelvis[:, 1] - legs.pelvis[:, 1])
        text += f"; {report_legs(legs, locked, held)}; pelvis {lift.min():+.1f} to {lift.max():+.1f} cm"
    return text


def held_within(legs: Legs, found: list[Contact], fps: float) -> tuple[Legs, list[Contact]]:
    """The legs with the contacts held, and what is left of the contacts after each has given way where a joint
    would gain more than `MAX_ADDED` a frame."""
    held = list(found)
    shortest = max(2, round(0.05 * fps))
    raised = np.zeros(len(legs.world))
    for k in range(_ROUNDS):
        moved = _held(legs, held, fps, raised)
        jerks = added_turns(legs.world, moved.world) > _AIM
        if not jerks.any() or not held:
            moved = _swung_above(legs, moved, held, fps)
            deep = _deeper(legs, moved).max(axis=1)
            steady = _steady(moved, held, shortest)
            if not held or (deep.max(initial=0.0) <= _DEEP and steady == held):
                return moved, held
            held = steady
            raised = raised + _bumps(deep, fps)
        else:
            held = _given_way(held, jerks, shortest, k)
    return legs, []


def _steady(moved: Legs, held: list[Contact], shortest: int) -> list[Contact]:
    """The contacts, those that slide further than a foot at rest may (a leg is too short) without their worse end."""
    marks, most = moved.marks(), _SLIDE * kinematics.leg_length(moved.rest)
    out = []
    for c in held:
        path = marks[c.first : c.stop, c.side, c.mark]
        if extent(path) > most:
            off = np.linalg.norm(path - np.median(path, axis=0), axis=1)
            begin = int(off.argmax() < 0.5 * len(off))
            c = replace(c, first=c.first + begin, stop=c.stop - 1 + begin)
        if c.stop - c.first >= shortest:
            out.append(c)
    return out


def _bumps(values: np.ndarray, fps: float) -> np.ndarray:
    """A smooth curve [N] that is nowhere below values [N] >= 0 and zero far from them."""
    sigma = _PELVIS * fps
    return _smoothed(-lowest_near(-values, int(np.ceil(3 * sigma))), sigma)


def _given_way(held: list[Contact], jerks: np.ndarray, shortest: int, attempt: int) -> list[Contact]:
    """The contacts, shortened by a frame at the end that is nearest to each jerk [N-1,2]."""
    cut = {i: [0, 0] for i in range(len(held))}
    ends = np.array([(c.side, c.first, c.stop - 1) for c in held])
    for side in (0, 1):
        for first, stop in runs(jerks[:, side]):
            at = 0.5 * (first + stop)  # between the frames first and stop
            own = np.flatnonzero(ends[:, 0] == side)
            if not len(own) or attempt >= _ROUNDS // 2:  # the other foot, through the pelvis
                own = np.arange(len(held))
            distance = np.abs(ends[own, 1:] - at)
            i, end = np.unravel_index(distance.argmin(), distance.shape)
            cut[int(own[i])][int(end)] = max(1, attempt // 20)
    out = []
    for i, c in enumerate(held):
        c = replace(c, first=c.first + cut[i][0], stop=c.stop - cut[i][1])
        if c.stop - c.first >= shortest:
            out.append(c)
    return out


def _held(legs: Legs, held: list[Contact], fps: float, raised: np.ndarray) -> Legs:
    """The legs with contacts held, whatever that takes. raised: [N] metres by which the pelvis is higher than feet
    that stand would have it.

    Where a foot is planted its leg is bent to reach; between, what that has changed in each joint is eased, so
    that a leg in the air, however straight, makes no detours for its foot.
    """
    marks = legs.marks()
    joints = legs.joints()
    turns, targets, planted = [], [], np.zeros((len(marks), 2), bool)
    for side, (_, _, ankle, _) in enumerate(LEGS):
        own = [c for c in held if c.side == side]
        turn, shift = _foot_corrections(marks[:, side], own, fps)
        for c in own:
            planted[c.first : c.stop, side] = True
        # the foot turns about its ball and moves
        ball = marks[:, side, BALL]
        targets.append(ball + shift + rot.rotate(turn, joints[:, ankle] - ball))
        turns.append(turn)
    moved = _placed(legs, joints, (turns, targets), planted, fps, raised)
    deep = _deeper(legs, moved)
    for side in (0, 1):  # a planted foot is raised by the same over the whole contact
        for first, stop in runs(planted[:, side]):
            targets[side][first:stop, 1] += deep[first:stop, side].max()
    return _placed(legs, joints, (turns, targets), planted, fps, raised)


def _placed(legs: Legs, joints: np.ndarray, feet, planted: np.ndarray, fps: float, raised) -> Legs:
    """The legs with planted feet turned and ankles put where `feet` = (turns, targets) says, for each side
    quaternions [N,4] and places [N,3]."""
    lift = _pelvis_lift(legs, joints, feet[1], planted, fps) + raised
    pelvis = legs.pelvis.copy()
    pelvis[:, 1] += lift
    local = kinematics.local_rotations(legs.world, LOWER)
    for side, (hip, knee, ankle, _) in enumerate(LEGS):
        turn, target = (values[side] for values in feet)
        on = planted[:, side]
        start = joints[on, hip]
        start[:, 1] += lift[on]
        world = stepped(legs.rest, legs.world[on], side, target[on] - start)
        world[:, ankle] = rot.multiply(turn[on], world[:, ankle])
        new = kinematics.local_rotations(world, LOWER)
        for j in (hip, knee, ankle):
            change = np.zeros((len(on), 3))
            change[on] = rot.quaternion_to_axis_angle(rot.multiply(rot.conjugate(local[on, j]), new[:, j]))
            change = rot.axis_angle_to_quaternion(eased(change, on, fps))
            local[:, j] = rot.multiply(local[:, j], change)
    return replace(legs, world=kinematics.global_rotations(local, LOWER), pelvis=pelvis)


def _deeper(before: Legs, after: Legs) -> np.ndarray:
    """How much further below the floor each foot is than before [N,2], metres. The floor is where the lowest sole
    is at its 5th percentile, as for `for_avatar`."""
    was = before.soles()
    return np.maximum(np.minimum(was, np.percentile(was.min(axis=1), 5)) - after.soles(), 0.0)


def _swung_above(before: Legs, legs: Legs, held: list[Contact], fps: float) -> Legs:
    """The locked legs with feet in the air raised, evenly, where they would pass further below the floor than
    before; by less where that would jerk a joint."""
    air = np.ones((len(legs.world), 2), bool)
    for c in held:
        air[c.first : c.stop, c.side] = False
    short = _deeper(before, legs) * air
    joints = legs.joints()
    reach = max(1, round(_PELVIS * fps))
    for _ in range(12):
        if not (short > 1e-4).any():
            break
        world = legs.world.copy()
        for side, (hip, _, ankle, _) in enumerate(LEGS):
            up = _smoothed(-lowest_near(-short[:, side], reach), reach / 2) * air[:, side]
            on = up > 1e-5
            target = joints[on, ankle] - joints[on, hip]
            target[:, 1] += up[on]
            world[on] = stepped(legs.rest, world[on], side, target)
        jerks = added_turns(before.world, world) > _AIM
        if not jerks.any():
            return replace(legs, world=world)
        near = -lowest_near(-np.pad(jerks, ((0, 1), (0, 0))).astype(float), 3 * reach)
        short = short * np.where(near > 0.5, 0.6, 1.0)
    return legs


def _foot_corrections(marks: np.ndarray, held: list[Contact], fps: float) -> tuple[np.ndarray, np.ndarray]:
    """How one foot is to be turned, quaternions [N,4], and its ball moved [N,3], so that its contacts hold.

    marks: [N,2,3] of the foot. Where both marks rest the foot points from heel spot to ball spot, and eases to
    and from that where one does. Zero where none rests.
    """
    n = len(marks)
    spots = _spots(marks, held)
    spot = np.full((n, 2, 3), np.nan)
    for c, place in zip(held, spots, strict=True):
        spot[c.first : c.stop, c.mark] = place
    rests = np.isfinite(spot[..., 0])
    flat = rests.all(axis=1)
    sole = marks[:, BALL] - marks[:, HEEL]
    turn = np.zeros((n, 3))
    if flat.any():
        turn[flat] = rot.quaternion_to_axis_angle(
            rot.between(sole[flat], spot[flat, BALL] - spot[flat, HEEL])
        )
    turn = eased(turn, np.asarray(flat), fps)
    q = rot.axis_angle_to_quaternion(turn)
    shift = np.zeros((n, 3))
    heel_only = rests[:, HEEL] & ~rests[:, BALL]
    shift[rests[:, BALL]] = (spot[:, BALL] - marks[:, BALL])[rests[:, BALL]]
    by_heel = spot[:, HEEL] + rot.rotate(q, sole) - marks[:, BALL]
    shift[heel_only] = by_heel[heel_only]
    return q, shift


def _spots(marks: np.ndarray, held: list[Contact]) -> list[np.ndarray]:
    """Where each contact of a foot is held [3]: the mean of its places; those of heel and ball that rest at the
    same time as far apart as they are on the foot. marks: [N,2,3]."""
    spots: list[np.ndarray] = [np.zeros(3)] * len(held)
    order = sorted(range(len(held)), key=lambda i: held[i].first)
    length = float(np.linalg.norm(marks[0, BALL] - marks[0, HEEL])) if len(marks) else 0.0
    for k, i in enumerate(order):
        c = held[i]
        place = marks[c.first : c.stop, c.mark].mean(axis=0)
        for j in order[:k]:  # those that are settled
            other = held[j]
            if other.mark != c.mark and other.first < c.stop and c.first < other.stop:
                place = spots[j] + length * rot.unit(place - spots[j])
        spots[i] = place
    return spots


def eased(values: np.ndarray, known: np.ndarray, fps: float) -> np.ndarray:
    """Values [N,K] where they are known [N]; between, curves with the same slope at their ends.

    A gap eases to zero and back, each within `_EASE`, or directly across where it is shorter. Before the first and
    after the last known frame it is eased from and to zero too.
    """
    spans = runs(known)
    if not len(spans):
        return np.zeros_like(values)
    n, ease = len(values), max(2, round(_EASE * fps))
    out = np.where(known[:, None], values, 0.0)
    stops = [0, *spans.ravel().tolist(), n]
    for k in range(0, len(stops), 2):
        a, b = stops[k], stops[k + 1]  # the gap a .. b - 1, at least one frame but at the ends of the clip
        if a == b:
            continue
        at = np.arange(a, b)[:, None]
        since, until = at - (a - 1), b - at
        length = max(2, min(ease, b - a + 1))  # in which a side is left, or reached
        brake = max(2, min(round(_BRAKE * fps), b - a + 1))  # in which a slope ends
        if a > 0:
            slope = values[a - 1] - values[max(a - 2, stops[k - 1])]
            out[a:b] += values[a - 1] * fall(since / length) + slope * since * fall(since / brake)
        if b < n:
            slope = values[b] - values[min(b + 1, stops[k + 2] - 1)]
            out[a:b] += values[b] * fall(until / length) + slope * until * fall(until / brake)
    return out


def fall(x) -> np.ndarray:
    """From 1 at 0 to 0 at 1 and beyond, level at both."""
    x = np.minimum(x, 1.0)
    return 1 - x * x * (3 - 2 * x)


def _pelvis_lift(legs: Legs, joints, targets, planted, fps: float) -> np.ndarray:
    """How much higher the pelvis shall be [N], metres, so that knees keep their bend, above all straight ones,
    and planted feet are within reach."""
    n = len(joints)
    top, bottom, most = np.zeros(n), np.full(n, 1e-9), np.full(n, np.inf)
    limit = _PELVIS_MOST * kinematics.leg_length(legs.rest)
    for side, (leg, target) in enumerate(zip(LEGS, targets, strict=True)):
        on = planted[:, side]
        same, weight, farthest = leg_ik.height_kept(legs.rest, leg, joints, target - joints[:, leg[0]])
        top += weight * on * np.clip(same, -limit, limit)
        bottom += weight * on
        most = np.where(on, np.minimum(most, farthest), most)
    sigma = _PELVIS * fps
    lift = _smoothed(top, sigma) / _smoothed(bottom, sigma)
    short = np.clip(lift - most, 0, limit)
    lift = lift - _smoothed(short, 0.3 * sigma)
    return eased(lift[:, None], planted.any(axis=1), fps)[:, 0]


def _smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing [N]; sigma in frames. The ends are carried on as they are."""
    reach = int(np.ceil(3 * sigma))
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
