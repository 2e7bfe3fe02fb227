// Messages to bytes; docs/protocol.md holds every byte. Plain C# 7 for .NET Standard 2.0: no Unity, no packages.
using System;
using System.Collections.Generic;
using System.Text;

namespace DinarLive
{
    public static partial class Codec
    {
        internal static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);

        /// <summary>The bytes of a message. Throws ArgumentException for what does not fit.</summary>
        public static byte[] Encode(Message m)
        {
            var body = new Writer();
            switch (m.Type)
            {
                case MessageType.Hello:
                case MessageType.Caps:
                    byte[] json = Utf8.GetBytes(m.Json);
                    if (json.Length > Wire.MaxJson)
                        throw new ArgumentException("Json: " + json.Length + " bytes, at most " + Wire.MaxJson + " are allowed");
                    body.Block(BlockType.Json, Wire.OnlyFormat, w => w.Bytes(json, 0, json.Length));
                    break;
                case MessageType.Describe:
                    if (m.Avatar != "") body.Block(BlockType.Avatar, Wire.OnlyFormat, w => w.Text(m.Avatar));
                    break;
                case MessageType.Render:
                    WriteRender(body, m);
                    break;
                case MessageType.Frame:
                    WriteFrame(body, m);
                    break;
                case MessageType.Error:
                    body.Block(BlockType.Error, Wire.OnlyFormat, w => { w.U32(m.Code); w.Text(m.Text); });
                    break;
            }
            var head = new Writer();
            head.U32(Wire.Magic);
            head.U16(Wire.Protocol);
            head.U16((ushort)m.Type);
            head.U32(m.Type == MessageType.Frame && m.Straight ? (uint)Wire.Straight : 0);
            head.U16(Wire.HeaderSize);
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
            if (m.Cameras.Length < 1 || m.Cameras.Length > Wire.MaxCameras)
                throw new ArgumentException("Cameras: got " + m.Cameras.Length + ", expected 1 or " + Wire.MaxCameras);
            if (m.Pose != null && m.Source != null) throw new ArgumentException("Pose and Source: got both, expected one of them or none");
            foreach (Camera camera in m.Cameras) WriteCamera(body, camera);
            if (m.Avatar != "") body.Block(BlockType.Avatar, Wire.OnlyFormat, w => w.Text(m.Avatar));
            if (m.Renderer != null) body.Block(BlockType.Renderer, Wire.OnlyFormat, w => w.Text(m.Renderer));
            if (m.Pose != null)
            {
                body.Block(BlockType.Pose, Wire.OnlyFormat, w => w.Floats("Pose.Body", m.Pose.Body, 3 * Wire.Joints));
                body.Block(BlockType.Transl, Wire.OnlyFormat, w => w.Floats("Pose.Transl", m.Pose.Transl, 3));
                int count = m.Pose.Expression.Length;
                if (count > Wire.MaxExpression)
                    throw new ArgumentException("Pose.Expression: got " + count + " numbers, expected at most " + Wire.MaxExpression);
                if (count > 0) body.Block(BlockType.Expression, Wire.OnlyFormat, w => w.Floats("Pose.Expression", m.Pose.Expression, count));
            }
            if (m.Source != null)
            {
                body.Block(BlockType.Source, Wire.OnlyFormat, w =>
                {
                    w.U16(m.Source.Index);
                    w.U16((ushort)(m.Source.Follow ? Wire.Follow : 0));
                    w.U32(0);
                    w.F64(m.Source.Time);
                });
            }
            FrameFormat f = m.Format;
            bool over = f.Background != null, longer = over || f.Margin != 0 || f.Near != 0 || f.Far != 0;
            body.Block(BlockType.Format, (ushort)(longer ? Wire.LongFormat : Wire.ShortFormat), w =>
            {
                w.U8(f.Color);
                w.U8(f.Quality);
                w.U8(f.Alpha);
                w.U8(f.Depth);
                w.U32((uint)((f.Straight ? Wire.Straight : 0) | (over ? Wire.HasBackground : 0)));
                if (!longer) return;
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
            if (m.Background != null) body.Block(BlockType.Background, Wire.OnlyFormat, w => { w.Bytes(m.Background, 0, 3); w.U8(0); });
            if (m.SourceTimeNs.HasValue) body.Block(BlockType.SourceTime, Wire.OnlyFormat, w => w.U64(m.SourceTimeNs.Value));
            if (m.Rendered != null)
                body.Block(BlockType.Rendered, Wire.OnlyFormat, w => { w.F32(m.Rendered.Scale); w.Text(m.Rendered.Renderer); });
            foreach (View view in m.Views)
            {
                View v = view;
                WriteCamera(body, v.Camera);
                body.Block(BlockType.Rect, Wire.OnlyFormat, w => { w.U16(v.X); w.U16(v.Y); w.U16(v.Width); w.U16(v.Height); });
                WritePlane(body, BlockType.Color, v.Color);
                if (v.Alpha != null) WritePlane(body, BlockType.Alpha, v.Alpha);
                if (v.Depth != null) WritePlane(body, BlockType.Depth, v.Depth);
            }
            body.Block(BlockType.Timing, Wire.OnlyFormat, w =>
            {
                foreach (KeyValuePair<string, float> entry in m.Timings)
                {
                    var name = new byte[Wire.TimingNameSize];
                    Encoding.ASCII.GetBytes(entry.Key, 0, Math.Min(name.Length, entry.Key.Length), name, 0);
                    w.Bytes(name, 0, name.Length);
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
            body.Block(BlockType.Camera, (ushort)(c.Fov != null ? Wire.OpenxrCamera : Wire.MatrixCamera), w =>
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
        public void Text(string text) { byte[] bytes = Codec.Utf8.GetBytes(text); Bytes(bytes, 0, bytes.Length); }

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
}
