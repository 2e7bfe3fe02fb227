// Figures: frame rate, round trip, stale frames, the server's stages. Smoothed enough to be read.

const WINDOW = 1000, STALE_WINDOW = 60_000, SMOOTH = 0.08, HISTORY = 120, SHOWN = 0.05;

export class Meter {
  constructor() { this.reset(); }

  reset() {
    this.drawn = [];            // when, of the last second
    this.stale = [];             // when a tick had no new picture, of the last minute
    this.smooth = {};
    this.history = [];          // round trips of the last pictures, milliseconds
    this.waiting = false;
    this.bytes = 0;
  }

  #mix(name, value) {
    this.smooth[name] = name in this.smooth ? this.smooth[name] + SMOOTH * (value - this.smooth[name]) : value;
  }

  /** The clock has asked for a picture, or would have: stale if none was drawn since it did so last. */
  tick(now) {
    if (this.waiting && this.drawn.length) this.stale.push(now);
    this.waiting = true;
  }

  /** A picture was drawn: asked at, arrived and drawn (ms), the server's timings and whole time, bytes. */
  picture({ asked, arrived, drawn, timings, server, size }) {
    this.waiting = false;
    this.drawn.push(drawn);
    this.history.push(drawn - asked);
    if (this.history.length > HISTORY) this.history.shift();
    this.#mix("trip", drawn - asked);
    this.#mix("server", server);
    this.#mix("transport", Math.max(arrived - asked - server, 0));
    this.#mix("draw", drawn - arrived);
    this.#mix("bytes", size);
    const { wait = 0, render = 0, encode = 0, total: _, ...own } = timings, inside = Object.values(own).reduce((a, b) => a + b, 0);
    for (const [name, ms] of Object.entries(own)) this.#mix(`stage ${name}`, ms);
    this.#mix("stage wait", wait);
    this.#mix("stage encode", encode);
    this.#mix("stage other", Math.max(server - wait - encode - Math.min(inside, render), 0));
  }

  /** {fps, trip, server, stale, stages: [[name, ms], ...] in order of time} with null for what is not known. */
  read(now) {
    this.drawn = this.drawn.filter((t) => now - t < WINDOW);
    this.stale = this.stale.filter((t) => now - t < STALE_WINDOW);
    const known = this.drawn.length > 1, { smooth } = this;
    const fps = known ? (this.drawn.length - 1) * 1000 / Math.max(this.drawn.at(-1) - this.drawn[0], 1) : 0;
    const names = Object.keys(smooth).filter((name) => name.startsWith("stage ")).map((name) => name.slice(6));
    const order = (name) => { const at = ORDER.indexOf(name); return at < 0 ? ORDER.indexOf("other") : at; };
    names.sort((a, b) => order(a) - order(b));
    const stages = names.map((name) => [name, smooth[`stage ${name}`]]).filter(([, ms]) => ms >= SHOWN);
    if (known) stages.push(["transport", smooth.transport], ["draw", smooth.draw]);
    const { trip, server, bytes } = smooth;
    return { known, fps, trip, server, bytes, stale: this.stale.length, stages, history: this.history };
  }
}

const ORDER = ["wait", "lbs", "project", "rasterize", "gather", "network", "compose", "other", "encode"];
