// The messages of dinar-live as plain objects, to bytes and back; docs/protocol.md holds every byte. For node and browsers, no dependencies.
//
//   decode(bytes)   -> {type: "frame", id: 7n, views: [...], ...}; arrays and planes may be views of `bytes`
//   encode(message) -> Uint8Array
//
// 64-bit numbers (id and the times, in nanoseconds) are BigInt; encode() takes whole numbers too. Typed arrays are read in the machine's
// byte order, which is little-endian wherever JavaScript runs today.

export * from "./constants.js";
export { ErrorCode as Code } from "./constants.js"; // its name in 0.1
export { ProtocolError, decode } from "./decode.js";
export { encode } from "./encode.js";
