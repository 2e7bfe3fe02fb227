// What a client has to keep in mind between messages, whatever carries them: hello, requests on their way, clock comparison.
// Plain C# 7 for .NET Standard 2.0. Not thread-safe: use it on the thread that owns the socket.
using System;
using System.Collections.Generic;

namespace DinarLive
{
    public sealed class Session
    {
        const ulong HelloEveryNs = 1000000000, TimeEveryNs = 2000000000;
        const ulong ReplaceEveryNs = 4000000;          // between messages that only replace one another at the server
        const double ReplaceShare = 0.25;              // of max_rate, where it allows less than a thousand a second
        const int Clocks = 16;

        readonly Func<ulong> now;
        readonly Func<byte[], bool> send;
        readonly string hello;
        readonly int window;
        readonly ulong lostNs;
        readonly Dictionary<ulong, ulong> open = new Dictionary<ulong, ulong>();        // id -> when it was sent
        readonly List<KeyValuePair<long, long>> clocks = new List<KeyValuePair<long, long>>();          // round trip, offset
        Message waiting;
        ulong nextId = 1, helloAt, timeAt, sentAt, replaceNs = ReplaceEveryNs;

        /// <summary>The server's capabilities as JSON; null until it has answered.</summary>
        public string Caps { get; private set; }

        /// <summary>Whether the server knows this client now.</summary>
        public bool Greeted { get; private set; }

        /// <summary>now: nanoseconds of a clock that never goes back. send: hands one message to the socket, false if it takes none now.
        /// window: requests on their way at once; with 2 or more, one beyond it may go and replaces the one that waits at the server, so that
        /// the newest is there when the renderer is free. lostSeconds: without an answer for so long, a request was lost with a connection.
        /// </summary>
        public Session(Func<ulong> now, Func<byte[], bool> send, string name = "csharp", int window = 1, double lostSeconds = 5)
        {
            this.now = now;
            this.send = send;
            this.window = window;
            lostNs = (ulong)(lostSeconds * 1e9);
            var plain = new System.Text.StringBuilder();
            foreach (char c in name) plain.Append(c < ' ' || c == '"' || c == '\\' ? ' ' : c);
            hello = "{\"name\":\"" + plain + "\",\"window\":" + window + "}";
        }

        /// <summary>The server's clock minus ours, nanoseconds, by the quickest of the recent comparisons; null before the first.</summary>
        public long? ClockOffsetNs
        {
            get
            {
                long? offset = null;
                long best = long.MaxValue;
                foreach (KeyValuePair<long, long> clock in clocks)
                {
                    if (clock.Key >= best) continue;
                    best = clock.Key;
                    offset = clock.Value;
                }
                return offset;
            }
        }

        /// <summary>Asks for a picture; a request that still waits here is replaced. Its id is set when it is sent.</summary>
        public void Ask(Message render)
        {
            render.Type = MessageType.Render;
            if (render.ClientTimeNs == 0) render.ClientTimeNs = now();
            waiting = render;
            Tick();
        }

        /// <summary>To be called often, a hundred times a second say: greets, compares clocks, sends what waits.</summary>
        public void Tick()
        {
            ulong t = now();
            if (!Greeted)
            {
                if (t < helloAt) return;
                helloAt = t + HelloEveryNs;
                send(Codec.Encode(new Message { Type = MessageType.Hello, Json = hello }));
                return;
            }
            if (t >= timeAt)
            {
                timeAt = t + TimeEveryNs;
                send(Codec.Encode(new Message { Type = MessageType.Time, ClientTimeNs = now() }));
            }
            var lost = new List<ulong>();
            foreach (KeyValuePair<ulong, ulong> sent in open) if (t - sent.Value > lostNs) lost.Add(sent.Key);
            foreach (ulong id in lost) open.Remove(id);
            if (lost.Count > 0 && open.Count == 0) Greeted = false;      // perhaps to another server by now: hello again
            if (waiting == null || open.Count >= (window > 1 ? window + 1 : 1) || !Greeted) return;
            if (open.Count >= 2 && t < sentAt + replaceNs) return;
            waiting.Id = nextId;
            if (!send(Codec.Encode(waiting))) return;
            open[nextId++] = sentAt = t;
            waiting = null;
        }

        /// <summary>Takes in one message. Returns what the application has to look at, a Frame or an Error, else null.
        /// Throws ProtocolException.</summary>
        public Message Receive(byte[] data)
        {
            Message m = Codec.Decode(data);
            switch (m.Type)
            {
                case MessageType.Caps:
                    // A server that greets has forgotten what came before.
                    open.Clear();
                    nextId = 1;
                    Caps = m.Json;
                    replaceNs = BetweenReplacements(m.Json);
                    Greeted = true;
                    timeAt = 0;
                    break;
                case MessageType.Time:
                    long t3 = (long)now(), t0 = (long)m.ClientTimeNs, t1 = (long)m.ServerRecvNs, t2 = (long)m.ServerSendNs;
                    if (clocks.Count == Clocks) clocks.RemoveAt(0);
                    clocks.Add(new KeyValuePair<long, long>(t3 - t0 - (t2 - t1), (t1 - t0 + t2 - t3) / 2));
                    break;
                case MessageType.Frame:
                case MessageType.Superseded:
                    open.Remove(m.Id);
                    break;
                case MessageType.Error:
                    open.Remove(m.Id);
                    if (m.Code == (uint)ErrorCode.HelloRequired)
                    {
                        Greeted = false;
                        helloAt = 0;
                    }
                    break;
                case MessageType.Bye:
                    Greeted = false;
                    helloAt = 0;
                    clocks.Clear();
                    break;
            }
            Tick();
            return m.Type == MessageType.Frame || (m.Type == MessageType.Error && m.Code != (uint)ErrorCode.HelloRequired) ? m : null;
        }

        /// <summary>Nanoseconds, so that replacements alone stay well below what the server allows.</summary>
        static ulong BetweenReplacements(string caps)
        {
            var found = System.Text.RegularExpressions.Regex.Match(caps, "\"max_rate\"\\s*:\\s*([0-9.eE+-]+)");
            double rate;
            bool read = double.TryParse(found.Groups[1].Value, System.Globalization.NumberStyles.Float,
                System.Globalization.CultureInfo.InvariantCulture, out rate);
            return read && rate > 1e-6 ? Math.Max(ReplaceEveryNs, (ulong)(1e9 / (ReplaceShare * rate))) : ReplaceEveryNs;
        }

        /// <summary>Says goodbye.</summary>
        public void Close()
        {
            if (Greeted) send(Codec.Encode(new Message { Type = MessageType.Bye }));
            Greeted = false;
        }
    }
}
