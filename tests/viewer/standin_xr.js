// A headset that is none: navigator.xr with the interface of WebXR and its Body Tracking module. window.standin.joints is what it
// sees, XRBodyJoint -> [x, y, z, qx, qy, qz, qw], or null; all 83 joints are there, as the module wants it.
const standin = (window.standin = { joints: null, asked: null, frames: 0, session: null });

class StandInSession extends EventTarget {
  async updateRenderState(state) { this.layer = state.baseLayer; }
  async requestReferenceSpace(kind) {
    if (kind !== "local-floor") throw new DOMException(kind, "NotSupportedError");
    return { kind };
  }
  requestAnimationFrame(call) {
    setTimeout(() => {
      if (this.ended) return;
      standin.frames += 1;
      call(performance.now(), standInFrame(this));
    }, 14);
  }
  async end() {
    this.ended = true;
    standin.session = null;
    this.dispatchEvent(new Event("end"));
  }
}

function standInFrame(session) {
  const { joints } = standin;
  const body = new Map(Object.keys(joints ?? { hips: 0 }).map((jointName) => [jointName, { jointName }]));
  return {
    session,
    body,
    getPose({ jointName }, space) {
      if (!joints || space.kind !== "local-floor") return null;        // an entire body or none of it
      const [x, y, z, qx, qy, qz, qw] = joints[jointName];
      return { transform: { position: { x, y, z, w: 1 }, orientation: { x: qx, y: qy, z: qz, w: qw } } };
    },
  };
}

window.XRWebGLLayer = class { constructor(session, gl) { if (!(session instanceof StandInSession) || !gl) throw new TypeError(); } };
Object.defineProperty(navigator, "xr", { value: {
  isSessionSupported: async (mode) => mode === "immersive-vr",
  requestSession: async (mode, options) => {
    standin.asked = { mode, ...options };
    if (standin.refuse) throw new DOMException("not allowed", "NotAllowedError");
    return (standin.session = new StandInSession());
  },
} });
