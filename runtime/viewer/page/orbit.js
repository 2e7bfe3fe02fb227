// The camera: circles around a point, which panning moves. World: metres, y up, the person faces +z.

const FOV_Y = 0.45;             // radians, as the server's own cameras
const FILL = 0.88;              // share of the free height that a standing person takes
const NARROW = 0.72;            // where the free part is narrower than this (width / height) the camera steps back: arms
const MAX_ELEVATION = 1.5, NEAREST = 0.35, FARTHEST = 25, MAX_PAN = 5;

export class Orbit {
  constructor() {
    this.height = 1.75;
    // the picture and what of it is covered, in its pixels; how many of them make one of the page, and where it begins there
    this.frame = { width: 512, height: 512, top: 0, bottom: 0, scale: 1, x: 0, y: 0 };
    this.reset();
  }

  /** extent: [lowest, highest] y of the standing person relative to the pelvis, metres. */
  fit([low, high]) {
    const { moved, height } = this;
    this.height = high - low;
    if (moved) this.target[1] += (this.height - height) / 2;
    else this.reset();
  }

  reset() {
    this.azimuth = 0;
    this.elevation = 0;
    this.zoom = 1;
    this.target = [0, this.height / 2, 0];
  }

  get moved() {
    return this.azimuth !== 0 || this.elevation !== 0 || this.zoom !== 1 || this.target[0] !== 0 || this.target[2] !== 0
      || this.target[1] !== this.height / 2;
  }

  get #free() { return Math.max(this.frame.height - this.frame.top - this.frame.bottom, this.frame.height / 8); }

  get #focal() { return this.#free / 2 / Math.tan(FOV_Y / 2); }

  get #distance() {
    return (this.height / FILL / (2 * Math.tan(FOV_Y / 2))) * Math.max(1, NARROW * this.#free / this.frame.width) / this.zoom;
  }

  /** Angles in radians; to the right and up are positive. */
  turn(right, up) {
    this.azimuth = Math.atan2(Math.sin(this.azimuth - right), Math.cos(this.azimuth - right));
    this.elevation = Math.min(Math.max(this.elevation + up, -MAX_ELEVATION), MAX_ELEVATION);
  }

  /** The person moves along with a drag by (x, y) pixels of the page, right and down. */
  pan(x, y) {
    const metres = this.frame.scale * this.#distance / this.#focal, { right, up } = this.#axes();
    this.target = this.target.map((value, i) => {
      const moved = value - right[i] * x * metres + up[i] * y * metres;
      return Math.min(Math.max(moved, -MAX_PAN), MAX_PAN);
    });
  }

  /** Closer by a factor; what is at (x, y) pixels of the page, from the stage's corner, stays there. */
  closer(factor, x, y) {
    const full = this.#distance * this.zoom, before = this.zoom, { frame } = this;
    this.zoom = Math.min(Math.max(before * factor, full / FARTHEST), full / NEAREST);
    if (x === undefined) return;
    const grown = this.zoom / before, { scale } = frame;
    const middle = [frame.x + frame.width / 2 / scale, frame.y + (frame.top + this.#free / 2) / scale];
    this.pan((x - middle[0]) * (1 - grown), (y - middle[1]) * (1 - grown));
  }

  #axes() {
    const [sa, ca, se, ce] = [Math.sin(this.azimuth), Math.cos(this.azimuth), Math.sin(this.elevation), Math.cos(this.elevation)];
    return { right: [ca, 0, -sa], up: [-sa * se, ce, -ca * se], back: [sa * ce, se, ca * ce] };
  }

  /** {K, worldToCamera}, row-major, for the frame: OpenCV axes, x right, y down, z into the scene. The target is in the middle of what
   * is not covered. */
  camera() {
    const { right, up, back } = this.#axes(), distance = this.#distance, { width, top } = this.frame;
    const eye = this.target.map((value, i) => value + back[i] * distance);
    const rows = [right, up.map((v) => -v), back.map((v) => -v)];
    const f = this.#focal;
    return {
      K: [f, 0, width / 2, 0, f, top + this.#free / 2, 0, 0, 1],
      worldToCamera: [...rows.flatMap((row) => [...row, -(row[0] * eye[0] + row[1] * eye[1] + row[2] * eye[2])]), 0, 0, 0, 1],
    };
  }
}
