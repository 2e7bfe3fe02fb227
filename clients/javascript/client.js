// A client of `dinar serve` over its WebSocket (the port of the page), for browsers and node: says hello, keeps a bounded number of requests
// on their way, replaces the one that waits by a newer one, compares clocks, comes back after a lost connection.
import { ErrorCode, ProtocolError, decode, encode } from "./dinar.js";

const RETRY_FIRST = 200,
  RETRY_MOST = 3000,
  TIME_EVERY = 2000,
  CLOCKS = 16,
  WRONG_KEY = 4401,
  REPLACE_EVERY = 4, // ms between messages that only replace one another at the server, which allows some hundreds a second
  REPLACE_SHARE = 0.25; // of max_rate, where it allows less

/** The time that poses and latencies count from: nanoseconds of a clock that never goes back. */
export const now = () => BigInt(Math.round(performance.now() * 1e6));

/** What the server refused; `code` is one of ErrorCode. */
export class RemoteError extends Error {
  constructor(text, code) {
    super(text);
    this.code = code;
  }
}

export class DinarClient {
  #url;
  #protocols;
  #WebSocket;
  #socket = null;
  #closed = false;
  #retry = RETRY_FIRST;
  #ticker;
  #again = 0;
  #nextId = 1n;
  #waiting = null;
  #sentAt = 0;
  #later = 0;
  #open = new Map();
  #clocks = [];
  #ready;
  #setReady;

  /**
   * url: ws://HOST:PORT/ws of `dinar serve`, or wss:// of what stands in front of it. key: what the page's address has after #key=.
   * window: requests on their way at once; with 2 or more, one beyond it may go and replaces the one that waits at the server, so that the
   * newest is there when the renderer is free. WebSocket: the class, where it is not built in (node before version 22: of the package ws).
   * Handlers, all optional: onframe(message, {latencyMs}), oncaps(info), onerror(RemoteError or ProtocolError),
   * onstate("connecting", "ready", "refused" or "closed").
   */
  constructor(
    url,
    {
      key = "",
      window = 1,
      avatar = "",
      name = "javascript",
      WebSocket = globalThis.WebSocket,
      onframe = () => {},
      oncaps = () => {},
      onstate = () => {},
      onerror = () => {},
    } = {},
  ) {
    if (!WebSocket) throw new Error("this node has no WebSocket: use version 22, --experimental-websocket in 20, or the package ws");
    Object.assign(this, { window, avatar, name, onframe, oncaps, onstate, onerror, caps: null });
    this.#url = url;
    this.#protocols = ["dinar-live", ...(key ? [`key.${key}`] : [])];
    this.#WebSocket = WebSocket;
    this.#ready = new Promise((resolve, reject) => {
      this.#setReady = { resolve, reject };
    });
    this.#ready.catch(() => {}); // a rejection that nobody waits for is no crash
    this.#ticker = setInterval(() => this.#send({ type: "time", clientNs: now() }), TIME_EVERY);
    this.#connect();
  }

  /** The server's capabilities, once it has answered. */
  get ready() {
    return this.#ready;
  }

  /** The server's clock minus ours in nanoseconds, by the quickest of the recent comparisons; null before the first. */
  get clockOffsetNs() {
    return this.#clocks.length ? this.#clocks.reduce((a, b) => (b.trip < a.trip ? b : a)).offset : null;
  }

  /** Asks for a picture: the fields of a "render" message of encode() but its id. A request that still waits here is replaced by it. */
  ask(request) {
    if (this.#closed) return Promise.reject(new Error("the client is closed"));
    if (this.#waiting) this.#waiting.settle(null);
    return new Promise((resolve, reject) => {
      this.#waiting = { request: { poseTimeNs: now(), ...request }, settle: (frame, error) => (error ? reject(error) : resolve(frame)) };
      this.#sendWaiting();
    });
  }

  /** Ends the connection. */
  close() {
    if (this.#closed) return;
    this.#send({ type: "bye" });
    this.#closed = true;
    clearInterval(this.#ticker);
    clearTimeout(this.#again);
    clearTimeout(this.#later);
    this.#forget();
    this.#waiting?.settle(null);
    this.#waiting = null;
    this.#socket.close();
    this.#setReady.reject(new Error("the client is closed"));
    this.onstate("closed");
  }

  #connect() {
    this.onstate("connecting");
    const socket = (this.#socket = new this.#WebSocket(this.#url, this.#protocols));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#greet();
    let lost = (code) => {
      lost = () => {};
      this.#lost(code);
    };
    socket.onclose = ({ code }) => lost(code);
    socket.onerror = () => socket.readyState === 1 || lost(0); // a connection that was never made closes silently in node 20
    socket.onmessage = ({ data }) => {
      try {
        this.#receive(decode(data));
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        this.onerror(error);
      }
    };
  }

  #greet() {
    this.#send({ type: "hello", info: { name: this.name, window: this.window, ...(this.avatar ? { avatar: this.avatar } : {}) } });
  }

  #lost(code) {
    this.caps = null;
    this.#clocks = [];
    this.#forget();
    if (this.#closed) return;
    if (code === WRONG_KEY) {
      this.#setReady.reject(new RemoteError("the key is missing or wrong", code));
      this.#closed = true;
      clearInterval(this.#ticker);
      this.onstate("refused");
      return;
    }
    this.#again = setTimeout(() => this.#connect(), this.#retry);
    this.#retry = Math.min(2 * this.#retry, RETRY_MOST);
  }

  /** What was on its way is void. */
  #forget() {
    for (const { settle } of this.#open.values()) settle(null);
    this.#open.clear();
  }

  #send(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(encode(message));
  }

  #sendWaiting() {
    clearTimeout(this.#later);
    if (!this.caps || !this.#waiting || this.#open.size >= this.window + (this.window > 1 ? 1 : 0)) return;
    const wait = this.#open.size < 2 ? 0 : this.#sentAt + this.#replaceEvery() - performance.now();
    if (wait > 0) {
      this.#later = setTimeout(() => this.#sendWaiting(), Math.min(wait, TIME_EVERY));
      return;
    }
    const { request, settle } = this.#waiting,
      id = this.#nextId++;
    this.#waiting = null;
    try {
      this.#send({ type: "render", ...request, id });
      this.#sentAt = performance.now();
      this.#open.set(id, { settle, poseTimeNs: BigInt(request.poseTimeNs) });
    } catch (error) {
      settle(null, error);
    }
  }

  /** Milliseconds between requests while one is rendered and one waits. */
  #replaceEvery() {
    const rate = this.caps?.limits?.max_rate;
    return rate > 0 ? Math.max(REPLACE_EVERY, 1000 / (REPLACE_SHARE * rate)) : REPLACE_EVERY;
  }

  #answered(id, frame, error) {
    this.#open.get(id)?.settle(frame, error);
    this.#open.delete(id);
    this.#sendWaiting();
  }

  #receive(message) {
    switch (message.type) {
      case "caps":
        // A server that greets has forgotten what came before.
        this.#forget();
        this.#nextId = 1n;
        this.#retry = RETRY_FIRST;
        this.caps = message.info;
        this.#setReady.resolve(message.info);
        this.#send({ type: "time", clientNs: now() });
        this.oncaps(message.info);
        this.onstate("ready");
        this.#sendWaiting();
        break;
      case "frame": {
        const asked = this.#open.get(message.id);
        if (asked) this.onframe(message, { latencyMs: Number(now() - asked.poseTimeNs) / 1e6 });
        this.#answered(message.id, message);
        break;
      }
      case "superseded":
        this.#answered(message.id, null);
        break;
      case "time": {
        const t3 = now(),
          there = message.serverSendNs - message.serverRecvNs;
        const clock = {
          trip: t3 - message.clientNs - there,
          offset: (message.serverRecvNs - message.clientNs + message.serverSendNs - t3) / 2n,
        };
        this.#clocks = [...this.#clocks.slice(1 - CLOCKS), clock];
        break;
      }
      case "error": {
        const error = new RemoteError(message.text, message.code),
          asked = this.#open.has(message.id);
        if (message.code === ErrorCode.HELLO_REQUIRED) this.#greet();
        else if (!asked) this.onerror(error);
        this.#answered(message.id, null, asked && message.code !== ErrorCode.HELLO_REQUIRED ? error : undefined);
        break;
      }
      case "bye":
        this.#socket.close();
    }
  }
}
