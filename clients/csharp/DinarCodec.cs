// Messages to bytes and back; docs/protocol.md holds every byte. Plain C# 7 for .NET Standard 2.0: no Unity, no packages.
using System;
using System.Collections.Generic;
using System.Text;

namespace DinarLive
{
    public static class Codec
    {
        const int HeaderSize = 64, MaxBlocks = 32, MaxCameras = 2, Joints = 55, MaxJson = 16384;
        const ushort Json = 1, CameraBlock = 2, PoseBlock = 3, Transl = 4, Expression = 5, Format = 6, Source = 7, Avatar = 8, Color = 16,
            Alpha = 17, Depth = 18, Timing = 19, Error = 20, Rect = 21, Background = 22, SourceTime = 23;
        const uint Magic = 0x4C524E44;
        static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);

        // ---- writing

        /// <summary>The bytes of a message. Throws ArgumentException for what does not fit.</summary>
        public static byte[] Encode(Message m)
        {
            var body = new Writer();
            switch (m.Type)
            {
                case MessageType.Hello:
                case MessageType.Caps:
                    byte[] json = Utf8.GetBytes(m.Json);
                    if (json.Length > MaxJson)
                        throw new ArgumentException("Json: " + json.Length + " bytes, at most " + MaxJson + " are allowed");
                    body.Block(Json, 1, w => w.Bytes(json, 0, json.Length));
                    break;
                case MessageType.Describe:
                    if (m.Avatar != "") body.Block(Avatar, 1, w => w.Text(m.Avatar));
                    break;
                case MessageType.Render:
                    WriteRender(body, m);
                    break;
                case MessageType.Frame:
                    WriteFrame(body, m);
                    break;
                case MessageType.Error:
                    body.Block(Error, 1, w => { w.U32(m.Code); w.Text(m.Text); });
                    break;
            }
            var head = new Writer();
            head.U32(Magic);
            head.U16(1);
            head.U16((ushort)m.Type);
            head.U32(m.Type == MessageType.Frame && m.Straight ? 1u : 0u);
            head.U16(HeaderSize);
            head.U16((ushort)body.Blocks);
            head.U64(m.Id);
            head.U64(m.ClientTimeNs);
            head.U64(m.ServerRecvNs);
            head.U64(m.ServerSendNs);
            head.U32((uint)body.Length);
            head.U32(m.Session);
            head.U64(0);
            return head.Followed(body);
        }

        static void WriteRender(Writer body, Message m)
        {
            if (m.Cameras.Length < 1 || m.Cameras.Length > MaxCameras)
                throw new ArgumentException("Cameras: got " + m.Cameras.Length + ", expected 1 or 2");
            if (m.Pose != null && m.Source != null) throw new ArgumentException("Pose and Source: got both, expected one of them or none");
            foreach (Camera camera in m.Cameras) WriteCamera(body, camera);
            if (m.Avatar != "") body.Block(Avatar, 1, w => w.Text(m.Avatar));
            if (m.Pose != null)
            {
                body.Block(PoseBlock, 1, w => w.Floats("Pose.Body", m.Pose.Body, 3 * Joints));
                body.Block(Transl, 1, w => w.Floats("Pose.Transl", m.Pose.Transl, 3));
                int count = m.Pose.Expression.Length;
                if (count > 100) throw new ArgumentException("Pose.Expression: got " + count + " numbers, expected at most 100");
                if (count > 0) body.Block(Expression, 1, w => w.Floats("Pose.Expression", m.Pose.Expression, count));
            }
            if (m.Source != null)
            {
                body.Block(Source, 1, w =>
                {
                    w.U16(m.Source.Index);
                    w.U16(m.Source.Follow ? (ushort)1 : (ushort)0);
                    w.U32(0);
                    w.F64(m.Source.Time);
                });
            }
            FrameFormat f = m.Format;
            bool over = f.Background != null, two = over || f.Margin != 0 || f.Near != 0 || f.Far != 0;
            body.Block(Format, two ? (ushort)2 : (ushort)1, w =>
            {
                w.U8(f.Color);
                w.U8(f.Quality);
                w.U8(f.Alpha);
                w.U8(f.Depth);
                w.U32((f.Straight ? 1u : 0u) | (over ? 2u : 0u));
                if (!two) return;
                for (int i = 0; i < 3; i++) w.U8(over ? f.Background[i] : (byte)0);
                w.U8(0);
                w.U16(f.Margin);
                w.U16(0);
                w.F32(f.Near);
                w.F32(f.Far);
            });
        }

        static void WriteFrame(Writer body, Message m)
        {
            if (m.Background != null) body.Block(Background, 1, w => { w.Bytes(m.Background, 0, 3); w.U8(0); });
            if (m.SourceTimeNs.HasValue) body.Block(SourceTime, 1, w => w.U64(m.SourceTimeNs.Value));
            foreach (View view in m.Views)
            {
                View v = view;
                WriteCamera(body, v.Camera);
                body.Block(Rect, 1, w => { w.U16(v.X); w.U16(v.Y); w.U16(v.Width); w.U16(v.Height); });
                WritePlane(body, Color, v.Color);
                if (v.Alpha != null) WritePlane(body, Alpha, v.Alpha);
                if (v.Depth != null) WritePlane(body, Depth, v.Depth);
            }
            body.Block(Timing, 1, w =>
            {
                foreach (KeyValuePair<string, float> entry in m.Timings)
                {
                    var name = new byte[12];
                    Encoding.ASCII.GetBytes(entry.Key, 0, Math.Min(12, entry.Key.Length), name, 0);
                    w.Bytes(name, 0, 12);
                    w.F32(entry.Value);
                }
            });
        }

        static void WritePlane(Writer body, ushort type, Plane plane)
        {
            body.Block(type, plane.Encoding, w => w.Bytes(plane.Data.Array, plane.Data.Offset, plane.Data.Count));
        }

        static void WriteCamera(Writer body, Camera c)
        {
            body.Block(CameraBlock, c.Fov != null ? (ushort)2 : (ushort)1, w =>
            {
                if (c.Fov != null)
                {
                    w.Floats("Camera.Position", c.Position, 3);
                    w.Floats("Camera.Orientation", c.Orientation, 4);
                    w.Floats("Camera.Fov", c.Fov, 4);
                }
                else
                {
                    w.Floats("Camera.K", c.K, 9);
                    w.Floats("Camera.WorldToCamera", c.WorldToCamera, 16);
                }
                w.U16(c.Width);
                w.U16(c.Height);
            });
        }

        /// <summary>Grows as it is written to; little-endian.</summary>
        sealed class Writer
        {
            byte[] data = new byte[1024];
            public int Length, Blocks;

            byte[] Room(int count)
            {
                if (Length + count > data.Length) Array.Resize(ref data, Math.Max(2 * data.Length, Length + count));
                return data;
            }

            public void U8(byte value) { Room(1)[Length++] = value; }
            public void U16(ushort value) { U8((byte)value); U8((byte)(value >> 8)); }
            public void U32(uint value) { U16((ushort)value); U16((ushort)(value >> 16)); }
            public void U64(ulong value) { U32((uint)value); U32((uint)(value >> 32)); }
            public void F32(float value) { U32(BitConverter.ToUInt32(BitConverter.GetBytes(value), 0)); }
            public void F64(double value) { U64((ulong)BitConverter.DoubleToInt64Bits(value)); }
            public void Text(string text) { byte[] bytes = Utf8.GetBytes(text); Bytes(bytes, 0, bytes.Length); }

            public void Bytes(byte[] from, int offset, int count)
            {
                Buffer.BlockCopy(from, offset, Room(count), Length, count);
                Length += count;
            }

            public void Floats(string name, float[] values, int count)
            {
                if (values == null || values.Length != count) throw new ArgumentException(name + ": expected " + count + " numbers");
                foreach (float value in values) F32(value);
            }

            public void Block(ushort type, ushort format, Action<Writer> write)
            {
                U16(type);
                U16(format);
                U32(0);
                int start = Length;
                write(this);
                int end = Length;
                while (Length % 8 != 0) U8(0);
                int padded = Length;
                Length = start - 4;
                U32((uint)(end - start));
                Length = padded;
                Blocks++;
            }

            public byte[] Followed(Writer body)
            {
                var all = new byte[Length + body.Length];
                Buffer.BlockCopy(data, 0, all, 0, Length);
                Buffer.BlockCopy(body.data, 0, all, Length, body.Length);
                return all;
            }
        }

        // ---- reading

        /// <summary>The message in `data`; its planes are parts of it. Throws ProtocolException.</summary>
        public static Message Decode(byte[] data)
        {
            if (data.Length < HeaderSize)
                throw new ProtocolException("message of " + data.Length + " bytes, expected at least " + HeaderSize);
            if (U32(data, 0) != Magic) throw new ProtocolException("this is not a dinar-live message");
            if (U16(data, 4) != 1) throw new ProtocolException("protocol version " + U16(data, 4) + ", expected 1: update the older side");
            int start = U16(data, 12);
            if (start < HeaderSize || start % 8 != 0 || start + (long)U32(data, 48) != data.Length)
                throw new ProtocolException("the lengths do not sum up");
            var m = new Message
            {
                Type = (MessageType)U16(data, 6), Straight = (U32(data, 8) & 1) != 0, Id = U64(data, 16), ClientTimeNs = U64(data, 24),
                ServerRecvNs = U64(data, 32), ServerSendNs = U64(data, 40), Session = U32(data, 52)
            };
            List<Block> blocks = ReadBlocks(data, start, U16(data, 14));
            switch (m.Type)
            {
                case MessageType.Hello:
                case MessageType.Caps:
                    Block json = Find(blocks, Json, "JSON");
                    if (json.Length > MaxJson)
                        throw new ProtocolException("JSON: " + json.Length + " bytes, at most " + MaxJson + " are allowed");
                    m.Json = json.Text();
                    break;
                case MessageType.Describe:
                    m.Avatar = ReadName(blocks);
                    break;
                case MessageType.Render:
                    ReadRender(m, blocks);
                    break;
                case MessageType.Frame:
                    ReadFrame(m, blocks);
                    break;
                case MessageType.Error:
                    Block error = Find(blocks, Error, "ERROR");
                    if (error.Length < 4 || error.Length > 504)
                        throw new ProtocolException("ERROR: " + error.Length + " bytes, expected 4..504");
                    m.Code = U32(data, error.Offset);
                    m.Text = Encoding.UTF8.GetString(data, error.Offset + 4, error.Length - 4);
                    break;
                case MessageType.Superseded:
                case MessageType.Bye:
                case MessageType.Time:
                    break;
                default:
                    throw new ProtocolException("message type " + (ushort)m.Type + " is not known");
            }
            return m;
        }

        struct Block
        {
            public ushort Type, Format;
            public byte[] Data;
            public int Offset, Length;

            public string Text()
            {
                try { return Utf8.GetString(Data, Offset, Length); }
                catch (ArgumentException) { throw new ProtocolException("block " + Type + ": the text is not UTF-8"); }
            }
        }

        static ushort U16(byte[] d, int at) { return (ushort)(d[at] | d[at + 1] << 8); }
        static uint U32(byte[] d, int at) { return (uint)U16(d, at) | (uint)U16(d, at + 2) << 16; }
        static ulong U64(byte[] d, int at) { return U32(d, at) | (ulong)U32(d, at + 4) << 32; }
        internal static float F32(byte[] d, int at) { return BitConverter.ToSingle(BitConverter.GetBytes(U32(d, at)), 0); }

        static List<Block> ReadBlocks(byte[] data, int at, int count)
        {
            if (count > MaxBlocks) throw new ProtocolException(count + " blocks, at most " + MaxBlocks + " are allowed");
            var blocks = new List<Block>(count);
            for (int i = 0; i < count; i++)
            {
                long end = at + 8 <= data.Length ? at + 8 + (long)U32(data, at + 4) : long.MaxValue - 7, padded = (end + 7) & ~7L;
                if (padded > data.Length) throw new ProtocolException("block " + i + " of " + count + " reaches beyond the message");
                for (long j = end; j < padded; j++) if (data[j] != 0)
                    throw new ProtocolException("block " + i + ": the padding is not zero");
                blocks.Add(new Block
                {
                    Type = U16(data, at), Format = U16(data, at + 2), Data = data, Offset = at + 8, Length = (int)end - at - 8
                });
                at = (int)padded;
            }
            if (at != data.Length) throw new ProtocolException((data.Length - at) + " bytes after the last block");
            return blocks;
        }

        static Block Find(List<Block> blocks, ushort type, string name)
        {
            foreach (Block block in blocks) if (block.Type == type) return Expect(block, name);
            throw new ProtocolException("no " + name + " block");
        }

        static Block Expect(Block block, string name, int length = -1, ushort format = 1)
        {
            if (block.Format != format)
                throw new ProtocolException(name + ": encoding " + block.Format + " is not known, expected " + format);
            if (length >= 0 && block.Length != length)
                throw new ProtocolException(name + ": " + block.Length + " bytes, expected " + length);
            return block;
        }

        static string ReadName(List<Block> blocks)
        {
            foreach (Block block in blocks) if (block.Type == Avatar) return Expect(block, "AVATAR").Text();
            return "";
        }

        static float[] ReadFloats(string name, Block block, int offset, int count)
        {
            var values = new float[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = F32(block.Data, block.Offset + offset + 4 * i);
                if (float.IsNaN(values[i]) || float.IsInfinity(values[i]))
                    throw new ProtocolException(name + ": a value is NaN or infinite");
            }
            return values;
        }

        static Camera ReadCamera(Block block)
        {
            bool openxr = block.Format == 2;
            int floats = openxr ? 11 : 25;
            Expect(block, "CAMERA", 4 * floats + 4, openxr ? (ushort)2 : (ushort)1);
            int at = block.Offset + 4 * floats;
            var c = new Camera { Width = U16(block.Data, at), Height = U16(block.Data, at + 2) };
            if (c.Width == 0 || c.Height == 0)
                throw new ProtocolException("CAMERA: size " + c.Width + "x" + c.Height + ", expected at least 1 pixel a side");
            if (openxr)
            {
                c.Position = ReadFloats("CAMERA", block, 0, 3);
                c.Orientation = ReadFloats("CAMERA", block, 12, 4);
                c.Fov = ReadFloats("CAMERA", block, 28, 4);
            }
            else
            {
                c.K = ReadFloats("CAMERA", block, 0, 9);
                c.WorldToCamera = ReadFloats("CAMERA", block, 36, 16);
            }
            return c;
        }

        static void ReadRender(Message m, List<Block> blocks)
        {
            var cameras = new List<Camera>();
            float[] body = null, transl = new float[3], expression = new float[0];
            foreach (Block b in blocks)
            {
                switch (b.Type)
                {
                    case CameraBlock: cameras.Add(ReadCamera(b)); break;
                    case PoseBlock: body = ReadFloats("POSE", Expect(b, "POSE", 12 * Joints), 0, 3 * Joints); break;
                    case Transl: transl = ReadFloats("TRANSL", Expect(b, "TRANSL", 12), 0, 3); break;
                    case Expression: expression = ReadFloats("EXPRESSION", Expect(b, "EXPRESSION"), 0, b.Length / 4); break;
                    case Source:
                        Expect(b, "SOURCE", 16);
                        m.Source = new SourceChoice
                        {
                            Index = U16(b.Data, b.Offset), Follow = (U16(b.Data, b.Offset + 2) & 1) != 0,
                            Time = BitConverter.Int64BitsToDouble((long)U64(b.Data, b.Offset + 8))
                        };
                        break;
                    case Format: m.Format = ReadFormat(b); break;
                }
            }
            if (cameras.Count < 1 || cameras.Count > MaxCameras)
                throw new ProtocolException("RENDER: " + cameras.Count + " cameras, expected 1 or 2");
            m.Cameras = cameras.ToArray();
            m.Avatar = ReadName(blocks);
            if (body != null) m.Pose = new Pose { Body = body, Transl = transl, Expression = expression };
        }

        static FrameFormat ReadFormat(Block b)
        {
            bool two = b.Format == 2;
            Expect(b, "FORMAT", two ? 24 : 8, two ? (ushort)2 : (ushort)1);
            byte[] d = b.Data;
            int at = b.Offset;
            var f = new FrameFormat { Color = d[at], Quality = d[at + 1], Alpha = d[at + 2], Depth = d[at + 3] };
            f.Straight = (d[at + 4] & 1) != 0;
            if (!two) return f;
            f.Background = (d[at + 4] & 2) != 0 ? new[] { d[at + 8], d[at + 9], d[at + 10] } : null;
            f.Margin = U16(d, at + 12);
            f.Near = F32(d, at + 16);
            f.Far = F32(d, at + 20);
            return f;
        }

        static void ReadFrame(Message m, List<Block> blocks)
        {
            var views = new List<View>();
            foreach (Block b in blocks)
            {
                View last = views.Count > 0 ? views[views.Count - 1] : null;
                switch (b.Type)
                {
                    case CameraBlock:
                        Camera camera = ReadCamera(b);
                        if (views.Count == MaxCameras) throw new ProtocolException("FRAME: more than 2 views");
                        views.Add(new View { Camera = camera, Width = camera.Width, Height = camera.Height });
                        break;
                    case Rect:
                        Expect(b, "RECT", 8);
                        if (last == null || last.Color != null || last.Alpha != null || last.Depth != null)
                            throw new ProtocolException("FRAME: RECT without a CAMERA before it, or after a plane");
                        last.X = U16(b.Data, b.Offset);
                        last.Y = U16(b.Data, b.Offset + 2);
                        last.Width = U16(b.Data, b.Offset + 4);
                        last.Height = U16(b.Data, b.Offset + 6);
                        bool inside = last.X + last.Width <= last.Camera.Width && last.Y + last.Height <= last.Camera.Height;
                        if (last.Width == 0 || last.Height == 0 || !inside)
                            throw new ProtocolException("RECT: it is empty or reaches out of the picture");
                        break;
                    case Color:
                        Once("COLOR", last, last?.Color);
                        long rgba = 4L * last.Width * last.Height;
                        last.Color = ReadPlane("COLOR", b, b.Format == PlaneEncoding.Jpeg ? -1 : rgba, PlaneEncoding.Raw);
                        break;
                    case Alpha:
                        Once("ALPHA", last, last?.Alpha);
                        long alpha = (long)last.Width * last.Height, half = (last.Width + 1L) / 2 * ((last.Height + 1L) / 2);
                        long a = b.Format == PlaneEncoding.Plain ? alpha : b.Format == PlaneEncoding.Half ? half : -1;
                        last.Alpha = ReadPlane("ALPHA", b, a, PlaneEncoding.HalfDeflate);
                        break;
                    case Depth:
                        Once("DEPTH", last, last?.Depth);
                        long pixels = (long)last.Width * last.Height;
                        long d = b.Format == PlaneEncoding.Plain ? 4 * pixels : b.Format == PlaneEncoding.Inverse ? 8 + 2 * pixels : -1;
                        last.Depth = ReadPlane("DEPTH", b, d, PlaneEncoding.InverseDeflate);
                        break;
                    case Background:
                        Expect(b, "BACKGROUND", 4);
                        m.Background = new[] { b.Data[b.Offset], b.Data[b.Offset + 1], b.Data[b.Offset + 2] };
                        break;
                    case SourceTime: m.SourceTimeNs = U64(b.Data, Expect(b, "SOURCE_TIME", 8).Offset); break;
                    case Timing:
                        Expect(b, "TIMING");
                        if (b.Length % 16 != 0 || b.Length > 512)
                            throw new ProtocolException("TIMING: " + b.Length + " bytes, expected a multiple of 16 up to 512");
                        for (int at = b.Offset; at < b.Offset + b.Length; at += 16)
                        {
                            string name = Encoding.ASCII.GetString(b.Data, at, 12).TrimEnd('\0');
                            m.Timings.Add(new KeyValuePair<string, float>(name, F32(b.Data, at + 12)));
                        }
                        break;
                }
            }
            if (views.Count == 0 || views.Exists(v => v.Color == null))
                throw new ProtocolException("FRAME: a view without CAMERA or COLOR");
            m.Views = views.ToArray();
        }

        static void Once(string name, View view, Plane there)
        {
            if (view == null || there != null) throw new ProtocolException("FRAME: " + name + " without a CAMERA before it, or twice");
        }

        /// <summary>length: what an uncompressed plane must have, -1 for a compressed one.</summary>
        static Plane ReadPlane(string name, Block b, long length, int encodings)
        {
            if (b.Format < 1 || b.Format > encodings) throw new ProtocolException(name + ": encoding " + b.Format + " is not known");
            if (length >= 0 && b.Length != length) throw new ProtocolException(name + ": " + b.Length + " bytes, expected " + length);
            return new Plane { Encoding = b.Format, Data = new ArraySegment<byte>(b.Data, b.Offset, b.Length) };
        }
    }
}
