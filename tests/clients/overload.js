// Drives clients/javascript/client.js for tests/clients/test_javascript.py: a server that is busy with the first of 20 requests.
// Arguments: path of client.js, of dinar.js, window, milliseconds between requests. Prints what was rendered next, how many had no answer
// at most, how many were sent in how many milliseconds.
import { pathToFileURL } from "node:url";

const [clientPath, codecPath, windowSize, every] = process.argv.slice(2);
const { DinarClient } = await import(pathToFileURL(clientPath));
const { decode, encode } = await import(pathToFileURL(codecPath));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const server = { sent: 0, rendering: null, mailbox: null, most: 0, next: null };

class BusyServer {
  constructor() {
    this.readyState = 0;
    setTimeout(() => {
      this.readyState = 1;
      this.onopen();
    });
    server.socket = this;
  }

  // Answers come a moment later, as from a network.
  say(message) {
    setTimeout(() => this.onmessage({ data: encode(message).buffer }));
  }

  send(data) {
    const message = decode(data);
    if (message.type === "hello") this.say({ type: "caps", info: { limits: { max_rate: 1000 } } });
    if (message.type !== "render") return;
    server.sent++;
    if (!server.rendering) {
      if (server.next === null && server.free) server.next = message.poseTimeNs;
      server.rendering = message;
      server.most = Math.max(server.most, 1);
      return;
    }
    server.most = Math.max(server.most, server.mailbox ? 3 : 2);
    if (server.mailbox) this.say({ type: "superseded", id: server.mailbox.id });
    server.mailbox = message;
  }

  close() {}
}

const camera = { K: [1, 0, 0, 0, 1, 0, 0, 0, 1], worldToCamera: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], width: 16, height: 16 };
const client = new DinarClient("ws://nowhere", { WebSocket: BusyServer, window: Number(windowSize) });
await client.ready;
const began = performance.now();
for (let i = 1; i <= 20; i++) {
  client.ask({ cameras: [camera], poseTimeNs: BigInt(i) });
  await pause(Number(every));
}
const end = performance.now() + 5000;
while (server.mailbox && server.mailbox.poseTimeNs !== 20n && performance.now() < end) await pause(1);
const took = performance.now() - began;
server.free = true; // and takes what waits; or, where nothing does, what comes after its answer
if (server.mailbox) server.next = server.mailbox.poseTimeNs;
else {
  const { id } = server.rendering;
  server.rendering = null;
  server.socket.say({ type: "superseded", id });
  while (server.next === null && performance.now() < end) await pause(1);
}
console.log(JSON.stringify([Number(server.next), server.most, server.sent, Math.ceil(took)]));
client.close();
