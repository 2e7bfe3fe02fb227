// What a headset knows of its wearer's body (WebXR Body Tracking), and the message it becomes; docs/live.md has its bytes.

import { BLOCK_SIZE, HEADER_SIZE, MAGIC, ONLY_FORMAT, PROTOCOL } from "./client/dinar.js";

const HANDS = ["index", "middle", "little", "ring"], PHALANGES = ["proximal", "intermediate", "distal"];
const hand = (side) => [
  ...HANDS.flatMap((finger) => PHALANGES.map((part) => `${side}-hand-${finger}-phalanx-${part}`)),
  ...["metacarpal", "phalanx-proximal", "phalanx-distal"].map((part) => `${side}-hand-thumb-${part}`),
];

/** The joints of the message, XRBodyJoint, in the order of its rows (SMPL-X's). */
export const JOINTS = Object.freeze([
  "hips", "left-upper-leg", "right-upper-leg", "spine-lower", "left-lower-leg", "right-lower-leg", "spine-middle",
  "left-foot-ankle", "right-foot-ankle", "chest", "left-foot-ball", "right-foot-ball", "neck", "left-shoulder",
  "right-shoulder", "head", "left-arm-upper", "right-arm-upper", "left-arm-lower", "right-arm-lower",
  "left-hand-wrist", "right-hand-wrist", ...hand("left"), ...hand("right"),
]);

const XR_BODY = 34, XR_JOINTS = 52, ROW = 7; // between page and gateway only

/**
 * The joints of an XRFrame in a reference space: Float32Array of 52 rows, x, y, z in metres and quaternion x, y, z, w; NaN for a joint
 * that the headset does not give. null without a body, or while it is not tracked.
 */
export function readBody(frame, space) {
  const { body } = frame;
  if (!body) return null;
  const out = new Float32Array(JOINTS.length * ROW).fill(NaN);
  let known = 0;
  JOINTS.forEach((name, i) => {
    const joint = body.get(name), pose = joint && frame.getPose(joint, space);
    if (!pose) return;
    const { position: p, orientation: q } = pose.transform;
    out.set([p.x, p.y, p.z, q.x, q.y, q.z, q.w], i * ROW);
    known += 1;
  });
  return known && !Number.isNaN(out[0]) ? out : null;
}

/** The bytes of a message. values: what readBody gave; id grows by one; session: u32, another each time the page is loaded. */
export function bodyMessage(values, id, session, nanoseconds) {
  const data = new Uint8Array(HEADER_SIZE + BLOCK_SIZE + values.byteLength), view = new DataView(data.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, PROTOCOL, true);
  view.setUint16(6, XR_BODY, true);
  view.setUint16(12, HEADER_SIZE, true);
  view.setUint16(14, 1, true);
  view.setBigUint64(16, BigInt(id), true);
  view.setBigUint64(24, BigInt(nanoseconds), true);
  view.setUint32(48, data.length - HEADER_SIZE, true);
  view.setUint32(52, session, true);
  view.setUint16(HEADER_SIZE, XR_JOINTS, true);
  view.setUint16(HEADER_SIZE + 2, ONLY_FORMAT, true);
  view.setUint32(HEADER_SIZE + 4, values.byteLength, true);
  values.forEach((value, i) => view.setFloat32(HEADER_SIZE + BLOCK_SIZE + 4 * i, value, true));
  return data;
}
