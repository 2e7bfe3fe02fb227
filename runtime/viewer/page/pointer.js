// Mouse, wheel, touch and pen on the stage: one finger turns, two move and pinch, the right button or shift moves.

const TURN = 2.6;               // radians for a drag over the stage's shorter side
const WHEEL = 0.0015;

/** Calls orbit's verbs, and changed() after each. */
export function steer(stage, orbit, changed) {
  const fingers = new Map();
  let tapped = 0;

  const middle = () => {
    const all = [...fingers.values()], n = all.length || 1;
    const x = all.reduce((sum, f) => sum + f.x, 0) / n, y = all.reduce((sum, f) => sum + f.y, 0) / n;
    return { x, y, spread: all.length < 2 ? 0 : Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) };
  };

  const place = (x, y) => {
    const box = stage.getBoundingClientRect();
    return [x - box.left, y - box.top];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".bar")) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    stage.classList.add("held");
    if (event.pointerType !== "mouse" && fingers.size === 1) {
      if (event.timeStamp - tapped < 300) { orbit.reset(); changed(); }
      tapped = event.timeStamp;
    }
  });
  stage.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = middle();
    finger.x = event.clientX;
    finger.y = event.clientY;
    const now = middle(), dx = now.x - before.x, dy = now.y - before.y;
    if (Math.hypot(dx, dy) > 2) tapped = 0;
    if (fingers.size === 1 && !(event.shiftKey || event.buttons & 6)) {
      const side = Math.min(stage.clientWidth, stage.clientHeight) || 1;
      orbit.turn(dx / side * TURN, dy / side * TURN);
    } else {
      orbit.pan(dx, dy);
      if (before.spread > 8 && now.spread > 8) orbit.closer(now.spread / before.spread, ...place(now.x, now.y));
    }
    changed();
  });
  const lift = (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) stage.classList.remove("held");
  };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    // A trackpad's pinch comes with ctrlKey.
    orbit.closer(Math.exp(-pixels * WHEEL * (event.ctrlKey ? 5 : 1)), ...place(event.clientX, event.clientY));
    changed();
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => {
    if (event.target.closest(".bar")) return;
    orbit.reset();
    changed();
  });
}
