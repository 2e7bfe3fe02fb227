// The messages of dinar-live as plain objects, to bytes and back; docs/protocol.md holds every byte. For node and browsers, no dependencies.
//
//   decode(bytes)   -> {type: "frame", id: 7n, views: [...], ...}; arrays and planes may be views of `bytes`
//   encode(message) -> Uint8Array
//
// 64-bit numbers (id and the times, in nanoseconds) are BigInt; encode() takes whole numbers too. Typed arrays are read in the machine's
// byte order, which is little-endian wherever JavaScript runs today.

export const PROTOCOL = 1,
  HEADER_SIZE = 64,
  JOINTS = 55;
/** Colour encodings. */
export const JPEG = 1,
  RAW = 2;
/** Encodings of alpha and depth: a byte or a float for each pixel, as they are or deflated. */
export const NONE = 0,
  PLAIN = 1,
  DEFLATE = 2;
/** Alpha with one byte for 2 x 2 pixels. */
export const HALF = 3,
  HALF_DEFLATE = 4;
/** Depth as near, far and 16-bit inverse depth. */
export const INVERSE = 3,
  INVERSE_DEFLATE = 4;

export const Code = Object.freeze({
  MALFORMED: 1,
  VERSION: 2,
  UNEXPECTED: 3,
  HELLO_REQUIRED: 4,
  ENCODING: 5,
  LIMIT: 6,
  BAD_ID: 7,
  CLIENTS: 8,
  REFUSED: 9,
  RENDER_FAILED: 10,
  CLOSING: 11,
  UNKNOWN_AVATAR: 12,
  RATE: 13,
});

const TYPES = ["", "hello", "caps", "render", "frame", "superseded", "error", "bye", "time", "describe"];
const BLOCK = Object.freeze({
  JSON: 1,
  CAMERA: 2,
  POSE: 3,
  TRANSL: 4,
  EXPRESSION: 5,
  FORMAT: 6,
  SOURCE: 7,
  AVATAR: 8,
  COLOR: 16,
  ALPHA: 17,
  DEPTH: 18,
  TIMING: 19,
  ERROR: 20,
  RECT: 21,
  BACKGROUND: 22,
  SOURCE_TIME: 23,
});
const MAGIC = 0x4c524e44,
  MAX_BLOCKS = 32,
  MAX_CAMERAS = 2,
  MAX_JSON = 16384,
  STRAIGHT = 1,
  OVER_BACKGROUND = 2,
  FOLLOW = 1;
const utf8 = new TextEncoder(),
  text = new TextDecoder();
const strictText = new TextDecoder("utf-8", { fatal: true });

/** Bytes that are no message. */
export class ProtocolError extends Error {}

// ---- writing

/**
 * The bytes of a message. Fields left out have their defaults:
 *   hello       info
 *   describe    id, avatar = ""
 *   render      id, cameras = [camera] or a pair, pose | source, avatar = "", format, poseTimeNs = 0
 *     camera    {K: [9], worldToCamera: [16], width, height} or {position: [3], orientation: [4], fov: [4], width, height}
 *     pose      {body: [165], transl: [3], expression: [up to 100]};   source {index = 0, time = 0, follow = false}
 *     format    {color = JPEG, quality = 85, alpha = DEFLATE, depth = NONE, straight = false, background: [r, g, b] | null,
 *                margin = 0, near = 0, far = 0}
 *   time        id = 0, clientNs
 *   bye
 * and what only servers send (caps, frame, superseded, error). Throws RangeError for what does not fit.
 */
export function encode(message) {
  switch (message.type) {
    case "hello":
      return pack(message, [jsonBlock(message.info)]);
    case "caps":
      return pack(message, [jsonBlock(message.info)], { id: message.id });
    case "describe":
      return pack(message, message.avatar ? [[BLOCK.AVATAR, 1, utf8.encode(message.avatar)]] : [], { id: message.id });
    case "render":
      return pack(message, renderBlocks(message), { id: message.id, client: message.poseTimeNs });
    case "frame":
      return pack(message, frameBlocks(message), {
        id: message.id,
        client: message.poseTimeNs,
        received: message.serverRecvNs,
        sent: message.serverSendNs,
        flags: message.straight ? STRAIGHT : 0,
      });
    case "superseded":
      return pack(message, [], { id: message.id, client: message.poseTimeNs });
    case "error": {
      const words = utf8.encode(message.text).subarray(0, 500),
        data = new Uint8Array(4 + words.length);
      new DataView(data.buffer).setUint32(0, message.code, true);
      data.set(words, 4);
      return pack(message, [[BLOCK.ERROR, 1, data]], { id: message.id, client: message.poseTimeNs });
    }
    case "time":
      return pack(message, [], { id: message.id, client: message.clientNs, received: message.serverRecvNs, sent: message.serverSendNs });
    case "bye":
      return pack(message, []);
    default:
      throw new RangeError(`message type ${message.type} is not known, expected one of ${TYPES.slice(1).join(", ")}`);
  }
}

function pack({ type, session = 0 }, blocks, { id = 0, client = 0, received = 0, sent = 0, flags = 0 } = {}) {
  const body = blocks.reduce((sum, [, , data]) => sum + 8 + ((data.length + 7) & ~7), 0);
  const out = new Uint8Array(HEADER_SIZE + body),
    view = new DataView(out.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, PROTOCOL, true);
  view.setUint16(6, TYPES.indexOf(type), true);
  view.setUint32(8, flags, true);
  view.setUint16(12, HEADER_SIZE, true);
  view.setUint16(14, blocks.length, true);
  [id, client, received, sent].forEach((value, i) => view.setBigUint64(16 + 8 * i, BigInt(value ?? 0), true));
  view.setUint32(48, body, true);
  view.setUint32(52, session, true);
  let at = HEADER_SIZE;
  for (const [block, format, data] of blocks) {
    view.setUint16(at, block, true);
    view.setUint16(at + 2, format, true);
    view.setUint32(at + 4, data.length, true);
    out.set(data, at + 8);
    at += 8 + ((data.length + 7) & ~7);
  }
  return out;
}

function jsonBlock(info) {
  const data = utf8.encode(JSON.stringify(info));
  if (data.length > MAX_JSON) throw new RangeError(`info: ${data.length} bytes of JSON, at most ${MAX_JSON} are allowed`);
  return [BLOCK.JSON, 1, data];
}

/** Fills `size` bytes with a DataView. */
function bytes(size, fill) {
  const data = new Uint8Array(size);
  fill(new DataView(data.buffer));
  return data;
}

function floats(name, values, count, view, at) {
  if (values?.length !== count) throw new RangeError(`${name}: got ${values?.length} numbers, expected ${count}`);
  for (let i = 0; i < count; i++) view.setFloat32(at + 4 * i, values[i], true);
}

function cameraBlock(camera) {
  const openxr = camera.fov !== undefined,
    count = openxr ? 11 : 25;
  const data = bytes(4 * count + 4, (view) => {
    if (openxr) {
      floats("camera.position", camera.position, 3, view, 0);
      floats("camera.orientation", camera.orientation, 4, view, 12);
      floats("camera.fov", camera.fov, 4, view, 28);
    } else {
      floats("camera.K", camera.K, 9, view, 0);
      floats("camera.worldToCamera", camera.worldToCamera, 16, view, 36);
    }
    view.setUint16(4 * count, camera.width, true);
    view.setUint16(4 * count + 2, camera.height, true);
  });
  return [BLOCK.CAMERA, openxr ? 2 : 1, data];
}

function renderBlocks({ cameras, pose, source, avatar, format = {} }) {
  if (!(cameras?.length >= 1 && cameras.length <= MAX_CAMERAS))
    throw new RangeError(`cameras: got ${cameras?.length}, expected 1 or ${MAX_CAMERAS}`);
  if (pose && source) throw new RangeError("pose and source: got both, expected one of them or none");
  const blocks = cameras.map(cameraBlock);
  if (avatar) blocks.push([BLOCK.AVATAR, 1, utf8.encode(avatar)]);
  if (pose) {
    blocks.push([BLOCK.POSE, 1, bytes(12 * JOINTS, (view) => floats("pose.body", pose.body, 3 * JOINTS, view, 0))]);
    blocks.push([BLOCK.TRANSL, 1, bytes(12, (view) => floats("pose.transl", pose.transl ?? [0, 0, 0], 3, view, 0))]);
    const expression = pose.expression ?? [];
    if (expression.length > 100) throw new RangeError(`pose.expression: got ${expression.length} numbers, expected at most 100`);
    if (expression.length) {
      blocks.push([
        BLOCK.EXPRESSION,
        1,
        bytes(4 * expression.length, (view) => floats("pose.expression", expression, expression.length, view, 0)),
      ]);
    }
  }
  if (source) {
    blocks.push([
      BLOCK.SOURCE,
      1,
      bytes(16, (view) => {
        view.setUint16(0, source.index ?? 0, true);
        view.setUint16(2, source.follow ? FOLLOW : 0, true);
        view.setFloat64(8, source.time ?? 0, true);
      }),
    ]);
  }
  blocks.push(formatBlock(format));
  return blocks;
}

function formatBlock({
  color = JPEG,
  quality = 85,
  alpha = color === JPEG ? DEFLATE : NONE,
  depth = NONE,
  straight = false,
  background = null,
  margin = 0,
  near = 0,
  far = 0,
}) {
  const long = Boolean(background || margin || near || far);
  return [
    BLOCK.FORMAT,
    long ? 2 : 1,
    bytes(long ? 24 : 8, (view) => {
      [color, quality, background ? NONE : alpha, depth].forEach((value, i) => view.setUint8(i, value));
      view.setUint32(4, (straight ? STRAIGHT : 0) | (background ? OVER_BACKGROUND : 0), true);
      if (!long) return;
      (background ?? [0, 0, 0]).forEach((value, i) => view.setUint8(8 + i, value));
      view.setUint16(12, margin, true);
      view.setFloat32(16, near, true);
      view.setFloat32(20, far, true);
    }),
  ];
}

function frameBlocks({ views, timings = {}, background, sourceTimeNs }) {
  const blocks = [];
  if (background) blocks.push([BLOCK.BACKGROUND, 1, Uint8Array.from([...background, 0])]);
  if (sourceTimeNs !== undefined && sourceTimeNs !== null) {
    blocks.push([BLOCK.SOURCE_TIME, 1, bytes(8, (view) => view.setBigUint64(0, BigInt(sourceTimeNs), true))]);
  }
  for (const { camera, rect, color, alpha, depth } of views) {
    blocks.push(
      cameraBlock(camera),
      [
        BLOCK.RECT,
        1,
        bytes(8, (view) => {
          [rect.x, rect.y, rect.width, rect.height].forEach((value, i) => view.setUint16(2 * i, value, true));
        }),
      ],
      [BLOCK.COLOR, color.encoding, color.data],
    );
    if (alpha) blocks.push([BLOCK.ALPHA, alpha.encoding, alpha.data]);
    if (depth) blocks.push([BLOCK.DEPTH, depth.encoding, depth.data]);
  }
  const entries = Object.entries(timings);
  blocks.push([
    BLOCK.TIMING,
    1,
    bytes(16 * entries.length, (view) =>
      entries.forEach(([name, ms], i) => {
        [...name.slice(0, 12)].forEach((letter, j) => view.setUint8(16 * i + j, letter.charCodeAt(0)));
        view.setFloat32(16 * i + 12, ms, true);
      }),
    ),
  ]);
  return blocks;
}

// ---- reading

/** The message in `data` (Uint8Array or ArrayBuffer). Throws ProtocolError. */
export function decode(data) {
  const raw = data instanceof Uint8Array ? data : new Uint8Array(data);
  if (raw.length < HEADER_SIZE) throw new ProtocolError(`message of ${raw.length} bytes, expected at least ${HEADER_SIZE}`);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength),
    u64 = (at) => view.getBigUint64(at, true);
  const version = view.getUint16(4, true),
    start = view.getUint16(12, true);
  if (view.getUint32(0, true) !== MAGIC) throw new ProtocolError("this is not a dinar-live message");
  if (version !== PROTOCOL) throw new ProtocolError(`protocol version ${version}, expected ${PROTOCOL}: update the older side`);
  if (start < HEADER_SIZE || start % 8 || start + view.getUint32(48, true) !== raw.length)
    throw new ProtocolError("the lengths do not sum up");
  const type = TYPES[view.getUint16(6, true)],
    session = view.getUint32(52, true),
    id = u64(16),
    client = u64(24);
  const blocks = readBlocks(raw, view, start, view.getUint16(14, true));
  switch (type) {
    case "hello":
      return { type, info: readJson(blocks), session };
    case "caps":
      return { type, id, info: readJson(blocks), session };
    case "describe":
      return { type, id, avatar: readName(blocks), session };
    case "render":
      return { type, id, poseTimeNs: client, session, ...readRender(blocks) };
    case "frame":
      return {
        type,
        id,
        poseTimeNs: client,
        serverRecvNs: u64(32),
        serverSendNs: u64(40),
        session,
        straight: Boolean(view.getUint32(8, true) & STRAIGHT),
        ...readFrame(blocks),
      };
    case "superseded":
      return { type, id, poseTimeNs: client, session };
    case "error": {
      const block = find(blocks, BLOCK.ERROR, "ERROR");
      if (block.data.length < 4 || block.data.length > 504) throw new ProtocolError(`ERROR: ${block.data.length} bytes, expected 4..504`);
      return { type, id, code: block.view.getUint32(0, true), text: text.decode(block.data.subarray(4)), poseTimeNs: client, session };
    }
    case "bye":
      return { type, session };
    case "time":
      return { type, id, clientNs: client, serverRecvNs: u64(32), serverSendNs: u64(40), session };
    default:
      throw new ProtocolError(`message type ${view.getUint16(6, true)} is not known`);
  }
}

function readBlocks(raw, view, at, count) {
  if (count > MAX_BLOCKS) throw new ProtocolError(`${count} blocks, at most ${MAX_BLOCKS} are allowed`);
  const blocks = [];
  for (let i = 0; i < count; i++) {
    const length = at + 8 <= raw.length ? view.getUint32(at + 4, true) : Infinity,
      end = at + 8 + length,
      padded = Math.ceil(end / 8) * 8;
    if (!(padded <= raw.length)) throw new ProtocolError(`block ${i} of ${count} reaches beyond the message`);
    for (let j = end; j < padded; j++) if (raw[j]) throw new ProtocolError(`block ${i}: the padding is not zero`);
    const data = raw.subarray(at + 8, end);
    blocks.push({
      type: view.getUint16(at, true),
      format: view.getUint16(at + 2, true),
      data,
      view: new DataView(data.buffer, data.byteOffset, length),
    });
    at = padded;
  }
  if (at !== raw.length) throw new ProtocolError(`${raw.length - at} bytes after the last block`);
  return blocks;
}

function find(blocks, type, name) {
  const block = blocks.find((b) => b.type === type);
  if (!block) throw new ProtocolError(`no ${name} block`);
  return expect(block, name);
}

/** A block whose format, and length where it is fixed, are as they must be. */
function expect(block, name, length = null, format = 1) {
  if (block.format !== format) throw new ProtocolError(`${name}: encoding ${block.format} is not known, expected ${format}`);
  if (length !== null && block.data.length !== length) throw new ProtocolError(`${name}: ${block.data.length} bytes, expected ${length}`);
  return block;
}

function readJson(blocks) {
  const { data } = find(blocks, BLOCK.JSON, "JSON");
  if (data.length > MAX_JSON) throw new ProtocolError(`JSON: ${data.length} bytes, at most ${MAX_JSON} are allowed`);
  let info = null;
  try {
    info = JSON.parse(strictText.decode(data));
  } catch {
    /* told below */
  }
  if (info === null || typeof info !== "object" || Array.isArray(info)) throw new ProtocolError("JSON: expected a UTF-8 JSON object");
  return info;
}

function readName(blocks) {
  const block = blocks.find((b) => b.type === BLOCK.AVATAR);
  return block ? text.decode(expect(block, "AVATAR").data) : "";
}

function readFloats(name, block, count, at = 0) {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = block.view.getFloat32(at + 4 * i, true);
  if (!values.every(Number.isFinite)) throw new ProtocolError(`${name}: a value is NaN or infinite`);
  return values;
}

function readCamera(block) {
  const openxr = block.format === 2,
    count = openxr ? 11 : 25;
  expect(block, "CAMERA", 4 * count + 4, openxr ? 2 : 1);
  const values = readFloats("CAMERA", block, count),
    width = block.view.getUint16(4 * count, true),
    height = block.view.getUint16(4 * count + 2, true);
  if (!width || !height) throw new ProtocolError(`CAMERA: size ${width}x${height}, expected at least 1 pixel a side`);
  if (openxr) return { position: values.slice(0, 3), orientation: values.slice(3, 7), fov: values.slice(7), width, height };
  return { K: values.slice(0, 9), worldToCamera: values.slice(9), width, height };
}

function readRender(blocks) {
  const cameras = blocks.filter((b) => b.type === BLOCK.CAMERA).map(readCamera),
    one = new Map(blocks.map((b) => [b.type, b]));
  if (!cameras.length || cameras.length > MAX_CAMERAS)
    throw new ProtocolError(`RENDER: ${cameras.length} cameras, expected 1 or ${MAX_CAMERAS}`);
  const request = {
    cameras,
    avatar: readName(blocks),
    pose: null,
    source: null,
    format: { color: JPEG, quality: 85, alpha: DEFLATE, depth: NONE, straight: false, background: null, margin: 0, near: 0, far: 0 },
  };
  if (one.has(BLOCK.POSE)) {
    const transl = one.get(BLOCK.TRANSL),
      expression = one.get(BLOCK.EXPRESSION);
    request.pose = {
      body: readFloats("POSE", expect(one.get(BLOCK.POSE), "POSE", 12 * JOINTS), 3 * JOINTS),
      transl: transl ? readFloats("TRANSL", expect(transl, "TRANSL", 12), 3) : new Float32Array(3),
      expression: expression
        ? readFloats("EXPRESSION", expect(expression, "EXPRESSION"), expression.data.length >> 2)
        : new Float32Array(0),
    };
  }
  if (one.has(BLOCK.SOURCE)) {
    const { view } = expect(one.get(BLOCK.SOURCE), "SOURCE", 16);
    request.source = { index: view.getUint16(0, true), time: view.getFloat64(8, true), follow: Boolean(view.getUint16(2, true) & FOLLOW) };
  }
  if (one.has(BLOCK.FORMAT)) {
    const block = one.get(BLOCK.FORMAT),
      long = block.format === 2,
      { view } = expect(block, "FORMAT", long ? 24 : 8, long ? 2 : 1);
    const [color, quality, alpha, depth] = block.data,
      flags = view.getUint32(4, true);
    Object.assign(request.format, { color, quality, alpha, depth, straight: Boolean(flags & STRAIGHT) });
    if (long) {
      Object.assign(request.format, {
        background: flags & OVER_BACKGROUND ? [...block.data.subarray(8, 11)] : null,
        margin: view.getUint16(12, true),
        near: view.getFloat32(16, true),
        far: view.getFloat32(20, true),
      });
    }
  }
  return request;
}

// Bytes of a plane of w x h pixels, by its encoding; null where it is compressed.
const half = (side) => (side + 1) >> 1;
const SIZES = {
  color: { [JPEG]: null, [RAW]: (w, h) => 4 * w * h },
  alpha: { [PLAIN]: (w, h) => w * h, [DEFLATE]: null, [HALF]: (w, h) => half(w) * half(h), [HALF_DEFLATE]: null },
  depth: { [PLAIN]: (w, h) => 4 * w * h, [DEFLATE]: null, [INVERSE]: (w, h) => 8 + 2 * w * h, [INVERSE_DEFLATE]: null },
};
const PLANES = { [BLOCK.COLOR]: "color", [BLOCK.ALPHA]: "alpha", [BLOCK.DEPTH]: "depth" };

function readFrame(blocks) {
  const frame = { views: [], timings: {}, background: null, sourceTimeNs: null };
  for (const block of blocks) {
    const last = frame.views.at(-1);
    switch (block.type) {
      case BLOCK.CAMERA: {
        const camera = readCamera(block);
        if (frame.views.length === MAX_CAMERAS) throw new ProtocolError(`FRAME: more than ${MAX_CAMERAS} views`);
        frame.views.push({
          camera,
          rect: { x: 0, y: 0, width: camera.width, height: camera.height },
          color: null,
          alpha: null,
          depth: null,
        });
        break;
      }
      case BLOCK.RECT: {
        const { view } = expect(block, "RECT", 8),
          [x, y, width, height] = [0, 2, 4, 6].map((at) => view.getUint16(at, true));
        if (!last || last.color || last.alpha || last.depth)
          throw new ProtocolError("FRAME: RECT without a CAMERA before it, or after a plane");
        if (!width || !height || x + width > last.camera.width || y + height > last.camera.height)
          throw new ProtocolError("RECT: it reaches out of the picture");
        last.rect = { x, y, width, height };
        break;
      }
      case BLOCK.COLOR:
      case BLOCK.ALPHA:
      case BLOCK.DEPTH: {
        const name = PLANES[block.type],
          size = SIZES[name][block.format];
        if (!last || last[name]) throw new ProtocolError(`FRAME: ${name} without a CAMERA before it, or twice`);
        if (size === undefined) throw new ProtocolError(`${name}: encoding ${block.format} is not known`);
        const expected = size?.(last.rect.width, last.rect.height) ?? block.data.length;
        if (block.data.length !== expected) throw new ProtocolError(`${name}: ${block.data.length} bytes, expected ${expected}`);
        last[name] = { encoding: block.format, data: block.data };
        break;
      }
      case BLOCK.BACKGROUND:
        frame.background = [...expect(block, "BACKGROUND", 4).data.subarray(0, 3)];
        break;
      case BLOCK.SOURCE_TIME:
        frame.sourceTimeNs = expect(block, "SOURCE_TIME", 8).view.getBigUint64(0, true);
        break;
      case BLOCK.TIMING:
        expect(block, "TIMING");
        if (block.data.length % 16 || block.data.length > 512)
          throw new ProtocolError(`TIMING: ${block.data.length} bytes, expected a multiple of 16 up to 512`);
        for (let at = 0; at < block.data.length; at += 16) {
          frame.timings[text.decode(block.data.subarray(at, at + 12)).replace(/\0+$/, "")] = block.view.getFloat32(at + 12, true);
        }
    }
  }
  if (!frame.views.length || frame.views.some((v) => !v.color)) throw new ProtocolError("FRAME: a view without CAMERA or COLOR");
  return frame;
}
