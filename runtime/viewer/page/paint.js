// Painters: put a decoded picture on a transparent canvas, so that the page's own background shows through.

const VERTEX = `#version 300 es
out vec2 at;
void main() {
  at = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(at * vec2(2, -2) + vec2(-1, 1), 0, 1);
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec2 at;
out vec4 color;
uniform sampler2D image, plane;
uniform bool own, straight;      // own: the image's own alpha counts
void main() {
  vec4 texel = texture(image, at);
  float alpha = own ? texel.a : texture(plane, at).r;
  // A premultiplied JPEG rings over the silhouette's edge; no colour can be more than its alpha.
  color = vec4(straight ? texel.rgb * alpha : min(texel.rgb, vec3(alpha)), alpha);
}`;

/** The best painter this browser has for `canvas`: paint(picture) (see pixels.js), and `name`. */
export function createPainter(canvas, forced = "") {
  if (forced !== "2d") {
    const gl = canvas.getContext("webgl2", { alpha: true, premultipliedAlpha: true, antialias: false, depth: false });
    if (gl) return new GLPainter(canvas, gl);
  }
  return new CanvasPainter(canvas);
}

function resize(canvas, { width, height }) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

class GLPainter {
  name = "WebGL";

  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.#prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.#prepare());
  }

  #prepare() {
    const { gl } = this, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.uniforms = Object.fromEntries(["image", "plane", "own", "straight"].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.textures = [0, 1].map((unit) => {
      const texture = gl.createTexture();
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      return texture;
    });
    gl.uniform1i(this.uniforms.image, 0);
    gl.uniform1i(this.uniforms.plane, 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.clearColor(0, 0, 0, 0);
  }

  paint(picture) {
    const { gl } = this, { rect, height } = picture;
    resize(this.canvas, picture);
    gl.activeTexture(gl.TEXTURE0);
    if (picture.pixels) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, rect.width, rect.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, picture.pixels);
    else gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture.image);
    if (picture.alpha) {
      gl.activeTexture(gl.TEXTURE1);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, rect.width, rect.height, 0, gl.RED, gl.UNSIGNED_BYTE, picture.alpha);
    }
    gl.uniform1i(this.uniforms.own, picture.alpha ? 0 : 1);
    gl.uniform1i(this.uniforms.straight, picture.straight ? 1 : 0);
    gl.viewport(0, 0, picture.width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.viewport(rect.x, height - rect.y - rect.height, rect.width, rect.height);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}

/** Without WebGL: the same on the processor. A 2D canvas takes straight colour. */
class CanvasPainter {
  name = "2D";

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: true, willReadFrequently: true });
  }

  paint(picture) {
    const { context } = this, { rect } = picture;
    resize(this.canvas, picture);
    context.clearRect(0, 0, picture.width, picture.height);
    let target;
    if (picture.pixels) {
      target = new ImageData(new Uint8ClampedArray(picture.pixels), rect.width, rect.height);
    } else {
      context.drawImage(picture.image, rect.x, rect.y);
      target = context.getImageData(rect.x, rect.y, rect.width, rect.height);
    }
    if (picture.alpha) for (let i = 0, n = picture.alpha.length; i < n; i++) target.data[4 * i + 3] = picture.alpha[i];
    if (!picture.straight) divide(target.data);
    context.putImageData(target, rect.x, rect.y);
  }
}

/** Premultiplied to straight colour in place; the clamp of the array is that of colour to alpha. */
function divide(data) {
  for (let i = 3, n = data.length; i < n; i += 4) {
    const alpha = data[i];
    if (alpha === 0 || alpha === 255) continue;
    const scale = 255 / alpha;
    data[i - 3] *= scale;
    data[i - 2] *= scale;
    data[i - 1] *= scale;
  }
}
