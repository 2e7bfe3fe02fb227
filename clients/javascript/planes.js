// The planes of a view to pixels. Everything but JPEG is decoded here, the same way in node and in browsers.
import { DEFLATE, HALF, INVERSE, JPEG, NEAR_FAR_SIZE, PLAIN, ProtocolError } from "./dinar.js";

/** `size` bytes from a zlib stream; throws ProtocolError for more or fewer, before more are kept. */
async function inflate(data, size) {
  const out = new Uint8Array(size),
    reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let at = 0;
  try {
    for (let read; !(read = await reader.read()).done; at += read.value.length) {
      if (at + read.value.length > size) throw new ProtocolError(`a plane inflates to more than ${size} bytes`);
      out.set(read.value, at);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error instanceof ProtocolError ? error : new ProtocolError(`a plane is no zlib stream: ${error.message}`);
  }
  if (at !== size) throw new ProtocolError(`a plane inflates to ${at} bytes, expected ${size}`);
  return out;
}

/** The alpha of a view, a byte for each pixel of its rect; null where it has none. */
export async function alphaOf({ rect: { width, height }, alpha }) {
  if (!alpha || alpha.encoding === PLAIN) return alpha && alpha.data;
  if (alpha.encoding === DEFLATE) return inflate(alpha.data, width * height);
  const w = (width + 1) >> 1,
    h = (height + 1) >> 1;
  return twice(alpha.encoding === HALF ? alpha.data : await inflate(alpha.data, w * h), w, h, width, height);
}

/** Half-resolution alpha bilinearly at twice its size: its samples lie at the corners (2j + 1, 2i + 1) between the pixels. */
function twice(small, w, h, width, height) {
  const out = new Uint8Array(width * height),
    quarter = (n, odd, most) => (odd ? [n, Math.min(n + 1, most)] : [n, Math.max(n - 1, 0)]);
  for (let y = 0; y < height; y++) {
    const [i, i2] = quarter(y >> 1, y & 1, h - 1);
    for (let x = 0; x < width; x++) {
      const [j, j2] = quarter(x >> 1, x & 1, w - 1);
      const near = 3 * small[i * w + j] + small[i * w + j2],
        far = 3 * small[i2 * w + j] + small[i2 * w + j2];
      out[y * width + x] = (3 * near + far + 8) >> 4;
    }
  }
  return out;
}

/** The depth of a view in metres (camera z), a float for each pixel of its rect, 0 = nothing there; null where it has none. */
export async function depthOf({ rect: { width, height }, depth }) {
  if (!depth) return null;
  const pixels = width * height,
    view = new DataView(depth.data.buffer, depth.data.byteOffset, depth.data.length);
  if (depth.encoding === PLAIN || depth.encoding === DEFLATE) {
    const plain = depth.encoding === PLAIN ? depth.data.slice() : await inflate(depth.data, 4 * pixels); // a copy, for alignment
    return new Float32Array(plain.buffer, plain.byteOffset, pixels);
  }
  if (depth.data.length < NEAR_FAR_SIZE) throw new ProtocolError(`depth: ${depth.data.length} bytes, expected near, far and the plane`);
  const near = view.getFloat32(0, true),
    far = view.getFloat32(4, true),
    rest = depth.data.subarray(NEAR_FAR_SIZE);
  if (!(near > 0 && near < far && far < Infinity)) throw new ProtocolError(`depth: near ${near} and far ${far}, expected 0 < near < far`);
  const plain = depth.encoding === INVERSE ? rest.slice() : await inflate(rest, 2 * pixels),
    values = new Uint16Array(plain.buffer, plain.byteOffset, pixels);
  const step = (1 / near - 1 / far) / 65535;
  return Float32Array.from(values, (v) => (v ? 1 / (1 / far + v * step) : 0));
}

/**
 * RGBA of the whole picture, u8[height * width * 4], from what lies in its rect: `rgba` (a raw COLOR, or a JPEG that was drawn and read
 * back) and `alpha` of alphaOf(), null where the colour is raw and has its alpha inside.
 * Premultiplied colour of a JPEG is clamped to alpha, which removes the JPEG's ringing outside the silhouette.
 */
export function pictureOf({ camera, rect, color }, rgba, alpha, { straight, background }) {
  const out = new Uint8ClampedArray(4 * camera.width * camera.height),
    jpeg = color.encoding === JPEG;
  if (background || (jpeg && !alpha)) for (let at = 0; at < out.length; at += 4) out.set([...(background ?? [0, 0, 0]), 255], at);
  for (let y = 0; y < rect.height; y++) {
    let from = 4 * y * rect.width,
      to = 4 * ((y + rect.y) * camera.width + rect.x);
    for (let x = 0; x < rect.width; x++, from += 4, to += 4) {
      const a = alpha ? alpha[from >> 2] : jpeg ? 255 : rgba[from + 3],
        most = jpeg && alpha && !straight ? a : 255;
      for (let c = 0; c < 3; c++) out[to + c] = Math.min(rgba[from + c], most);
      out[to + 3] = a;
    }
  }
  return out;
}
