// Written by clients/generate.py from runtime/stream/protocol. Do not edit: change it there and run that.

/** What a message is. */
export const MessageType = Object.freeze({
  HELLO: 1,
  CAPS: 2,
  RENDER: 3,
  FRAME: 4,
  SUPERSEDED: 5,
  ERROR: 6,
  BYE: 7,
  TIME: 8,
  DESCRIBE: 9,
});

/** What a block of a message holds. */
export const BlockType = Object.freeze({
  JSON: 1,
  CAMERA: 2,
  POSE: 3,
  TRANSL: 4,
  EXPRESSION: 5,
  FORMAT: 6,
  SOURCE: 7,
  AVATAR: 8,
  RENDERER: 9,
  COLOR: 16,
  ALPHA: 17,
  DEPTH: 18,
  TIMING: 19,
  ERROR: 20,
  RECT: 21,
  BACKGROUND: 22,
  SOURCE_TIME: 23,
  RENDERED: 24,
});

/** Why a server refused something. */
export const ErrorCode = Object.freeze({
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

// Colour.
export const JPEG = 1;
export const RAW = 2;

// Alpha and depth: a byte or a float for each pixel, as they are or deflated.
export const NONE = 0;
export const PLAIN = 1;
export const DEFLATE = 2;

// Alpha with one byte for 2 x 2 pixels.
export const HALF = 3;
export const HALF_DEFLATE = 4;

// Depth as near, far and 16 bits of inverse depth.
export const INVERSE = 3;
export const INVERSE_DEFLATE = 4;

// The start of every message.
export const MAGIC = 0x4c524e44;
export const PROTOCOL = 1;

// Bytes of the header, and of what comes before the data of each block.
export const HEADER_SIZE = 64;
export const BLOCK_SIZE = 8;

// Bytes of blocks, and floats of the two kinds of camera.
export const FORMAT_SIZE = 8;
export const LONG_FORMAT_SIZE = 24;
export const SOURCE_SIZE = 16;
export const RECT_SIZE = 8;
export const BACKGROUND_SIZE = 4;
export const SOURCE_TIME_SIZE = 8;
export const SCALE_SIZE = 4;
export const TIMING_SIZE = 16;
export const TIMING_NAME_SIZE = 12;
export const NEAR_FAR_SIZE = 8;
export const MATRIX_CAMERA_FLOATS = 25;
export const OPENXR_CAMERA_FLOATS = 11;
export const JOINTS = 55;

// Formats of blocks: of those with one format, of CAMERA and of FORMAT.
export const ONLY_FORMAT = 1;
export const MATRIX_CAMERA = 1;
export const OPENXR_CAMERA = 2;
export const SHORT_FORMAT = 1;
export const LONG_FORMAT = 2;

// Flags: of FRAME and FORMAT, of FORMAT, of SOURCE.
export const STRAIGHT = 1;
export const HAS_BACKGROUND = 2;
export const FOLLOW = 1;

// The most of each: blocks, cameras, coefficients, entries; bytes of names, JSON and error texts.
export const MAX_BLOCKS = 32;
export const MAX_CAMERAS = 2;
export const MAX_EXPRESSION = 100;
export const MAX_TIMINGS = 32;
export const MAX_NAME = 64;
export const MAX_JSON = 16384;
export const MAX_ERROR_TEXT = 500;
