// Messages to bytes; docs/protocol.md holds every byte. For node and browsers.
import {
  BLOCK_SIZE,
  BlockType,
  DEFLATE,
  FOLLOW,
  FORMAT_SIZE,
  HAS_BACKGROUND,
  HEADER_SIZE,
  JOINTS,
  JPEG,
  LONG_FORMAT,
  LONG_FORMAT_SIZE,
  MAGIC,
  MATRIX_CAMERA,
  MATRIX_CAMERA_FLOATS,
  MAX_CAMERAS,
  MAX_ERROR_TEXT,
  MAX_EXPRESSION,
  MAX_JSON,
  MessageType,
  NONE,
  ONLY_FORMAT,
  OPENXR_CAMERA,
  OPENXR_CAMERA_FLOATS,
  PROTOCOL,
  RECT_SIZE,
  SCALE_SIZE,
  SHORT_FORMAT,
  SOURCE_SIZE,
  SOURCE_TIME_SIZE,
  STRAIGHT,
  TIMING_NAME_SIZE,
  TIMING_SIZE,
} from "./constants.js";

const TYPES = Object.keys(MessageType).map((name) => name.toLowerCase()),
  utf8 = new TextEncoder();

/**
 * The bytes of a message. Fields left out have their defaults:
 *   hello       info
 *   describe    id, avatar = ""
 *   render      id, cameras = [camera] or a pair, pose | source, avatar = "", renderer = null, format, poseTimeNs = 0
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
      return pack(message, message.avatar ? [[BlockType.AVATAR, ONLY_FORMAT, utf8.encode(message.avatar)]] : [], { id: message.id });
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
      const words = utf8.encode(message.text).subarray(0, MAX_ERROR_TEXT),
        data = new Uint8Array(4 + words.length);
      new DataView(data.buffer).setUint32(0, message.code, true);
      data.set(words, 4);
      return pack(message, [[BlockType.ERROR, ONLY_FORMAT, data]], { id: message.id, client: message.poseTimeNs });
    }
    case "time":
      return pack(message, [], { id: message.id, client: message.clientNs, received: message.serverRecvNs, sent: message.serverSendNs });
    case "bye":
      return pack(message, []);
    default:
      throw new RangeError(`message type ${message.type} is not known, expected one of ${TYPES.join(", ")}`);
  }
}

const padded = (length) => (length + 7) & ~7;

function pack({ type, session = 0 }, blocks, { id = 0, client = 0, received = 0, sent = 0, flags = 0 } = {}) {
  const body = blocks.reduce((sum, [, , data]) => sum + BLOCK_SIZE + padded(data.length), 0);
  const out = new Uint8Array(HEADER_SIZE + body),
    view = new DataView(out.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, PROTOCOL, true);
  view.setUint16(6, MessageType[type.toUpperCase()], true);
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
    out.set(data, at + BLOCK_SIZE);
    at += BLOCK_SIZE + padded(data.length);
  }
  return out;
}

function jsonBlock(info) {
  const data = utf8.encode(JSON.stringify(info));
  if (data.length > MAX_JSON) throw new RangeError(`info: ${data.length} bytes of JSON, at most ${MAX_JSON} are allowed`);
  return [BlockType.JSON, ONLY_FORMAT, data];
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
    count = openxr ? OPENXR_CAMERA_FLOATS : MATRIX_CAMERA_FLOATS;
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
  return [BlockType.CAMERA, openxr ? OPENXR_CAMERA : MATRIX_CAMERA, data];
}

function renderBlocks({ cameras, pose, source, avatar, renderer = null, format = {} }) {
  if (!(cameras?.length >= 1 && cameras.length <= MAX_CAMERAS))
    throw new RangeError(`cameras: got ${cameras?.length}, expected 1 or ${MAX_CAMERAS}`);
  if (pose && source) throw new RangeError("pose and source: got both, expected one of them or none");
  const blocks = cameras.map(cameraBlock);
  if (avatar) blocks.push([BlockType.AVATAR, ONLY_FORMAT, utf8.encode(avatar)]);
  if (renderer !== null) blocks.push([BlockType.RENDERER, ONLY_FORMAT, utf8.encode(renderer)]);
  if (pose) {
    blocks.push([BlockType.POSE, ONLY_FORMAT, bytes(12 * JOINTS, (view) => floats("pose.body", pose.body, 3 * JOINTS, view, 0))]);
    blocks.push([BlockType.TRANSL, ONLY_FORMAT, bytes(12, (view) => floats("pose.transl", pose.transl ?? [0, 0, 0], 3, view, 0))]);
    const expression = pose.expression ?? [];
    if (expression.length > MAX_EXPRESSION)
      throw new RangeError(`pose.expression: got ${expression.length} numbers, expected at most ${MAX_EXPRESSION}`);
    if (expression.length) {
      blocks.push([
        BlockType.EXPRESSION,
        ONLY_FORMAT,
        bytes(4 * expression.length, (view) => floats("pose.expression", expression, expression.length, view, 0)),
      ]);
    }
  }
  if (source) {
    blocks.push([
      BlockType.SOURCE,
      ONLY_FORMAT,
      bytes(SOURCE_SIZE, (view) => {
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
    BlockType.FORMAT,
    long ? LONG_FORMAT : SHORT_FORMAT,
    bytes(long ? LONG_FORMAT_SIZE : FORMAT_SIZE, (view) => {
      [color, quality, background ? NONE : alpha, depth].forEach((value, i) => view.setUint8(i, value));
      view.setUint32(4, (straight ? STRAIGHT : 0) | (background ? HAS_BACKGROUND : 0), true);
      if (!long) return;
      (background ?? [0, 0, 0]).forEach((value, i) => view.setUint8(8 + i, value));
      view.setUint16(12, margin, true);
      view.setFloat32(16, near, true);
      view.setFloat32(20, far, true);
    }),
  ];
}

function frameBlocks({ views, timings = {}, background, sourceTimeNs, rendered }) {
  const blocks = [];
  if (background) blocks.push([BlockType.BACKGROUND, ONLY_FORMAT, Uint8Array.from([...background, 0])]);
  if (sourceTimeNs !== undefined && sourceTimeNs !== null) {
    blocks.push([BlockType.SOURCE_TIME, ONLY_FORMAT, bytes(SOURCE_TIME_SIZE, (view) => view.setBigUint64(0, BigInt(sourceTimeNs), true))]);
  }
  if (rendered) {
    const name = utf8.encode(rendered.renderer),
      data = bytes(SCALE_SIZE + name.length, (view) => view.setFloat32(0, rendered.scale, true));
    data.set(name, SCALE_SIZE);
    blocks.push([BlockType.RENDERED, ONLY_FORMAT, data]);
  }
  for (const { camera, rect, color, alpha, depth } of views) {
    blocks.push(
      cameraBlock(camera),
      [
        BlockType.RECT,
        ONLY_FORMAT,
        bytes(RECT_SIZE, (view) => {
          [rect.x, rect.y, rect.width, rect.height].forEach((value, i) => view.setUint16(2 * i, value, true));
        }),
      ],
      [BlockType.COLOR, color.encoding, color.data],
    );
    if (alpha) blocks.push([BlockType.ALPHA, alpha.encoding, alpha.data]);
    if (depth) blocks.push([BlockType.DEPTH, depth.encoding, depth.data]);
  }
  const entries = Object.entries(timings);
  blocks.push([
    BlockType.TIMING,
    ONLY_FORMAT,
    bytes(TIMING_SIZE * entries.length, (view) =>
      entries.forEach(([name, ms], i) => {
        [...name.slice(0, TIMING_NAME_SIZE)].forEach((letter, j) => view.setUint8(TIMING_SIZE * i + j, letter.charCodeAt(0)));
        view.setFloat32(TIMING_SIZE * i + TIMING_NAME_SIZE, ms, true);
      }),
    ),
  ]);
  return blocks;
}
