// The camera: circles around a point, which panning moves. World: metres, y up, the person faces +z.

const FOV_Y = 0.45;             // radians, as the server's own cameras
const FILL = 0.88;              // share of the free height that a standing person takes
const NARROW = 0.72;            // where the free part is narrower than this (width / height) the camera steps back, or arms would be cut off
const MAX_ELEVATION = 1.5, NEAREST = 0.35, FARTHEST = 25, MAX_PAN = 5;

export class Orbit {
  constructor() {
    this.height = 1.75;
    this.frame = { width: 512, height: 512, top: 0, bottom: 0 };     // of the picture in pixels, and what of it is covered
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

  get #distance() {
    return (this.height / FILL / (2 * Math.tan(FOV_Y / 2))) * Math.max(1, NARROW * this.#free / this.frame.width) / this.zoom;
  }

  /** Angles in radians; to the right and up are positive. */
  turn(right, up) {
    this.azimuth = Math.atan2(Math.sin(this.azimuth - right), Math.cos(this.azimuth - right));
    this.elevation = Math.min(Math.max(this.elevation + up, -MAX_ELEVATION), MAX_ELEVATION);
  }

  /** The person moves along with a drag by (x, y), shares of the picture's height, right and down. */
  pan(x, y) {
    const metres = 2 * Math.tan(FOV_Y / 2) * this.#distance * this.frame.height / this.#free, { right, up } = this.#axes();
    this.target = this.target.map((value, i) => {
      const moved = value - right[i] * x * metres + up[i] * y * metres;
      return Math.min(Math.max(moved, -MAX_PAN), MAX_PAN);
    });
  }

  /** Closer by a factor. */
  closer(factor) {
    const full = this.#distance * this.zoom;
    this.zoom = Math.min(Math.max(this.zoom * factor, full / FARTHEST), full / NEAREST);
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
    const f = this.#free / 2 / Math.tan(FOV_Y / 2);
    return {
      K: [f, 0, width / 2, 0, f, top + this.#free / 2, 0, 0, 1],
      worldToCamera: [...rows.flatMap((row) => [...row, -(row[0] * eye[0] + row[1] * eye[1] + row[2] * eye[2])]), 0, 0, 0, 1],
    };
  }
}
