// The page: asks for pictures at a steady rate as long as there is room, draws the newest, and wires the controls.
import { DEFLATE, JPEG, NONE, PLAIN, RAW } from "./client/dinar.js";
import { Headset, immersiveMode } from "./headset.js";
import { Link, nanoseconds } from "./link.js";
import { Meter } from "./meter.js";
import { Orbit } from "./orbit.js";
import { createPainter } from "./paint.js";
import { asText, show } from "./panel.js";
import { canInflate, pixelsOf } from "./pixels.js";
import { Player } from "./player.js";
import { steer } from "./pointer.js";
import { fitting, heights, Settings } from "./settings.js";

const FIGURES_EVERY = 250, SILENT = 2500, ASK_AGAIN = 2000, RESIZE_AFTER = 350, SHEET = 860;
const $ = (id) => document.getElementById(id);

const hash = new URLSearchParams(location.hash.slice(1));
const stage = $("stage"), settings = new Settings(), orbit = new Orbit(), player = new Player(), meter = new Meter();
const link = new Link(hash.get("key") ?? "", hash.get("avatar") ?? ""), painter = createPainter($("view"), hash.get("paint") ?? "");
let size = { width: 512, height: 512 }, stopped = false, nextAt = 0;
let shown = null, lastDrawn = 0, arrival = null, busy = false;          // the picture on the canvas, and the one that comes next
let state = "connecting", renderer = "", told = 0, problem = "", wanted = hash.get("source") ?? "";

// ---- asking and drawing

function format() {
  if (settings.quality === "raw") return { color: RAW, quality: 0, alpha: NONE };
  return { color: JPEG, quality: Number(settings.quality), alpha: canInflate ? DEFLATE : PLAIN };
}

function turn(now) {
  requestAnimationFrame(turn);
  const period = 1000 / settings.rate;
  if (!link.live || stopped || now < nextAt - 2) return;         // 2: the screen's clock trembles
  nextAt = Math.max(nextAt + period, now - period);
  meter.tick(now);
  const source = player.now();
  if (link.free) link.ask({ cameras: [{ ...orbit.camera(), ...size }], format: format(), source, renderer });
}

link.onframe = (message, asked) => {
  if (arrival) link.done(arrival.message.id);     // overtaken before it was decoded
  arrival = { message, asked, at: performance.now() };
  if (!busy) draw();
};

async function draw() {
  busy = true;
  while (arrival) {
    const { message, asked, at } = arrival;
    arrival = null;
    try {
      const [view] = message.views, picture = await pixelsOf(view, message.straight);
      painter.paint(picture);
      shown?.image?.close();
      shown = picture;
      lastDrawn = performance.now();
      $("view").dataset.drawn = message.id;
      made(message.rendered);
      const server = Number(message.serverSendNs - message.serverRecvNs) / 1e6, { color, alpha } = view;
      meter.picture({ asked: asked.at, arrived: at, drawn: lastDrawn, timings: message.timings, server,
                      size: color.data.length + (alpha?.data.length ?? 0) });
      if (state === "live") stage.classList.remove("lost");
    } catch (error) {
      problem = `A picture could not be shown: ${error.message}`;
    }
    link.done(message.id);
  }
  busy = false;
}

// ---- connection

link.oncaps = (caps) => {
  offerHeadset(caps);
  $("name").textContent = caps.name ?? "";
  document.title = caps.name ? `${caps.name}, dinar live` : "dinar live";
  $("about").textContent = caps.description ?? "";
  if (caps.body_extent) orbit.fit(caps.body_extent);
  const avatars = caps.avatars ?? [];
  $("avatars").hidden = avatars.length < 2;
  options($("avatar"), avatars.map((name) => [name, name]), caps.name);
  player.offer(caps.sources, wanted);
  wanted = "";
  options($("source"), player.sources.map((source, i) => [i, source.kind === "live" ? "Live" : source.name]), player.index);
  if (renderer && !(caps.renderers ?? []).includes(renderer)) renderer = "";
  quality(caps);
  options($("size"), heights(caps).map((height) => [height, `${height} pixels high`]), settings.height ?? caps.size?.[0] ?? 512);
  fit();
  moved();
};

// ---- which renderer

/** What the server says of the avatar's renderers and of its own choice among them. */
function quality({ renderers = [], renderer: chosen = "", quality: choice }) {
  $("renderers").hidden = renderers.length < 2;
  options($("renderer"), [["", choice ? `auto: ${part(choice)}` : `the server's: ${chosen}`], ...renderers.map((name) => [name, name])], renderer);
  $("choice").hidden = !choice;
  $("choice").textContent = choice && !renderer ? choice.why : choice ? "chosen here; the others follow the server" : "";
}

const part = ({ renderer: name, scale }) => (scale < 1 ? `${name} ${Math.round(100 * scale)} %` : name);

/** Of each picture: asks what the server has chosen when it is another choice than the one told of. */
function made(rendered) {
  if (!rendered) return;
  $("view").dataset.renderer = part(rendered);
  const choice = link.caps?.quality, now = performance.now();
  if (renderer || !choice || now < told || part(choice) === part(rendered)) return;
  told = now + ASK_AGAIN;
  link.refresh();
}

link.onquality = quality;

link.onstate = (now) => {
  state = now;
  meter.reset();
  if (now !== "live") stage.classList.add("lost");
  problem = "";
  tell();
};

link.onproblem = (text) => { problem = text; };

const NOTICES = {
  connecting: () => performance.now() > 1200 && "The server is not there. This page looks for it and goes on by itself.",
  full: () => "The server has as many viewers as it takes. This page tries again.",
  refused: () => "This page needs its key: open the whole address that dinar serve has printed, with what comes after the #.",
  live: () => problem || (!shown && performance.now() - lastDrawn > SILENT && "Waiting for the first picture…"),
};

function tell() {
  const silent = state === "live" && !stopped && shown && performance.now() - lastDrawn > SILENT;
  const word = state === "live" ? (stopped ? "paused" : silent ? "no pictures" : "live") : state === "connecting" ? "connecting" : "not in";
  const notice = NOTICES[state]() || "";
  if ($("state").textContent !== word) $("state").textContent = word;
  $("state").dataset.state = word;
  if ($("notice").textContent !== notice) $("notice").textContent = notice;
  $("notice").hidden = !notice;
}

setInterval(() => {
  tell();
  show(meter.read(performance.now()), 1000 / settings.rate);
  wind();
}, FIGURES_EVERY);

// ---- a headset's body

const headset = new Headset((bytes) => link.post(bytes), nanoseconds);

async function offerHeadset(caps) {
  $("headset").hidden = !caps.takes?.includes("xr_body") || !(await immersiveMode());
}

headset.ontell = (text) => {
  $("drive").setAttribute("aria-pressed", headset.driving);
  $("drive").textContent = headset.driving ? "Stop driving" : "Drive with this headset";
  $("driving").textContent = text;
  $("driving").hidden = !text;
};

$("drive").onclick = () => (headset.driving ? headset.stop() : headset.start())?.catch((error) => headset.ontell(`It cannot drive: ${error.message}`));

// ---- size and view

function fit() {
  const { clientWidth, clientHeight } = stage, view = $("view");
  size = fitting(settings, link.caps ?? {}, clientWidth, clientHeight);
  const wider = size.width / size.height >= clientWidth / clientHeight, cut = wider && settings.shape === "window";
  view.style.objectFit = cut ? "cover" : "contain";
  const scale = wider === cut ? size.height / clientHeight : size.width / clientWidth;      // pixels of the picture in one of the page
  const margin = (clientHeight - size.height / scale) / 2, { top, bottom } = covered();
  orbit.frame = { ...size, top: Math.max(top - margin, 0) * scale, bottom: Math.max(bottom - margin, 0) * scale, scale,
                  x: (clientWidth - size.width / scale) / 2, y: margin };
}

/** How much of the stage lies under what floats on it, pixels from its top and bottom. */
function covered() {
  const box = stage.getBoundingClientRect(), title = stage.querySelector(".title");
  const bar = stage.querySelector(".transport").getBoundingClientRect();
  const sheet = innerWidth <= SHEET && !$("app").classList.contains("wide") ? $("panel").offsetHeight : 0;
  const narrow = box.width < 2 * title.offsetWidth + 200;       // the person stands between the bars, or under them
  return { top: narrow ? title.getBoundingClientRect().bottom - box.top : 0, bottom: Math.max(box.bottom - bar.top, sheet) };
}

let resizing = 0;
new ResizeObserver(() => {
  clearTimeout(resizing);
  resizing = setTimeout(fit, RESIZE_AFTER);     // not while the window is dragged: each size costs the server a little
}).observe(stage);

const moved = () => { $("reset").disabled = !orbit.moved; };
steer(stage, orbit, moved);

// ---- motion

function wind() {
  const { duration, recorded, source, time, playing } = player, seek = $("seek");
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  stage.querySelector(".transport").classList.toggle("live", !recorded);
  const going = recorded ? playing : !stopped;
  $("play").setAttribute("aria-label", going ? "Pause" : "Play");
  $("play").title = `${going ? "Pause" : "Play"} (space)`;
  const use = going ? "#i-pause" : "#i-play";
  if ($("play").querySelector("use").getAttribute("href") !== use) $("play").querySelector("use").setAttribute("href", use);
  if (!recorded) return;
  if (Number(seek.max) !== duration) seek.max = duration;
  if (!seek.matches(":active")) seek.value = time;
  seek.style.setProperty("--share", `${(100 * seek.value / duration).toFixed(2)}%`);
  seek.setAttribute("aria-valuetext", `${time.toFixed(1)} of ${duration.toFixed(1)} seconds`);
  const text = `${clock(time)} / ${clock(duration)}`;
  if ($("clock").textContent !== text) $("clock").textContent = text;
  seek.title = source.name;
}

function play() {
  if (player.recorded) player.playing = !player.playing;
  else stop(!stopped);
  wind();
}

/** Pauses the stream: nothing is asked for. */
function stop(now) {
  stopped = now;
  $("stop").setAttribute("aria-pressed", now);
  $("stop").textContent = now ? "Go on" : "Pause";
  meter.reset();
  tell();
}

function step(seconds) {
  if (!player.recorded) return;
  player.playing = false;
  player.seek(player.time + seconds);
  wind();
}

// ---- controls

function options(select, entries, chosen) {
  const text = JSON.stringify(entries);
  if (select.dataset.entries !== text) {
    select.dataset.entries = text;
    select.replaceChildren(...entries.map(([value, label]) => new Option(label, value)));
  }
  select.value = String(chosen);
}

function backdrop(name) {
  settings.backdrop = name;
  stage.dataset.backdrop = name;
  document.querySelector(`input[name="backdrop"][value="${name}"]`).checked = true;
}

function nextBackdrop() {
  const all = [...document.querySelectorAll('input[name="backdrop"]')].map((input) => input.value);
  backdrop(all[(all.indexOf(settings.backdrop) + 1) % all.length]);
}

function ownColour(colour) {
  settings.own = colour;
  $("own").value = colour;
  for (const element of [stage, document.querySelector('i[data-backdrop="own"]')]) element.style.setProperty("--own", colour);
}

function panel(open) {
  $("app").classList.toggle("wide", !open);
  $("toggle").setAttribute("aria-expanded", open);
  fit();
}

function photo() {
  if (!shown) return;
  painter.paint(shown);           // a WebGL canvas forgets its pixels after each turn of the page
  $("view").toBlob((blob) => {
    const address = URL.createObjectURL(blob), now = new Date().toISOString().slice(0, 19).replaceAll(":", "");
    Object.assign(document.createElement("a"), { href: address, download: `${link.caps?.name ?? "avatar"}-${now}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }, "image/png");
}

async function fullScreen() {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await $("app").requestFullscreen?.();
}

const reset = () => { orbit.reset(); moved(); };
const help = () => $("keys").open || $("keys").showModal();
const togglePanel = () => panel($("app").classList.contains("wide"));

$("play").onclick = play;
$("reset").onclick = reset;
$("photo").onclick = photo;
$("full").onclick = fullScreen;
$("help").onclick = help;
$("toggle").onclick = togglePanel;
$("close").onclick = () => { panel(false); $("toggle").focus(); };
$("stop").onclick = () => stop(!stopped);
$("source").onchange = ({ target }) => { player.choose(Number(target.value)); wind(); };
$("avatar").onchange = ({ target }) => link.choose(target.value);
$("renderer").onchange = ({ target }) => {
  renderer = target.value;
  quality(link.caps ?? {});
  meter.reset();
};
$("speed").onchange = ({ target }) => { player.speed = Number(target.value); };
$("seek").oninput = ({ target }) => { player.seek(Math.min(Number(target.value), player.duration - 1e-3)); wind(); };
$("own").oninput = ({ target }) => { ownColour(target.value); backdrop("own"); };
for (const input of document.querySelectorAll('input[name="backdrop"]')) input.onchange = () => backdrop(input.value);
for (const [id, name] of [["size", "height"], ["shape", "shape"], ["quality", "quality"], ["rate", "rate"]]) {
  $(id).value = settings[name] ?? "";
  $(id).onchange = ({ target }) => {
    settings[name] = ["height", "rate"].includes(name) ? Number(target.value) : target.value;
    fit();
    meter.reset();
  };
}
$("copy").onclick = async () => {
  const { name = "", description = "" } = link.caps ?? {};
  const about = `${name}: ${description}; ${size.width}x${size.height}, ${painter.name}`;
  await navigator.clipboard?.writeText(asText(meter.read(performance.now()), about));
  $("copy").textContent = navigator.clipboard ? "Copied" : "No clipboard here";
  setTimeout(() => { $("copy").textContent = "Copy the figures"; }, 1500);
};

const TURN = 0.12, MOVE = 24, CLOSER = 1.12, SECOND = 1 / 30;
const KEYS = {
  " ": play, r: reset, R: reset, s: photo, f: fullScreen, p: togglePanel, b: nextBackdrop, "?": help,
  ",": () => step(-SECOND), ".": () => step(SECOND),
  "+": () => orbit.closer(CLOSER), "=": () => orbit.closer(CLOSER), "-": () => orbit.closer(1 / CLOSER),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const letter = /^[a-zA-Z?,.]$/.test(event.key);        // the others are for the control that has the focus
  if (event.target.closest("select") || (!letter && event.target.closest("input"))) return;
  if (event.key === " " && event.target.closest("button")) return;
  const arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) orbit.pan(arrow[0] * MOVE, arrow[1] * MOVE);
  else if (arrow) orbit.turn(arrow[0] * TURN, arrow[1] * TURN);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
  moved();
});

ownColour(settings.own);
backdrop(settings.backdrop);
panel(innerWidth > SHEET);
link.connect();
requestAnimationFrame(turn);
