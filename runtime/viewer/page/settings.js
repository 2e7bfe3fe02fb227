// What is remembered from visit to visit, and the sizes of pictures.

const KEPT = { backdrop: "studio", own: "#7a5cff", quality: "85", rate: 30, shape: "window", height: null };
const CHOICES = {
  backdrop: ["studio", "checker", "light", "black", "green", "own"], quality: ["60", "85", "95", "raw"], rate: [15, 30, 60],
  shape: ["window", "server"],
};
const HEIGHTS = [256, 384, 512, 768, 1024, 1536], SHAPES = 4, NARROWEST = 0.5, WIDEST = 2.25;

/** Properties of KEPT; each change is stored. */
export class Settings {
  constructor() {
    let stored = {};
    try { stored = JSON.parse(localStorage.getItem("dinar") ?? "{}") ?? {}; } catch { /* no storage: settings last as long as the page */ }
    for (const [name, value] of Object.entries(KEPT)) {
      let now = stored[name] ?? value;
      if (CHOICES[name] && !CHOICES[name].includes(now)) now = value;
      Object.defineProperty(this, name, {
        get: () => now,
        set: (next) => { now = next; this.#keep(); },
      });
    }
  }

  #keep() {
    const values = Object.fromEntries(Object.keys(KEPT).map((name) => [name, this[name]]));
    try { localStorage.setItem("dinar", JSON.stringify(values)); } catch { /* see above */ }
  }
}

/** The heights of pictures to choose from: what the server allows, and its own. */
export function heights({ size, limits }) {
  const most = limits?.max_pixels ?? 1024 * 1024, own = size?.[0] ?? 512;
  return [...new Set([...HEIGHTS, own])].filter((height) => height * height <= most).sort((a, b) => a - b);
}

/** {width, height} of the pictures to ask for, on a stage of this size. Few shapes, because each size costs the server a renderer. */
export function fitting({ shape, height }, { size = [512, 512], limits }, stageWidth, stageHeight) {
  const own = size[1] / size[0], most = limits?.max_pixels ?? 1024 * 1024;
  const wanted = shape === "server" || !stageHeight ? own : Math.min(Math.max(stageWidth / stageHeight, NARROWEST), WIDEST);
  const aspect = shape === "server" ? own : Math.ceil(wanted * SHAPES) / SHAPES;
  let high = Math.min(height ?? size[0], Math.max(...heights({ size, limits })));
  while (high * high * aspect > most) high = Math.floor(high / 2);
  return { width: Math.max(Math.round(high * aspect), 1), height: high };
}
