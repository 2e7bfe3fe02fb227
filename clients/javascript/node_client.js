// node node_client.js [ws://127.0.0.1:8080/ws] [--key KEY] [--frames 60] [--size 512] [--out frame.png]
// Walks around whoever moves on the server, says how fast that went, and writes the last picture.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { orbit } from "./cameras.js";
import { DinarClient } from "./client.js";
import { RAW } from "./dinar.js";
import { pictureOf } from "./planes.js";
import { png } from "./png.js";

const {
  values: args,
  positionals: [url = "ws://127.0.0.1:8080/ws"],
} = parseArgs({
  allowPositionals: true,
  options: {
    key: { type: "string", default: "" },
    frames: { type: "string", default: "60" },
    size: { type: "string", default: "512" },
    out: { type: "string", default: "frame.png" },
  },
});
const count = Number(args.frames),
  size = Number(args.size),
  latencies = [];
const client = new DinarClient(url, { key: args.key, name: "node", onframe: (_, { latencyMs }) => latencies.push(latencyMs) });
const caps = await client.ready;
console.log(`${caps.name}: ${caps.description ?? ""}`);

// JPEG is for browsers, which can decode it; node has to ask for pixels. Straight colour is what a PNG wants.
const format = { color: RAW, straight: true },
  began = performance.now();
let frame = null;
for (let i = 0; i < count; i++) {
  frame = (await client.ask({ cameras: [orbit(caps, (2 * Math.PI * i) / count, size, size)], source: { follow: true }, format })) ?? frame;
}
const seconds = (performance.now() - began) / 1000;
client.close();

latencies.sort((a, b) => a - b);
console.log(
  `${latencies.length} frames, ${(latencies.length / seconds).toFixed(1)} fps, ` +
    `latency p50 ${latencies[latencies.length >> 1].toFixed(1)} ms`,
);
const [view] = frame.views;
writeFileSync(args.out, png(pictureOf(view, view.color.data, null, frame), size, size));
console.log(`${args.out}: ${size}x${size}`);
