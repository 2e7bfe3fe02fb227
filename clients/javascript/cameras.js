// Cameras as a "render" request takes them.

/**
 * A camera at `eye` that looks at `target` (metres, y up), with `fovY` radians from top to bottom.
 * OpenCV axes: x right, y down, z forward.
 */
export function lookAt(eye, target, fovY, width, height) {
  const z = unit(minus(target, eye)),
    x = unit(cross(z, [0, 1, 0])),
    y = cross(z, x);
  const f = height / 2 / Math.tan(fovY / 2),
    row = (axis) => [...axis, -dot(axis, eye)];
  return { K: [f, 0, width / 2, 0, f, height / 2, 0, 0, 1], worldToCamera: [...row(x), ...row(y), ...row(z), 0, 0, 0, 1], width, height };
}

/** A camera on a circle around the person of `caps`, who stands over the origin on y = 0 and looks along +z: azimuth 0 is in front. */
export function orbit(caps, azimuth, width, height, fovY = 0.45) {
  const [low, high] = caps.body_extent ?? [-1, 0.75],
    tall = high - low,
    middle = tall / 2;
  const distance = (0.57 * tall * Math.max(1, (0.72 * height) / width)) / Math.tan(fovY / 2);
  return lookAt([distance * Math.sin(azimuth), middle, distance * Math.cos(azimuth)], [0, middle, 0], fovY, width, height);
}

/** The camera of a WebXR view (XRView of a frame's viewer pose), in the reference space that it was asked for in. */
export function ofWebXR(view, width, height) {
  const m = view.projectionMatrix,
    { position: p, orientation: q } = view.transform;
  const fov = [(m[8] - 1) / m[0], (m[8] + 1) / m[0], (m[9] + 1) / m[5], (m[9] - 1) / m[5]].map(Math.atan);
  return { position: [p.x, p.y, p.z], orientation: [q.x, q.y, q.z, q.w], fov, width, height };
}

const minus = (a, b) => a.map((v, i) => v - b[i]),
  dot = (a, b) => a.reduce((s, v, i) => s + v * b[i], 0);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((v) => v / Math.hypot(...a));
