// The connection: says hello, keeps count of what is asked for and not yet drawn, compares clocks, comes back by itself.
import { ErrorCode, decode, encode } from "./client/dinar.js";

const RETRY_FIRST = 300, RETRY_MOST = 1000, TIME_EVERY = 2000, LOST_AFTER = 60_000;
const WINDOW = 2;               // pictures asked for and not drawn: one is rendered while the other travels
const WRONG_KEY = 4401, FULL = 1013;

export const nanoseconds = () => BigInt(Math.round(performance.now() * 1e6));

/**
 * Events: onquality(info), told again by refresh(); onstate(state, text) with state "connecting", "live", "full", "refused" (wrong key); oncaps(info); onframe(message, asked);
 * onproblem(text), "" = all is well again. `asked` is what ask() was given, with the time it was sent.
 * A request counts as open until done(id): what is drawn, not what has arrived, makes room for the next.
 */
export class Link {
  constructor(key, avatar = "") {
    this.key = key;
    this.avatar = avatar;       // its name, "" = the server's first
    this.open = new Map();
    this.caps = null;
    this.roundTrip = null;      // milliseconds of a message without a picture
    this.nextId = 1n;
    this.newest = 0n;           // of what has arrived
    this.retry = RETRY_FIRST;
    this.onstate = this.oncaps = this.onframe = this.onproblem = this.onquality = () => {};
    setInterval(() => this.#every(), TIME_EVERY);
  }

  connect() {
    this.onstate("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`, ["dinar-live", ...(this.key ? [`key.${this.key}`] : [])]);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#greet();
    socket.onmessage = ({ data }) => {
      try {
        this.#hear(decode(data));
      } catch (error) {
        this.onproblem(`The server said something that this page does not understand: ${error.message}`);
      }
    };
    socket.onclose = ({ code }) => this.#closed(code);
  }

  get live() { return this.caps !== null; }

  /**
   * Whether a request may go now. One beyond the window, while the server is what is slow: it replaces the one that waits there, so that
   * the newest is there when the renderer is free, and SUPERSEDED makes room again at once. While a picture waits to be drawn, the page is.
   */
  get free() {
    const drawing = [...this.open.values()].some(({ arrived }) => arrived);
    return this.open.size < WINDOW + (drawing ? 0 : 1);
  }

  /** Sends a request: the fields of a "render" message (client/encode.js) without id, time and avatar. */
  ask(fields) {
    const id = this.nextId++, at = performance.now();
    this.open.set(id, { ...fields, at });
    this.#send({ type: "render", ...fields, id, poseTimeNs: nanoseconds(), avatar: this.avatar });
  }

  /** Turns to another avatar as soon as the server has said what it is like. */
  choose(avatar) {
    this.chosen = avatar;
    this.#send({ type: "describe", id: this.nextId++, avatar });
  }

  /** Asks again what the server says of the avatar, since something in it has changed. */
  refresh() {
    this.refreshed = this.nextId++;
    this.#send({ type: "describe", id: this.refreshed, avatar: this.avatar });
  }

  done(id) { this.open.delete(id); }

  /** Sends the bytes of a message that is no request; they are left out while there is no server, or while others wait to leave. */
  post(bytes) {
    if (this.live && this.socket.readyState === WebSocket.OPEN && this.socket.bufferedAmount < 16 * bytes.length) this.socket.send(bytes);
  }

  #send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(encode(message));
  }

  #greet() {
    this.open.clear();
    this.nextId = 1n;
    this.newest = 0n;
    this.#send({ type: "hello", info: { name: "dinar page", window: WINDOW, avatar: this.avatar } });
    this.#send({ type: "time", clientNs: nanoseconds() });
  }

  #every() {
    this.#send({ type: "time", clientNs: nanoseconds() });
    const now = performance.now();
    for (const [id, { at }] of this.open) if (now - at > LOST_AFTER) this.open.delete(id);
  }

  #hear(message) {
    const asked = this.open.get(message.id);
    switch (message.type) {
      case "caps":
        this.retry = RETRY_FIRST;
        if (message.id && message.id === this.refreshed) {
          this.caps = message.info;
          this.onquality(message.info);
          break;
        }
        if (message.id) this.avatar = this.chosen;
        this.caps = message.info;
        this.oncaps(message.info);
        this.onstate("live");
        break;
      case "frame":
        if (!asked || message.id < this.newest) {       // encoders may overtake each other
          this.done(message.id);
          break;
        }
        this.newest = message.id;
        asked.arrived = true;
        this.onproblem("");
        this.onframe(message, asked);
        break;
      case "superseded":
        this.done(message.id);
        break;
      case "time":
        this.roundTrip = Number(nanoseconds() - message.clientNs - (message.serverSendNs - message.serverRecvNs)) / 1e6;
        break;
      case "error":
        this.done(message.id);
        if (message.code === ErrorCode.UNKNOWN_AVATAR) this.avatar = "";         // a server that has others now
        if ([ErrorCode.HELLO_REQUIRED, ErrorCode.UNKNOWN_AVATAR].includes(message.code)) this.#greet();
        else if (message.code === ErrorCode.CLIENTS) this.socket.close(4000 + message.code);
        else this.onproblem(message.text);
        break;
      case "bye":
        this.socket.close();
        break;
    }
  }

  #closed(code) {
    this.caps = null;
    this.roundTrip = null;
    this.open.clear();
    if (code === WRONG_KEY) {
      this.onstate("refused");
      return;
    }
    this.onstate(code === FULL || code === 4000 + ErrorCode.CLIENTS ? "full" : "connecting");
    setTimeout(() => this.connect(), this.retry);
    this.retry = Math.min(this.retry * 1.6, RETRY_MOST);
  }
}
