// Draws views on a WebGL canvas that shows what lies under it wherever the avatar is not.
import { RAW } from "./dinar.js";
import { alphaOf } from "./planes.js";

const VERTEX =
  "attribute vec2 at; varying vec2 uv; void main() { uv = vec2(at.x, 1.0 - at.y); gl_Position = vec4(2.0 * at - 1.0, 0.0, 1.0); }";
// Premultiplied JPEG colour is clamped to alpha, which removes its ringing outside the silhouette.
const FRAGMENT = `precision mediump float; varying vec2 uv; uniform sampler2D color, alpha; uniform bool inside;
  void main() { vec4 c = texture2D(color, uv); float a = texture2D(alpha, uv).r; gl_FragColor = inside ? c : vec4(min(c.rgb, a), a); }`;

export class Painter {
  #gl;
  #inside;

  constructor(canvas) {
    const gl = (this.#gl = canvas.getContext("webgl", { premultipliedAlpha: true, antialias: false, preserveDrawingBuffer: true }));
    if (!gl) throw new Error("this browser has no WebGL");
    const program = gl.createProgram();
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, FRAGMENT],
    ]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "at");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    ["color", "alpha"].forEach((name, unit) => {
      gl.uniform1i(gl.getUniformLocation(program, name), unit);
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
      for (const size of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, size, gl.NEAREST);
    });
    this.#inside = gl.getUniformLocation(program, "inside");
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  }

  /** Draws a view of a premultiplied frame. Throws Error for a JPEG that is broken or not of the size it should have. */
  async paint(view) {
    const { camera, rect, color } = view,
      { width, height } = rect,
      gl = this.#gl,
      raw = color.encoding === RAW;
    const [image, alpha] = await Promise.all([
      raw
        ? null
        : createImageBitmap(new Blob([color.data], { type: "image/jpeg" }), { premultiplyAlpha: "none", colorSpaceConversion: "none" }),
      raw ? null : alphaOf(view),
    ]);
    if (image && (image.width !== width || image.height !== height)) throw new Error("the picture has another size than its rectangle");
    if (gl.canvas.width !== camera.width || gl.canvas.height !== camera.height)
      Object.assign(gl.canvas, { width: camera.width, height: camera.height });
    gl.activeTexture(gl.TEXTURE0);
    if (raw) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, color.data);
    else gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
    image?.close();
    gl.activeTexture(gl.TEXTURE1);
    if (alpha) gl.texImage2D(gl.TEXTURE_2D, 0, gl.LUMINANCE, width, height, 0, gl.LUMINANCE, gl.UNSIGNED_BYTE, alpha);
    gl.uniform1i(this.#inside, raw || !alpha);
    gl.viewport(0, 0, camera.width, camera.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.viewport(rect.x, camera.height - rect.y - height, width, height);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}
