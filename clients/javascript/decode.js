// Bytes to messages; docs/protocol.md holds every byte. For node and browsers.
import {
  BACKGROUND_SIZE,
  BLOCK_SIZE,
  BlockType,
  DEFLATE,
  FOLLOW,
  FORMAT_SIZE,
  HALF,
  HALF_DEFLATE,
  HAS_BACKGROUND,
  HEADER_SIZE,
  INVERSE,
  INVERSE_DEFLATE,
  JOINTS,
  JPEG,
  LONG_FORMAT,
  LONG_FORMAT_SIZE,
  MAGIC,
  MATRIX_CAMERA,
  MATRIX_CAMERA_FLOATS,
  MAX_BLOCKS,
  MAX_CAMERAS,
  MAX_ERROR_TEXT,
  MAX_JSON,
  MAX_TIMINGS,
  MessageType,
  NEAR_FAR_SIZE,
  NONE,
  ONLY_FORMAT,
  OPENXR_CAMERA,
  OPENXR_CAMERA_FLOATS,
  PLAIN,
  PROTOCOL,
  RAW,
  RECT_SIZE,
  SCALE_SIZE,
  SHORT_FORMAT,
  SOURCE_SIZE,
  SOURCE_TIME_SIZE,
  STRAIGHT,
  TIMING_NAME_SIZE,
  TIMING_SIZE,
} from "./constants.js";

const TYPES = Object.fromEntries(Object.entries(MessageType).map(([name, number]) => [number, name.toLowerCase()])),
  text = new TextDecoder(),
  strictText = new TextDecoder("utf-8", { fatal: true });

/** Bytes that are no message. */
export class ProtocolError extends Error {}

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
      const block = find(blocks, BlockType.ERROR, "ERROR");
      const most = 4 + MAX_ERROR_TEXT;
      if (block.data.length < 4 || block.data.length > most)
        throw new ProtocolError(`ERROR: ${block.data.length} bytes, expected 4..${most}`);
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
    const length = at + BLOCK_SIZE <= raw.length ? view.getUint32(at + 4, true) : Infinity,
      end = at + BLOCK_SIZE + length,
      padded = Math.ceil(end / 8) * 8;
    if (!(padded <= raw.length)) throw new ProtocolError(`block ${i} of ${count} reaches beyond the message`);
    for (let j = end; j < padded; j++) if (raw[j]) throw new ProtocolError(`block ${i}: the padding is not zero`);
    const data = raw.subarray(at + BLOCK_SIZE, end);
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
function expect(block, name, length = null, format = ONLY_FORMAT) {
  if (block.format !== format) throw new ProtocolError(`${name}: encoding ${block.format} is not known, expected ${format}`);
  if (length !== null && block.data.length !== length) throw new ProtocolError(`${name}: ${block.data.length} bytes, expected ${length}`);
  return block;
}

function readJson(blocks) {
  const { data } = find(blocks, BlockType.JSON, "JSON");
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

function readName(blocks, name = "AVATAR", none = "") {
  const block = blocks.find((b) => b.type === BlockType[name]);
  return block ? text.decode(expect(block, name).data) : none;
}

function readFloats(name, block, count, at = 0) {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = block.view.getFloat32(at + 4 * i, true);
  if (!values.every(Number.isFinite)) throw new ProtocolError(`${name}: a value is NaN or infinite`);
  return values;
}

function readCamera(block) {
  const openxr = block.format === OPENXR_CAMERA,
    count = openxr ? OPENXR_CAMERA_FLOATS : MATRIX_CAMERA_FLOATS;
  expect(block, "CAMERA", 4 * count + 4, openxr ? OPENXR_CAMERA : MATRIX_CAMERA);
  const values = readFloats("CAMERA", block, count),
    width = block.view.getUint16(4 * count, true),
    height = block.view.getUint16(4 * count + 2, true);
  if (!width || !height) throw new ProtocolError(`CAMERA: size ${width}x${height}, expected at least 1 pixel a side`);
  if (openxr) return { position: values.slice(0, 3), orientation: values.slice(3, 7), fov: values.slice(7), width, height };
  return { K: values.slice(0, 9), worldToCamera: values.slice(9), width, height };
}

function readRender(blocks) {
  const cameras = blocks.filter((b) => b.type === BlockType.CAMERA).map(readCamera),
    one = new Map(blocks.map((b) => [b.type, b]));
  if (!cameras.length || cameras.length > MAX_CAMERAS)
    throw new ProtocolError(`RENDER: ${cameras.length} cameras, expected 1 or ${MAX_CAMERAS}`);
  const request = {
    cameras,
    avatar: readName(blocks),
    renderer: readName(blocks, "RENDERER", null),
    pose: null,
    source: null,
    format: { color: JPEG, quality: 85, alpha: DEFLATE, depth: NONE, straight: false, background: null, margin: 0, near: 0, far: 0 },
  };
  if (one.has(BlockType.POSE)) {
    const transl = one.get(BlockType.TRANSL),
      expression = one.get(BlockType.EXPRESSION);
    request.pose = {
      body: readFloats("POSE", expect(one.get(BlockType.POSE), "POSE", 12 * JOINTS), 3 * JOINTS),
      transl: transl ? readFloats("TRANSL", expect(transl, "TRANSL", 12), 3) : new Float32Array(3),
      expression: expression
        ? readFloats("EXPRESSION", expect(expression, "EXPRESSION"), expression.data.length >> 2)
        : new Float32Array(0),
    };
  }
  if (one.has(BlockType.SOURCE)) {
    const { view } = expect(one.get(BlockType.SOURCE), "SOURCE", SOURCE_SIZE);
    request.source = { index: view.getUint16(0, true), time: view.getFloat64(8, true), follow: Boolean(view.getUint16(2, true) & FOLLOW) };
  }
  if (one.has(BlockType.FORMAT)) {
    const block = one.get(BlockType.FORMAT),
      long = block.format === LONG_FORMAT,
      size = long ? LONG_FORMAT_SIZE : FORMAT_SIZE,
      { view } = expect(block, "FORMAT", size, long ? LONG_FORMAT : SHORT_FORMAT);
    const [color, quality, alpha, depth] = block.data,
      flags = view.getUint32(4, true);
    Object.assign(request.format, { color, quality, alpha, depth, straight: Boolean(flags & STRAIGHT) });
    if (long) {
      Object.assign(request.format, {
        background: flags & HAS_BACKGROUND ? [...block.data.subarray(8, 11)] : null,
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
  depth: { [PLAIN]: (w, h) => 4 * w * h, [DEFLATE]: null, [INVERSE]: (w, h) => NEAR_FAR_SIZE + 2 * w * h, [INVERSE_DEFLATE]: null },
};
const PLANES = { [BlockType.COLOR]: "color", [BlockType.ALPHA]: "alpha", [BlockType.DEPTH]: "depth" };

function readFrame(blocks) {
  const frame = { views: [], timings: {}, background: null, sourceTimeNs: null, rendered: null };
  for (const block of blocks) {
    const last = frame.views.at(-1);
    switch (block.type) {
      case BlockType.CAMERA: {
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
      case BlockType.RECT: {
        const { view } = expect(block, "RECT", RECT_SIZE),
          [x, y, width, height] = [0, 2, 4, 6].map((at) => view.getUint16(at, true));
        if (!last || last.color || last.alpha || last.depth)
          throw new ProtocolError("FRAME: RECT without a CAMERA before it, or after a plane");
        if (!width || !height || x + width > last.camera.width || y + height > last.camera.height)
          throw new ProtocolError("RECT: it reaches out of the picture");
        last.rect = { x, y, width, height };
        break;
      }
      case BlockType.COLOR:
      case BlockType.ALPHA:
      case BlockType.DEPTH: {
        const name = PLANES[block.type],
          size = SIZES[name][block.format];
        if (!last || last[name]) throw new ProtocolError(`FRAME: ${name} without a CAMERA before it, or twice`);
        if (size === undefined) throw new ProtocolError(`${name}: encoding ${block.format} is not known`);
        const expected = size?.(last.rect.width, last.rect.height) ?? block.data.length;
        if (block.data.length !== expected) throw new ProtocolError(`${name}: ${block.data.length} bytes, expected ${expected}`);
        last[name] = { encoding: block.format, data: block.data };
        break;
      }
      case BlockType.BACKGROUND:
        frame.background = [...expect(block, "BACKGROUND", BACKGROUND_SIZE).data.subarray(0, 3)];
        break;
      case BlockType.SOURCE_TIME:
        frame.sourceTimeNs = expect(block, "SOURCE_TIME", SOURCE_TIME_SIZE).view.getBigUint64(0, true);
        break;
      case BlockType.RENDERED:
        frame.rendered = readRendered(expect(block, "RENDERED"));
        break;
      case BlockType.TIMING:
        frame.timings = readTimings(block);
    }
  }
  if (!frame.views.length || frame.views.some((v) => !v.color)) throw new ProtocolError("FRAME: a view without CAMERA or COLOR");
  return frame;
}

function readRendered({ data, view }) {
  if (data.length < SCALE_SIZE) throw new ProtocolError(`RENDERED: ${data.length} bytes, expected at least ${SCALE_SIZE}`);
  const scale = view.getFloat32(0, true);
  if (!(scale > 0 && scale <= 1)) throw new ProtocolError(`RENDERED: a scale of ${scale}, expected more than 0 and at most 1`);
  return { renderer: text.decode(data.subarray(SCALE_SIZE)), scale };
}

function readTimings(block) {
  const { data, view } = expect(block, "TIMING"),
    most = MAX_TIMINGS * TIMING_SIZE,
    timings = {};
  if (data.length % TIMING_SIZE || data.length > most)
    throw new ProtocolError(`TIMING: ${data.length} bytes, expected a multiple of ${TIMING_SIZE} up to ${most}`);
  for (let at = 0; at < data.length; at += TIMING_SIZE) {
    const name = text.decode(data.subarray(at, at + TIMING_NAME_SIZE)).replace(/\0+$/, "");
    timings[name] = view.getFloat32(at + TIMING_NAME_SIZE, true);
  }
  return timings;
}
