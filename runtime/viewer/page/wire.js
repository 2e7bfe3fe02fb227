// The streaming protocol, version 1 (docs/protocol.md): what the page says, and what it hears.

export const Type = { HELLO: 1, CAPS: 2, RENDER: 3, FRAME: 4, SUPERSEDED: 5, ERROR: 6, BYE: 7, TIME: 8, DESCRIBE: 9 };
export const Block = { JSON: 1, CAMERA: 2, FORMAT: 6, SOURCE: 7, AVATAR: 8, COLOR: 16, ALPHA: 17, TIMING: 19, ERROR: 20, RECT: 21 };
export const Code = { HELLO_REQUIRED: 4, CLIENTS: 8, UNKNOWN_AVATAR: 12 };
export const JPEG = 1, RAW = 2, NO_PLANE = 0, RAW_PLANE = 1, DEFLATE_PLANE = 2;

const MAGIC = 0x4c524e44, VERSION = 1, HEADER = 64, STRAIGHT = 1;
const text = new TextDecoder(), bytes = new TextEncoder();

/** One message from blocks [[type, format, Uint8Array], ...]. */
function pack(type, blocks = [], { id = 0n, time = 0n } = {}) {
  const sizes = blocks.map(([, , data]) => 8 + Math.ceil(data.length / 8) * 8);
  const body = sizes.reduce((sum, size) => sum + size, 0), out = new Uint8Array(HEADER + body), view = new DataView(out.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, VERSION, true);
  view.setUint16(6, type, true);
  view.setUint16(12, HEADER, true);
  view.setUint16(14, blocks.length, true);
  view.setBigUint64(16, id, true);
  view.setBigUint64(24, time, true);
  view.setUint32(48, body, true);
  let at = HEADER;
  blocks.forEach(([kind, format, data], i) => {
    view.setUint16(at, kind, true);
    view.setUint16(at + 2, format, true);
    view.setUint32(at + 4, data.length, true);
    out.set(data, at + 8);
    at += sizes[i];
  });
  return out;
}

export const hello = (info) => pack(Type.HELLO, [[Block.JSON, 1, bytes.encode(JSON.stringify(info))]]);
export const bye = () => pack(Type.BYE);
export const describe = (id, avatar) => pack(Type.DESCRIBE, [[Block.AVATAR, 1, bytes.encode(avatar)]], { id });
export const time = (now) => pack(Type.TIME, [], { time: now });

/**
 * A picture asked for. id and time: BigInt; camera: {K: 9 numbers, worldToCamera: 16 numbers, row-major}; format: {color, quality, alpha};
 * source: {index, time in seconds, follow}; avatar: a name, "" = the server's first.
 */
export function render({ id, time, camera, width, height, format, source, avatar }) {
  const view = new DataView(new ArrayBuffer(104)), form = new DataView(new ArrayBuffer(8)), moves = new DataView(new ArrayBuffer(16));
  [...camera.K, ...camera.worldToCamera].forEach((value, i) => view.setFloat32(4 * i, value, true));
  view.setUint16(100, width, true);
  view.setUint16(102, height, true);
  form.setUint8(0, format.color);
  form.setUint8(1, format.quality);
  form.setUint8(2, format.alpha);
  moves.setUint16(0, source.index, true);
  moves.setUint16(2, source.follow ? 1 : 0, true);
  moves.setFloat64(8, source.time, true);
  const blocks = [[Block.CAMERA, 1, view], [Block.FORMAT, 1, form], [Block.SOURCE, 1, moves]].map(
    ([kind, format, data]) => [kind, format, new Uint8Array(data.buffer)]);
  if (avatar) blocks.push([Block.AVATAR, 1, bytes.encode(avatar)]);
  return pack(Type.RENDER, blocks, { id, time });
}

/** The blocks of a message whose lengths sum up, as {type, format, data}; unknown ones are the reader's to skip. */
function unpack(data, view, count, at) {
  const blocks = [];
  for (let i = 0; i < count; i++) {
    if (at + 8 > data.length) throw new Error("a block starts behind the message");
    const length = view.getUint32(at + 4, true), next = at + 8 + Math.ceil(length / 8) * 8;
    if (next > data.length) throw new Error("a block is longer than the message");
    blocks.push({ type: view.getUint16(at, true), format: view.getUint16(at + 2, true), data: data.subarray(at + 8, at + 8 + length) });
    at = next;
  }
  if (at !== data.length) throw new Error("bytes after the last block");
  return blocks;
}

const viewOf = (data) => new DataView(data.buffer, data.byteOffset, data.byteLength);

/** What a server said: type, id, times (BigInt), and by type info, code and text, or straight, picture and timings. Throws Error. */
export function decode(buffer) {
  const data = new Uint8Array(buffer), view = new DataView(buffer);
  if (data.length < HEADER || view.getUint32(0, true) !== MAGIC) throw new Error("not a dinar-live message");
  if (view.getUint16(4, true) !== VERSION) throw new Error(`protocol version ${view.getUint16(4, true)}, this page speaks ${VERSION}`);
  const start = view.getUint16(12, true);
  if (start < HEADER || start % 8 || start + view.getUint32(48, true) !== data.length) throw new Error("the lengths do not sum up");
  const message = {
    type: view.getUint16(6, true), id: view.getBigUint64(16, true), clientTime: view.getBigUint64(24, true),
    received: view.getBigUint64(32, true), sent: view.getBigUint64(40, true), straight: (view.getUint32(8, true) & STRAIGHT) !== 0,
  };
  const blocks = unpack(data, view, view.getUint16(14, true), start);
  const find = (type) => blocks.find((block) => block.type === type);
  if (message.type === Type.CAPS) message.info = JSON.parse(text.decode(find(Block.JSON).data));
  if (message.type === Type.ERROR) {
    const { data: error } = find(Block.ERROR);
    message.code = viewOf(error).getUint32(0, true);
    message.text = text.decode(error.subarray(4));
  }
  if (message.type === Type.FRAME) {
    message.picture = picture(blocks);
    message.timings = timings(find(Block.TIMING));
  }
  return message;
}

/** Of the first camera: the whole picture's width and height, rect {x, y, width, height} and what is in it: color and alpha blocks. */
function picture(blocks) {
  const found = {};
  for (const block of blocks) {
    if (block.type === Block.CAMERA && found.camera) break;         // the second eye
    const name = { [Block.CAMERA]: "camera", [Block.RECT]: "rect", [Block.COLOR]: "color", [Block.ALPHA]: "alpha" }[block.type];
    if (name) found[name] = block;
  }
  if (!found.camera || !found.color) throw new Error("a frame without a picture");
  const camera = viewOf(found.camera.data), end = camera.byteLength;       // whatever form the camera has, the size comes last
  const width = camera.getUint16(end - 4, true), height = camera.getUint16(end - 2, true);
  const [x, y, w, h] = found.rect ? [0, 2, 4, 6].map((at) => viewOf(found.rect.data).getUint16(at, true)) : [0, 0, width, height];
  if (!w || !h || x + w > width || y + h > height) throw new Error("a rectangle that reaches out of its picture");
  return { width, height, rect: { x, y, width: w, height: h }, color: found.color, alpha: found.alpha };
}

function timings(block) {
  const entries = {};
  for (let at = 0; block && at + 16 <= block.data.length; at += 16) {
    const name = text.decode(block.data.subarray(at, at + 12)).replace(/\0+$/, "");
    entries[name] = viewOf(block.data).getFloat32(at + 12, true);
  }
  return entries;
}
