// node golden.js FOLDER: the JavaScript codec against the golden messages. Prints "N messages"; throws at the first that differs.
import { deepStrictEqual, ok, rejects, strictEqual, throws } from "node:assert";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ProtocolError, decode, encode } from "../../clients/javascript/dinar.js";
import { alphaOf, depthOf, pictureOf } from "../../clients/javascript/planes.js";

const folder = process.argv[2];
// Whole numbers beyond 2^53 would be rounded: those of the times and ids become BigInt before JSON.parse sees them.
const big = /"(id|\w+_ns)": (\d+)/g;
const values = JSON.parse(readFileSync(join(folder, "values.json"), "utf8").replace(big, '"$1": "n$2"'), (_, v) =>
  typeof v === "string" && /^n\d+$/.test(v) ? BigInt(v.slice(1)) : v,
);
const read = (name) => new Uint8Array(readFileSync(join(folder, `${name}.bin`)));

const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const renamed = (o) =>
  Array.isArray(o)
    ? o.map(renamed)
    : o && typeof o === "object"
      ? Object.fromEntries(Object.entries(o).map(([k, v]) => [camel(k), renamed(v)]))
      : o;
const plane = (p) => p && { encoding: p.encoding, data: Uint8Array.from(Buffer.from(p.hex, "hex")) };
const f32 = (v) => Float32Array.from(v);

/** The message that values.json describes, as decode() returns it. */
function expected(kind, v) {
  const info = v.info,
    message = { type: kind, session: 0, ...renamed({ ...v, info: null }) };
  if (info) message.info = info;
  else delete message.info;
  if (kind === "caps") message.id ??= 0n;
  if (kind === "render") {
    Object.assign(message, { avatar: message.avatar ?? "", renderer: message.renderer ?? null, source: message.source ?? null, cameras: message.cameras.map(camera) });
    message.format = { background: null, margin: 0, near: 0, far: 0, ...message.format };
    if (message.pose)
      message.pose = { body: f32(message.pose.body), transl: f32(message.pose.transl), expression: f32(message.pose.expression) };
  }
  if (kind === "frame") {
    Object.assign(message, { background: message.background ?? null, sourceTimeNs: message.sourceTimeNs ?? null, rendered: message.rendered ?? null });
    message.views = message.views.map(({ rect: [x, y, width, height], ...view }) => ({
      camera: camera(view.camera),
      rect: { x, y, width, height },
      color: plane(view.color),
      alpha: plane(view.alpha),
      depth: plane(view.depth),
    }));
  }
  return message;
}

const camera = (c) => ({
  ...c,
  ...Object.fromEntries(
    Object.entries(c)
      .filter(([, v]) => Array.isArray(v))
      .map(([k, v]) => [k, f32(v)]),
  ),
});
/** Buffers and subarrays compare as plain bytes. */
const plain = (o) =>
  o instanceof Uint8Array
    ? Uint8Array.from(o)
    : o instanceof Float32Array || o === null || typeof o !== "object"
      ? o
      : Array.isArray(o)
        ? o.map(plain)
        : Object.fromEntries(Object.entries(o).map(([k, v]) => [k, plain(v)]));

const seen = new Set();
for (const [name, { kind, values: v }] of Object.entries(values)) {
  const raw = read(name),
    message = decode(raw);
  deepStrictEqual(plain(message), expected(kind, v), name);
  const again = encode(message);
  // JSON may be written in several ways.
  if (kind === "hello" || kind === "caps") deepStrictEqual(plain(decode(again)), plain(message), name);
  else deepStrictEqual(plain(again), raw, name);
  for (let n = 0; n < raw.length; n++) throws(() => decode(raw.subarray(0, n)), ProtocolError, `${name} cut to ${n}`);
  throws(() => decode(Uint8Array.from([...raw, 0])), ProtocolError);
  const offset = new Uint8Array(raw.length + 3);
  offset.set(raw, 3);
  deepStrictEqual(plain(decode(offset.subarray(3))), plain(message), "wherever it lies in memory");
  seen.add(kind);
}
strictEqual(seen.size, 9);
strictEqual(Object.keys(values).length, readdirSync(folder).filter((f) => f.endsWith(".bin")).length);

// ---- planes: what they decode to

for (const [name, { values: v, decoded }] of Object.entries(values)) {
  if (!decoded) continue;
  for (const [i, view] of decode(read(name)).views.entries()) {
    const want = decoded.views?.[i] ?? decoded,
      alpha = await alphaOf(view),
      depth = await depthOf(view);
    if (want.alpha)
      ok(
        alpha.every((a, at) => Math.abs(a - want.alpha.flat()[at]) <= 1),
        `${name}: alpha`,
      );
    if (want.depth)
      ok(
        depth.every((d, at) => Math.abs(d - want.depth.flat()[at]) <= 1e-5 * want.depth.flat()[at]),
        `${name}: depth`,
      );
    ok(want.alpha || want.depth);
    strictEqual(alpha.length, v.views[i].rect[2] * v.views[i].rect[3]);
  }
}

const [jpeg] = decode(read("frame_jpeg")).views,
  alpha = await alphaOf(jpeg),
  depth = await depthOf(jpeg);
strictEqual(alpha.length, 40 * 32);
ok(alpha.some((a) => a === 255) && alpha.some((a) => a === 0));
ok(depth.length === 40 * 32 && depth.every((d) => d === 0 || (d > 0 && d < 100)));
const [half] = decode(read("frame_half")).views;
const difference = (await alphaOf(half)).reduce((sum, a, i) => sum + Math.abs(a - alpha[i]), 0) / alpha.length;
ok(difference < 12, `half alpha of the same picture, off by ${difference}`);
for (const size of [10, 1 << 20]) {
  await rejects(alphaOf({ ...jpeg, rect: { x: 0, y: 0, width: size, height: 1 } }), ProtocolError, "an alpha plane of another size");
}
await rejects(alphaOf({ ...jpeg, alpha: { encoding: 2, data: Uint8Array.of(1, 2, 3) } }), ProtocolError);

const raw = decode(read("frame_raw")),
  [first] = raw.views,
  picture = pictureOf(first, first.color.data, null, raw);
deepStrictEqual(
  [...picture.subarray(0, 12)],
  [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7],
  "the first row of 3 pixels, the rect begins in its second",
);
const grey = new Uint8Array(4 * 40 * 32).fill(200),
  drawn = pictureOf(jpeg, grey, alpha, { straight: false, background: null });
ok(
  drawn.every((value, at) => value <= drawn[at | 3]),
  "premultiplied colour is not above alpha",
);
strictEqual(drawn.length, 4 * 40 * 36);

// ---- whatever a byte is changed to, nothing but ProtocolError comes out, from the planes too

let seed = 1;
const random = (below) => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % below;
let survived = 0;
for (const name of Object.keys(values)) {
  for (let n = 0; n < 1500; n++) {
    const changed = read(name);
    for (let k = 0; k < 3; k++) changed[random(changed.length)] = random(7) ? random(256) : [0, 1, 127, 128, 255][random(5)];
    try {
      const message = decode(changed);
      survived++;
      for (const view of message.views ?? []) {
        if (view.rect.width * view.rect.height > 1 << 16) continue;
        await alphaOf(view);
        await depthOf(view);
      }
    } catch (error) {
      ok(error instanceof ProtocolError, `${name}: ${error.stack}`);
    }
  }
}
ok(survived > 5000);

// ---- what is refused before it is sent

for (const wrong of [
  { type: "nonsense" },
  { type: "render", id: 1, cameras: [] },
  { type: "render", id: 1, cameras: [{ K: [1], worldToCamera: [], width: 1, height: 1 }] },
  { type: "hello", info: { text: "x".repeat(17000) } },
])
  throws(() => encode(wrong), RangeError);

console.log(`${Object.keys(values).length} messages`);
