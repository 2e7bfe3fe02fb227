// Shows the stream: one JPEG at a time, each answered with {"drawn": id} once it is on the canvas, so that nothing ever queues up.
"use strict";

const $ = (id) => document.getElementById(id);
const canvas = $("view"), context = canvas.getContext("2d", { alpha: false });
const dark = matchMedia("(prefers-color-scheme: dark)");
context.fillStyle = dark.matches ? "#2a2d34" : "#e4e7ec";      // until the first frame; a canvas without alpha starts black
context.fillRect(0, 0, canvas.width, canvas.height);
// in this order; `render` contains those above it but waiting, and what is below it concerns only this page
const LABELS = { wait: "waiting", lbs: "skinning", project: "projection", rasterize: "rasterizer", gather: "texture", network: "network",
                 compose: "compositing", render: "render, in all", page: "JPEG for this page" };
const ORDER = Object.keys(LABELS);
const HIDDEN = 0.02;        // ms: a stage that this renderer does not have
const RETRY_FIRST = 500, RETRY_MOST = 4000, SMOOTH = 0.1, SILENT = 1500;

let socket = null, retry = RETRY_FIRST, paused = false, backdrop = "auto", problem = "";
let shown = [], smoothed = {}, lastFrame = 0, latest = null;

try { backdrop = localStorage.getItem("backdrop") || "auto"; } catch { /* no storage: the choice lasts as long as the page */ }

function say(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function sayWishes() {
  say({ backdrop: backdrop === "auto" ? (dark.matches ? "dark" : "light") : backdrop });
  say({ watch: !paused && !document.hidden });
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { retry = RETRY_FIRST; sayWishes(); };
  socket.onmessage = (event) => typeof event.data === "string" ? heard(JSON.parse(event.data)) : frame(event.data);
  socket.onclose = () => {
    problem = "";
    $("driver").textContent = "–";
    setTimeout(connect, retry);
    retry = Math.min(retry * 1.6, RETRY_MOST);
  };
}

function heard(message) {
  if (message.type === "hello") {
    $("name").textContent = message.name || "";
    $("about").textContent = [message.description, message.endpoint].filter(Boolean).join(" · ");
  } else if (message.type === "problem") {
    problem = message.text;
  }
}

async function frame(data) {
  const from = socket, length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  try {
    const image = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    if (canvas.width !== header.width || canvas.height !== header.height) {
      canvas.width = header.width;
      canvas.height = header.height;
      canvas.style.setProperty("--aspect", header.width / header.height);
    }
    context.drawImage(image, 0, 0);
    image.close();
  } finally {
    if (from === socket) say({ drawn: header.id });
  }
  lastFrame = performance.now();
  latest = header;
  shown.push(lastFrame);
  for (const [stage, ms] of Object.entries(header.timings)) smooth(stage, ms);
  if (header.latency_ms !== null) smooth("latency", header.latency_ms);
}

function smooth(name, value) {
  smoothed[name] = name in smoothed ? smoothed[name] + SMOOTH * (value - smoothed[name]) : value;
}

function figures() {
  const now = performance.now(), open = socket && socket.readyState === WebSocket.OPEN, silent = now - lastFrame > SILENT;
  const link = $("link");
  link.textContent = !open ? "reconnecting" : paused ? "paused" : silent ? "no frames" : "live";
  link.className = open && !silent && !paused ? "pill good" : "pill wait";
  $("notice").hidden = !(problem || !open);
  $("notice").textContent = !open ? "The server is not there. This page reconnects by itself." : problem;
  shown = shown.filter((t) => now - t < 1000);
  if (!latest) return;
  $("fps").textContent = silent || paused ? "–" : shown.length;
  $("latency").textContent = "latency" in smoothed ? smoothed.latency.toFixed(0) : "–";
  $("rate").textContent = latest.rate === null || silent ? "–" : latest.rate.toFixed(0);
  $("size").textContent = `${latest.width} × ${latest.height}`;
  $("driver").textContent = latest.driver === "client" ? "a client" : "the idle motion";
  stages();
}

function stages() {
  const list = $("stages"), names = ORDER.filter((n) => smoothed[n] > HIDDEN), most = Math.max(1, ...names.map((n) => smoothed[n]));
  if (list.dataset.names !== names.join()) {
    list.dataset.names = names.join();
    list.replaceChildren(...names.map((name) => {
      const row = document.createElement("li");
      row.append(document.createElement("i"), document.createElement("span"), document.createElement("span"));
      row.children[1].textContent = LABELS[name];
      row.className = name === "render" ? "sum" : "";
      return row;
    }));
  }
  names.forEach((name, i) => {
    const [bar, , value] = list.children[i].children;
    bar.style.transform = `scaleX(${(smoothed[name] / most).toFixed(3)})`;
    value.textContent = smoothed[name].toFixed(smoothed[name] < 10 ? 2 : 1);
  });
}

function choose(name) {
  backdrop = name;
  try { localStorage.setItem("backdrop", name); } catch { /* see above */ }
  for (const button of document.querySelectorAll("[data-backdrop]")) button.setAttribute("aria-pressed", button.dataset.backdrop === name);
  sayWishes();
}

$("pause").onclick = () => {
  paused = !paused;
  $("pause").textContent = paused ? "Resume" : "Pause";
  $("pause").setAttribute("aria-pressed", paused);
  sayWishes();
};
for (const button of document.querySelectorAll("[data-backdrop]")) button.onclick = () => choose(button.dataset.backdrop);
document.addEventListener("visibilitychange", sayWishes);
dark.addEventListener("change", sayWishes);
choose(backdrop);
connect();
setInterval(figures, 250);
