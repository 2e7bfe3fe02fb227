// Drives the C# example for tests/clients/test_csharp.py.
//   golden FILE...   for each: decodes it, encodes it again, refuses every shorter one; one line of JSON with what is in it
//   overload WINDOW  a server that is busy with the first of 20 requests: what it renders next, how many had no answer at most, how many came
//   session          a client whose messages go over standard output and input (length u32, bytes): asks for 5 pictures, then says goodbye
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Text;
using DinarLive;

static class Program
{
    static int Main(string[] arguments)
    {
        if (arguments[0] == "session") return RunSession();
        if (arguments[0] == "overload") return RunOverload(int.Parse(arguments[1]), arguments[2]);
        for (int i = 1; i < arguments.Length; i++) Check(arguments[i]);
        return 0;
    }

    // ---- golden messages

    static void Check(string path)
    {
        byte[] raw = File.ReadAllBytes(path), again = Codec.Encode(Codec.Decode(raw));
        bool same = again.Length == raw.Length;
        for (int i = 0; same && i < raw.Length; i++) same = raw[i] == again[i];
        for (int n = 0; n < raw.Length; n++)
        {
            var part = new byte[n];
            Array.Copy(raw, part, n);
            Refused(part);
        }
        var longer = new byte[raw.Length + 1];
        Array.Copy(raw, longer, raw.Length);
        Refused(longer);
        // Whatever a byte is changed to, nothing but ProtocolException comes out, from the planes too.
        var random = new Random(1);
        for (int n = 0; n < 3000; n++)
        {
            var changed = (byte[])raw.Clone();
            for (int k = 0; k < 3; k++) changed[random.Next(changed.Length)] = (byte)random.Next(256);
            try
            {
                foreach (View view in Codec.Decode(changed).Views)
                {
                    if (view.Width * view.Height > 1 << 20) continue;
                    Planes.AlphaOf(view);
                    Planes.DepthOf(view);
                }
            }
            catch (ProtocolException) { }
        }
        Console.WriteLine(new Json().Object(o =>
        {
            o.Text("name", Path.GetFileNameWithoutExtension(path));
            o.Flag("same", same);
            Put(o, Codec.Decode(raw));
        }));
    }

    static void Refused(byte[] data)
    {
        try { Codec.Decode(data); }
        catch (ProtocolException) { return; }
        throw new Exception(data.Length + " bytes of a longer or shorter message were taken");
    }

    static void Put(Json o, Message m)
    {
        o.Text("type", m.Type.ToString().ToLowerInvariant());
        o.Number("id", m.Id);
        o.Number("client_time_ns", m.ClientTimeNs);
        o.Number("server_recv_ns", m.ServerRecvNs);
        o.Number("server_send_ns", m.ServerSendNs);
        o.Number("session", m.Session);
        if (m.Json != null) o.Raw("info", m.Json);
        o.Text("avatar", m.Avatar);
        if (m.Renderer != null) o.Text("renderer", m.Renderer);
        if (m.Rendered != null) o.Raw("rendered", new Json().Object(r =>
        {
            r.Text("renderer", m.Rendered.Renderer);
            r.Float("scale", m.Rendered.Scale);
        }));
        o.Number("code", m.Code);
        o.Text("text", m.Text);
        o.List("cameras", m.Cameras, Camera);
        if (m.Pose != null) o.Raw("pose", new Json().Object(p =>
        {
            p.Floats("body", m.Pose.Body);
            p.Floats("transl", m.Pose.Transl);
            p.Floats("expression", m.Pose.Expression);
        }));
        if (m.Source != null) o.Raw("source", new Json().Object(s =>
        {
            s.Number("index", m.Source.Index);
            s.Float("time", m.Source.Time);
            s.Flag("follow", m.Source.Follow);
        }));
        FrameFormat f = m.Format;
        o.Raw("format", new Json().Object(j =>
        {
            j.Number("color", f.Color);
            j.Number("quality", f.Quality);
            j.Number("alpha", f.Alpha);
            j.Number("depth", f.Depth);
            j.Flag("straight", f.Straight);
            j.Bytes("background", f.Background);
            j.Number("margin", f.Margin);
            j.Float("near", f.Near);
            j.Float("far", f.Far);
        }));
        o.Flag("straight", m.Straight);
        o.Bytes("background", m.Background);
        if (m.SourceTimeNs.HasValue) o.Number("source_time_ns", m.SourceTimeNs.Value);
        o.Raw("timings", new Json().Object(t => m.Timings.ForEach(entry => t.Float(entry.Key, entry.Value))));
        o.List("views", m.Views, v => new Json().Object(j =>
        {
            j.Raw("camera", Camera(v.Camera));
            j.Raw("rect", "[" + v.X + "," + v.Y + "," + v.Width + "," + v.Height + "]");
            j.Raw("color", OfPlane(v.Color));
            j.Raw("alpha", OfPlane(v.Alpha));
            j.Raw("depth", OfPlane(v.Depth));
            j.Bytes("alpha_pixels", Planes.AlphaOf(v));
            j.Floats("depth_pixels", Planes.DepthOf(v));
        }));
    }

    static string Camera(Camera c)
    {
        return new Json().Object(o =>
        {
            if (c.Fov == null)
            {
                o.Floats("K", c.K);
                o.Floats("world_to_camera", c.WorldToCamera);
            }
            else
            {
                o.Floats("position", c.Position);
                o.Floats("orientation", c.Orientation);
                o.Floats("fov", c.Fov);
            }
            o.Number("width", c.Width);
            o.Number("height", c.Height);
        });
    }

    static string OfPlane(Plane plane)
    {
        if (plane == null) return "null";
        var hex = new StringBuilder();
        for (int i = 0; i < plane.Data.Count; i++) hex.Append(plane.Data.Array[plane.Data.Offset + i].ToString("x2"));
        return new Json().Object(o => { o.Number("encoding", plane.Encoding); o.Text("hex", hex.ToString()); });
    }

    // ---- a session

    static int RunSession()
    {
        Stream input = Console.OpenStandardInput(), output = Console.OpenStandardOutput();
        Func<ulong> now = () => (ulong)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency));
        var session = new Session(now, data =>
        {
            output.Write(BitConverter.GetBytes(data.Length), 0, 4);
            output.Write(data, 0, data.Length);
            output.Flush();
            return true;
        }, "csharp \"test\"");
        session.Tick();
        int frames = 0;
        while (frames < 5)
        {
            byte[] data = Read(input, 4);
            if (data == null) return 3;
            Message m = session.Receive(Read(input, BitConverter.ToInt32(data, 0)));
            if (m != null && m.Type == MessageType.Error)
            {
                Console.Error.WriteLine("error " + m.Code + " " + m.Text);
                return 4;
            }
            if (m != null)
            {
                frames++;
                View view = m.Views[0];
                Console.Error.WriteLine("frame " + m.Id + " " + view.Camera.Width + "x" + view.Camera.Height + " " + Planes.AlphaOf(view).Length);
            }
            if (session.Greeted && (m != null || frames == 0)) session.Ask(Request());
        }
        Console.Error.WriteLine("caps " + session.Caps.Length + " clock " + session.ClockOffsetNs.HasValue);
        session.Close();
        return 0;
    }

    static int RunOverload(int window, string limits)
    {
        ulong time = 1000000000, next = 0;
        int came = 0, most = 0;
        Message rendering = null, mailbox = null;
        var answers = new Queue<Message>();
        var session = new Session(() => time, data =>
        {
            Message m = Codec.Decode(data);
            if (m.Type == MessageType.Hello) answers.Enqueue(new Message { Type = MessageType.Caps, Json = limits });
            if (m.Type != MessageType.Render) return true;
            came++;
            most = Math.Max(most, rendering == null ? 1 : mailbox == null ? 2 : 3);
            if (rendering == null) rendering = m;
            else
            {
                if (mailbox != null) answers.Enqueue(new Message { Type = MessageType.Superseded, Id = mailbox.Id });
                mailbox = m;
            }
            return true;
        }, "csharp", window);
        Action<int> pass = milliseconds =>
        {
            for (int i = 0; i < milliseconds; i++)
            {
                time += 1000000;
                while (answers.Count > 0) session.Receive(Codec.Encode(answers.Dequeue()));
                session.Tick();
            }
        };
        pass(5);
        for (ulong i = 1; i <= 20; i++)
        {
            Message render = Request();
            render.ClientTimeNs = i;
            session.Ask(render);
            pass(1);
        }
        pass(400);
        if (mailbox == null)         // one at a time: the next comes after the answer
        {
            answers.Enqueue(new Message { Type = MessageType.Superseded, Id = rendering.Id });
            rendering = null;
            pass(2);
            next = rendering.ClientTimeNs;
        }
        else next = mailbox.ClientTimeNs;
        Console.WriteLine(next + " " + most + " " + came);
        return 0;
    }

    static Message Request()
    {
        var camera = new Camera
        {
            Position = new[] { 0f, 1f, 3f }, Orientation = new[] { 0f, 0f, 0f, 1f }, Fov = new[] { -0.4f, 0.4f, 0.4f, -0.4f },
            Width = 48, Height = 64
        };
        return new Message { Cameras = new[] { camera }, Pose = new Pose { Body = new float[165] } };
    }

    static byte[] Read(Stream stream, int count)
    {
        var data = new byte[count];
        for (int at = 0, read; at < count; at += read) if ((read = stream.Read(data, at, count - at)) <= 0) return null;
        return data;
    }
}

/// <summary>Writes a JSON object, as much of JSON as this needs.</summary>
sealed class Json
{
    readonly StringBuilder text = new StringBuilder();

    public string Object(Action<Json> fill)
    {
        fill(this);
        return "{" + text + "}";
    }

    public void Raw(string name, string json)
    {
        if (text.Length > 0) text.Append(',');
        text.Append('"').Append(name).Append("\":").Append(json);
    }

    public void Text(string name, string value)
    {
        var quoted = new StringBuilder("\"");
        foreach (char c in value) quoted.Append("\\u").Append(((int)c).ToString("x4"));
        Raw(name, quoted + "\"");
    }

    public void Number(string name, ulong value) { Raw(name, value.ToString(CultureInfo.InvariantCulture)); }
    public void Float(string name, double value) { Raw(name, value.ToString("R", CultureInfo.InvariantCulture)); }
    public void Flag(string name, bool value) { Raw(name, value ? "true" : "false"); }
    public void Floats(string name, float[] values) { Raw(name, Join(values, v => v.ToString("R", CultureInfo.InvariantCulture))); }
    public void Bytes(string name, byte[] values) { Raw(name, Join(values, v => v.ToString(CultureInfo.InvariantCulture))); }
    public void List<T>(string name, T[] values, Func<T, string> write) { Raw(name, Join(values, write)); }

    static string Join<T>(T[] values, Func<T, string> write)
    {
        return values == null ? "null" : "[" + string.Join(",", Array.ConvertAll(values, v => write(v))) + "]";
    }
}
