// The panel's figures: a graph of round trips, a bar of where the time goes, numbers.

const LABELS = { wait: "waiting", lbs: "skinning", project: "projection", rasterize: "rasterizer", gather: "texture", network: "network",
                 compose: "compositing", other: "rest of the server", encode: "encoding", transport: "transport", draw: "decode and draw" };
const COLOURS = { wait: "#6b7280", lbs: "#7aa2f7", project: "#8fb4ff", rasterize: "#5fd0c5", gather: "#8fdc9a", network: "#f0b35c",
                  compose: "#e38c7a", other: "#8b7fd6", encode: "#c792ea", transport: "#9aa5b8", draw: "#d7dce4" };
const GRAPH_MOST = 1.35;

const $ = (id) => document.getElementById(id);
const digits = (ms) => ms.toFixed(ms < 10 ? 1 : 0);

function set(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Shows what Meter.read returned; period: milliseconds from one picture to the next, a line in the graph. */
export function show(figures, period) {
  const { known } = figures;
  set("fps", known ? figures.fps.toFixed(0) : "–");
  set("trip", known ? digits(figures.trip) : "–");
  set("server", known ? digits(figures.server) : "–");
  set("stale", known ? String(figures.stale) : "–");
  set("data", known ? (figures.bytes * 8 * figures.fps / 1e6).toFixed(1) : "–");
  graph(figures.history, period);
  if (known) stages(figures.stages);
}

function stages(list) {
  const names = list.map(([name]) => name).join(), all = $("stages"), share = $("share");
  if (all.dataset.names !== names) {
    all.dataset.names = names;
    all.replaceChildren(...list.map(([name]) => {
      const row = document.createElement("li");
      row.append(document.createElement("i"), document.createElement("span"), document.createElement("b"));
      row.children[0].style.background = COLOURS[name] ?? COLOURS.other;
      row.children[1].textContent = LABELS[name] ?? name;
      return row;
    }));
    share.replaceChildren(...list.map(([name]) => {
      const part = document.createElement("i");
      part.style.background = COLOURS[name] ?? COLOURS.other;
      return part;
    }));
  }
  const sum = list.reduce((total, [, ms]) => total + ms, 0) || 1;
  list.forEach(([, ms], i) => {
    all.children[i].children[2].textContent = ms.toFixed(ms < 10 ? 2 : 1);
    share.children[i].style.width = `${(100 * ms / sum).toFixed(1)}%`;
  });
}

function graph(history, period) {
  const canvas = $("graph"), scale = devicePixelRatio || 1, width = Math.round(canvas.clientWidth * scale), height = Math.round(44 * scale);
  if (!width) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), most = Math.max(period, ...history) * GRAPH_MOST, y = (ms) => height - ms / most * height;
  context.clearRect(0, 0, width, height);
  context.strokeStyle = "#ffffff26";
  context.lineWidth = scale;
  context.setLineDash([3 * scale, 4 * scale]);
  context.beginPath();
  context.moveTo(0, y(period));
  context.lineTo(width, y(period));
  context.stroke();
  context.setLineDash([]);
  if (history.length < 2) return;
  const step = width / 119, from = width - (history.length - 1) * step;
  context.beginPath();
  history.forEach((ms, i) => context.lineTo(from + i * step, y(ms)));
  context.strokeStyle = "#5fd0c5";
  context.lineWidth = 1.5 * scale;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(width, height);
  context.lineTo(from, height);
  context.fillStyle = "#5fd0c51f";
  context.fill();
}

/** The figures as text, to be pasted somewhere. */
export function asText(figures, about) {
  const stages = figures.stages.map(([name, ms]) => `${(LABELS[name] ?? name).padEnd(16)} ${ms.toFixed(2).padStart(7)} ms`);
  return [about, `${figures.fps.toFixed(1)} fps, round trip ${figures.trip?.toFixed(1)} ms, server ${figures.server?.toFixed(1)} ms, stale `
    + `${figures.stale} in the last minute, ${((figures.bytes ?? 0) / 1000).toFixed(1)} kB a picture`, ...stages].join("\n");
}
