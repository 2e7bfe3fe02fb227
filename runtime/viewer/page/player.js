// What moves and when: the chosen source and, of a recorded one, its clock.

export class Player {
  constructor() {
    this.sources = [{ name: "live", kind: "live" }];
    this.index = 0;
    this.speed = 1;
    this.playing = true;
    this.time = 0;
    this.at = performance.now();
  }

  /** The server's sources; the one chosen stays chosen if it is still there. */
  offer(sources, wanted = "") {
    const name = wanted || this.source.name;
    this.sources = sources?.length ? sources : [{ name: "live", kind: "live" }];
    const found = this.sources.findIndex((source) => source.name === name);
    if (found < 0 || found !== this.index) this.choose(Math.max(found, 0));
  }

  get source() { return this.sources[this.index] ?? this.sources[0]; }
  get recorded() { return this.source.kind === "clip"; }
  get duration() { return this.source.duration ?? 0; }

  choose(index) {
    this.index = index;
    this.time = 0;
    this.playing = true;
  }

  seek(seconds) {
    this.time = this.duration ? ((seconds % this.duration) + this.duration) % this.duration : 0;
  }

  /** To be called for each picture: moves the clock on, and says what to ask for. */
  now() {
    const now = performance.now(), passed = Math.min((now - this.at) / 1000, 0.25);      // a hidden page does not run on
    this.at = now;
    if (this.playing && this.recorded) this.seek(this.time + passed * this.speed);
    return { index: this.index, time: this.recorded ? this.time : 0, follow: true };
  }
}
