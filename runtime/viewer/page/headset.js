// "Drive with this headset": an immersive session of its own, whose frames' bodies go to the server.
import { bodyMessage, readBody } from "./body.js";

const MODES = ["immersive-ar", "immersive-vr"];

/** The first immersive mode that this browser has, or null. */
export async function immersiveMode(xr = navigator.xr) {
  for (const mode of MODES) if (await xr?.isSessionSupported(mode).catch(() => false)) return mode;
  return null;
}

/**
 * Sends the wearer's body while a session lasts. send(bytes, ) takes a message; ontell(text) what to show, "" = not driving.
 */
export class Headset {
  constructor(send, clock) {
    this.send = send;
    this.clock = clock;                 // nanoseconds, BigInt
    this.number = crypto.getRandomValues(new Uint32Array(1))[0];
    this.count = 0;
    this.session = null;
    this.ontell = () => {};
  }

  get driving() { return this.session !== null; }

  async start(xr = navigator.xr) {
    const mode = await immersiveMode(xr);
    if (!mode) throw new Error("this browser has no immersive sessions; they need a headset and https or localhost");
    const session = await xr.requestSession(mode, { requiredFeatures: ["local-floor", "body-tracking"] });
    this.session = session;
    session.addEventListener("end", () => this.#ended());
    try {
      const gl = document.createElement("canvas").getContext("webgl", { xrCompatible: true });
      await session.updateRenderState({ baseLayer: new XRWebGLLayer(session, gl) });
      this.space = await session.requestReferenceSpace("local-floor");
    } catch (error) {
      await session.end();
      throw error;
    }
    this.ontell("Stand in a T-pose and keep still for a second.");
    session.requestAnimationFrame((_, frame) => this.#turn(frame));
  }

  stop() { return this.session?.end(); }

  /** For a session of somebody else's: sends the body of one of its frames. Whether there was one. */
  take(frame, space) {
    const values = readBody(frame, space);
    if (values) this.send(bodyMessage(values, ++this.count, this.number, this.clock()));
    return values !== null;
  }

  #turn(frame) {
    if (!this.session) return;
    this.session.requestAnimationFrame((_, next) => this.#turn(next));
    const seen = this.take(frame, this.space);
    if (seen !== this.seen) this.ontell(seen ? `Driving. Stand in a T-pose and keep still for a second.` : "The headset does not see the body.");
    this.seen = seen;
  }

  #ended() {
    this.session = null;
    this.seen = undefined;
    this.ontell("");
  }
}
