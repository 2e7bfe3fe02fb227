// Bytes to messages; docs/protocol.md holds every byte. Plain C# 7 for .NET Standard 2.0: no Unity, no packages.
using System;
using System.Collections.Generic;
using System.Text;

namespace DinarLive
{
    public static partial class Codec
    {
        /// <summary>The message in `data`; its planes are parts of it. Throws ProtocolException.</summary>
        public static Message Decode(byte[] data)
        {
            if (data.Length < Wire.HeaderSize)
                throw new ProtocolException("message of " + data.Length + " bytes, expected at least " + Wire.HeaderSize);
            if (U32(data, 0) != Wire.Magic) throw new ProtocolException("this is not a dinar-live message");
            if (U16(data, 4) != Wire.Protocol)
                throw new ProtocolException("protocol version " + U16(data, 4) + ", expected " + Wire.Protocol + ": update the older side");
            int start = U16(data, 12);
            if (start < Wire.HeaderSize || start % 8 != 0 || start + (long)U32(data, 48) != data.Length)
                throw new ProtocolException("the lengths do not sum up");
            var m = new Message
            {
                Type = (MessageType)U16(data, 6), Straight = (U32(data, 8) & Wire.Straight) != 0, Id = U64(data, 16), ClientTimeNs = U64(data, 24),
                ServerRecvNs = U64(data, 32), ServerSendNs = U64(data, 40), Session = U32(data, 52)
            };
            List<Block> blocks = ReadBlocks(data, start, U16(data, 14));
            switch (m.Type)
            {
                case MessageType.Hello:
                case MessageType.Caps:
                    Block json = Find(blocks, BlockType.Json, "JSON");
                    if (json.Length > Wire.MaxJson)
                        throw new ProtocolException("JSON: " + json.Length + " bytes, at most " + Wire.MaxJson + " are allowed");
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
                    Block error = Find(blocks, BlockType.Error, "ERROR");
                    if (error.Length < 4 || error.Length > 4 + Wire.MaxErrorText)
                        throw new ProtocolException("ERROR: " + error.Length + " bytes, expected 4.." + (4 + Wire.MaxErrorText));
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
            if (count > Wire.MaxBlocks) throw new ProtocolException(count + " blocks, at most " + Wire.MaxBlocks + " are allowed");
            var blocks = new List<Block>(count);
            for (int i = 0; i < count; i++)
            {
                long end = at + Wire.BlockSize <= data.Length ? at + Wire.BlockSize + (long)U32(data, at + 4) : long.MaxValue - 7;
                long padded = (end + 7) & ~7L;
                if (padded > data.Length) throw new ProtocolException("block " + i + " of " + count + " reaches beyond the message");
                for (long j = end; j < padded; j++) if (data[j] != 0)
                    throw new ProtocolException("block " + i + ": the padding is not zero");
                blocks.Add(new Block
                {
                    Type = U16(data, at), Format = U16(data, at + 2), Data = data, Offset = at + Wire.BlockSize,
                    Length = (int)end - at - Wire.BlockSize
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

        static Block Expect(Block block, string name, int length = -1, ushort format = Wire.OnlyFormat)
        {
            if (block.Format != format)
                throw new ProtocolException(name + ": encoding " + block.Format + " is not known, expected " + format);
            if (length >= 0 && block.Length != length)
                throw new ProtocolException(name + ": " + block.Length + " bytes, expected " + length);
            return block;
        }

        static string ReadName(List<Block> blocks, ushort type = BlockType.Avatar, string none = "")
        {
            foreach (Block block in blocks) if (block.Type == type) return Expect(block, "block " + type).Text();
            return none;
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
            bool openxr = block.Format == Wire.OpenxrCamera;
            int floats = openxr ? Wire.OpenxrCameraFloats : Wire.MatrixCameraFloats;
            Expect(block, "CAMERA", 4 * floats + 4, (ushort)(openxr ? Wire.OpenxrCamera : Wire.MatrixCamera));
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
                    case BlockType.Camera: cameras.Add(ReadCamera(b)); break;
                    case BlockType.Pose: body = ReadFloats("POSE", Expect(b, "POSE", 12 * Wire.Joints), 0, 3 * Wire.Joints); break;
                    case BlockType.Transl: transl = ReadFloats("TRANSL", Expect(b, "TRANSL", 12), 0, 3); break;
                    case BlockType.Expression: expression = ReadFloats("EXPRESSION", Expect(b, "EXPRESSION"), 0, b.Length / 4); break;
                    case BlockType.Source:
                        Expect(b, "SOURCE", Wire.SourceSize);
                        m.Source = new SourceChoice
                        {
                            Index = U16(b.Data, b.Offset), Follow = (U16(b.Data, b.Offset + 2) & Wire.Follow) != 0,
                            Time = BitConverter.Int64BitsToDouble((long)U64(b.Data, b.Offset + 8))
                        };
                        break;
                    case BlockType.Format: m.Format = ReadFormat(b); break;
                }
            }
            if (cameras.Count < 1 || cameras.Count > Wire.MaxCameras)
                throw new ProtocolException("RENDER: " + cameras.Count + " cameras, expected 1 or " + Wire.MaxCameras);
            m.Cameras = cameras.ToArray();
            m.Avatar = ReadName(blocks);
            m.Renderer = ReadName(blocks, BlockType.Renderer, null);
            if (body != null) m.Pose = new Pose { Body = body, Transl = transl, Expression = expression };
        }

        static FrameFormat ReadFormat(Block b)
        {
            bool longer = b.Format == Wire.LongFormat;
            Expect(b, "FORMAT", longer ? Wire.LongFormatSize : Wire.FormatSize, (ushort)(longer ? Wire.LongFormat : Wire.ShortFormat));
            byte[] d = b.Data;
            int at = b.Offset;
            var f = new FrameFormat { Color = d[at], Quality = d[at + 1], Alpha = d[at + 2], Depth = d[at + 3] };
            f.Straight = (d[at + 4] & Wire.Straight) != 0;
            if (!longer) return f;
            f.Background = (d[at + 4] & Wire.HasBackground) != 0 ? new[] { d[at + 8], d[at + 9], d[at + 10] } : null;
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
                    case BlockType.Camera:
                        Camera camera = ReadCamera(b);
                        if (views.Count == Wire.MaxCameras) throw new ProtocolException("FRAME: more than " + Wire.MaxCameras + " views");
                        views.Add(new View { Camera = camera, Width = camera.Width, Height = camera.Height });
                        break;
                    case BlockType.Rect:
                        Expect(b, "RECT", Wire.RectSize);
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
                    case BlockType.Color:
                        Once("COLOR", last, last?.Color);
                        long rgba = 4L * last.Width * last.Height;
                        last.Color = ReadPlane("COLOR", b, b.Format == PlaneEncoding.Jpeg ? -1 : rgba, PlaneEncoding.Raw);
                        break;
                    case BlockType.Alpha:
                        Once("ALPHA", last, last?.Alpha);
                        long alpha = (long)last.Width * last.Height, half = (last.Width + 1L) / 2 * ((last.Height + 1L) / 2);
                        long a = b.Format == PlaneEncoding.Plain ? alpha : b.Format == PlaneEncoding.Half ? half : -1;
                        last.Alpha = ReadPlane("ALPHA", b, a, PlaneEncoding.HalfDeflate);
                        break;
                    case BlockType.Depth:
                        Once("DEPTH", last, last?.Depth);
                        long pixels = (long)last.Width * last.Height;
                        long inverse = Wire.NearFarSize + 2 * pixels;
                        long d = b.Format == PlaneEncoding.Plain ? 4 * pixels : b.Format == PlaneEncoding.Inverse ? inverse : -1;
                        last.Depth = ReadPlane("DEPTH", b, d, PlaneEncoding.InverseDeflate);
                        break;
                    case BlockType.Background:
                        Expect(b, "BACKGROUND", Wire.BackgroundSize);
                        m.Background = new[] { b.Data[b.Offset], b.Data[b.Offset + 1], b.Data[b.Offset + 2] };
                        break;
                    case BlockType.SourceTime: m.SourceTimeNs = U64(b.Data, Expect(b, "SOURCE_TIME", Wire.SourceTimeSize).Offset); break;
                    case BlockType.Rendered: m.Rendered = ReadRendered(Expect(b, "RENDERED")); break;
                    case BlockType.Timing: ReadTimings(m, b); break;
                }
            }
            if (views.Count == 0 || views.Exists(v => v.Color == null))
                throw new ProtocolException("FRAME: a view without CAMERA or COLOR");
            m.Views = views.ToArray();
        }

        static Rendered ReadRendered(Block b)
        {
            if (b.Length < Wire.ScaleSize)
                throw new ProtocolException("RENDERED: " + b.Length + " bytes, expected at least " + Wire.ScaleSize);
            float scale = F32(b.Data, b.Offset);
            if (!(scale > 0 && scale <= 1)) throw new ProtocolException("RENDERED: a scale of " + scale + ", expected more than 0 and at most 1");
            b.Offset += Wire.ScaleSize;
            b.Length -= Wire.ScaleSize;
            return new Rendered { Renderer = b.Text(), Scale = scale };
        }

        static void ReadTimings(Message m, Block b)
        {
            const int Most = Wire.MaxTimings * Wire.TimingSize;
            Expect(b, "TIMING");
            if (b.Length % Wire.TimingSize != 0 || b.Length > Most)
                throw new ProtocolException("TIMING: " + b.Length + " bytes, expected a multiple of " + Wire.TimingSize + " up to " + Most);
            for (int at = b.Offset; at < b.Offset + b.Length; at += Wire.TimingSize)
            {
                string name = Encoding.ASCII.GetString(b.Data, at, Wire.TimingNameSize).TrimEnd('\0');
                m.Timings.Add(new KeyValuePair<string, float>(name, F32(b.Data, at + Wire.TimingNameSize)));
            }
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
