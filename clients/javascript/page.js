// index.html?server=ws://127.0.0.1:8080/ws#key=KEY: the avatar on a canvas without a background, seen from a camera that swings a little.
import { orbit } from "./cameras.js";
import { DinarClient } from "./client.js";
import { Painter } from "./paint.js";

const WIDTH = 384,
  HEIGHT = 640,
  state = document.getElementById("state"),
  painter = new Painter(document.getElementById("view"));
const url = new URLSearchParams(location.search).get("server") ?? "ws://127.0.0.1:8080/ws";
const key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
const client = new DinarClient(url, {
  key,
  name: "example page",
  onstate: (now) => {
    state.textContent = now === "ready" ? "" : `(${now} ...)`;
  },
  onerror: (error) => {
    state.textContent = `(${error.message})`;
  },
});

async function turn(ms) {
  if (client.caps) {
    try {
      const camera = orbit(client.caps, 0.5 * Math.sin(ms / 2000), WIDTH, HEIGHT);
      const frame = await client.ask({ cameras: [camera], source: { follow: true } });
      if (frame) {
        await painter.paint(frame.views[0]);
        document.documentElement.dataset.frames = Number(document.documentElement.dataset.frames ?? 0) + 1;
      }
    } catch (error) {
      state.textContent = `(${error.message})`;
    }
  }
  requestAnimationFrame(turn);
}
requestAnimationFrame(turn);
