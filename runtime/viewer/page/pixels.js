// Encoded planes to what a painter takes: the JPEG is decoded and the alpha inflated by the browser's own threads.
import { JPEG, RAW } from "./client/dinar.js";
import { alphaOf } from "./client/planes.js";

export const canInflate = typeof DecompressionStream === "function";

/**
 * Of a frame's view {width, height, rect, straight, image: ImageBitmap, alpha: Uint8Array | null} or, of a lossless one,
 * {..., pixels: Uint8Array of RGBA}. Throws Error for what is not a picture of that size.
 */
export async function pixelsOf(view, straight) {
  const { camera: { width, height }, rect, color } = view, shape = { width, height, rect, straight };
  if (color.encoding === RAW) return { ...shape, pixels: color.data };
  if (color.encoding !== JPEG) throw new Error(`colour encoding ${color.encoding} is not known`);
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const [image, alpha] = await Promise.all([
    createImageBitmap(new Blob([color.data], { type: "image/jpeg" }), options),
    alphaOf(view),
  ]);
  if (image.width !== rect.width || image.height !== rect.height) {
    image.close();
    throw new Error("the planes do not fill their rectangle");
  }
  return { ...shape, image, alpha };
}
