// Encoded planes to what a painter takes: the JPEG is decoded and the alpha inflated by the browser's own threads.
import { DEFLATE_PLANE, JPEG, RAW } from "./wire.js";

export const canInflate = typeof DecompressionStream === "function";

async function inflate(data, size) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")), out = new Uint8Array(size);
  let at = 0;
  for await (const part of chunks(stream)) {
    if (at + part.length > size) throw new Error("the alpha plane is too long");
    out.set(part, at);
    at += part.length;
  }
  if (at !== size) throw new Error("the alpha plane is too short");
  return out;
}

/** Safari cannot iterate over a stream. */
async function* chunks(stream) {
  const reader = stream.getReader();
  for (let read; !(read = await reader.read()).done;) yield read.value;
}

/**
 * {width, height, rect, straight, image: ImageBitmap, alpha: Uint8Array | null} or, of a lossless one, {..., pixels: Uint8Array of RGBA}.
 * Throws Error for what is not a picture of that size.
 */
export async function decodePicture({ width, height, rect, color, alpha }, straight) {
  const size = rect.width * rect.height, shape = { width, height, rect, straight };
  if (color.format === RAW) {
    if (color.data.length !== 4 * size) throw new Error("the pixels do not fill their rectangle");
    return { ...shape, pixels: color.data };
  }
  if (color.format !== JPEG) throw new Error(`colour encoding ${color.format} is not known`);
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const [image, plane] = await Promise.all([
    createImageBitmap(new Blob([color.data], { type: "image/jpeg" }), options),
    !alpha ? null : alpha.format === DEFLATE_PLANE ? inflate(alpha.data, size) : alpha.data,
  ]);
  if (image.width !== rect.width || image.height !== rect.height || (plane && plane.length !== size)) {
    image.close();
    throw new Error("the planes do not fill their rectangle");
  }
  return { ...shape, image, alpha: plane };
}
