// The planes of a view to pixels. Plain C# 7 for .NET Standard 2.0. The JPEG is left to whoever shows it: Unity has Texture2D.LoadImage.
using System;
using System.IO;
using System.IO.Compression;

namespace DinarLive
{
    public static class Planes
    {
        /// <summary>The alpha of a view, a byte for each pixel of its rectangle, row 0 on top; null where it has none.
        /// Throws ProtocolException.</summary>
        public static byte[] AlphaOf(View view)
        {
            Plane plane = view.Alpha;
            if (plane == null) return null;
            int w = (view.Width + 1) / 2, h = (view.Height + 1) / 2, whole = view.Width * view.Height;
            switch (plane.Encoding)
            {
                case PlaneEncoding.Plain: return Copy(plane.Data, whole);
                case PlaneEncoding.Deflate: return Inflate(plane.Data, whole);
                case PlaneEncoding.Half: return Twice(Copy(plane.Data, w * h), w, h, view.Width, view.Height);
                default: return Twice(Inflate(plane.Data, w * h), w, h, view.Width, view.Height);
            }
        }

        /// <summary>Depth in metres (camera z), for each pixel of the view's rectangle, 0 = nothing there; null where it has none.
        /// Throws ProtocolException.</summary>
        public static float[] DepthOf(View view)
        {
            Plane plane = view.Depth;
            if (plane == null) return null;
            var metres = new float[view.Width * view.Height];
            bool deflated = plane.Encoding == PlaneEncoding.Deflate || plane.Encoding == PlaneEncoding.InverseDeflate;
            if (plane.Encoding == PlaneEncoding.Plain || plane.Encoding == PlaneEncoding.Deflate)
            {
                byte[] floats = deflated ? Inflate(plane.Data, 4 * metres.Length) : Copy(plane.Data, 4 * metres.Length);
                Buffer.BlockCopy(floats, 0, metres, 0, floats.Length);      // little-endian, as every machine that Unity runs on
                return metres;
            }
            if (plane.Data.Count < Wire.NearFarSize)
                throw new ProtocolException("DEPTH: " + plane.Data.Count + " bytes, expected near, far and the plane");
            float near = Codec.F32(plane.Data.Array, plane.Data.Offset), far = Codec.F32(plane.Data.Array, plane.Data.Offset + 4);
            if (!(near > 0 && near < far && far < float.PositiveInfinity))
                throw new ProtocolException("DEPTH: near " + near + " and far " + far);
            var rest = new ArraySegment<byte>(plane.Data.Array, plane.Data.Offset + Wire.NearFarSize,
                plane.Data.Count - Wire.NearFarSize);
            byte[] values = deflated ? Inflate(rest, 2 * metres.Length) : Copy(rest, 2 * metres.Length);
            double step = (1.0 / near - 1.0 / far) / 65535;
            for (int i = 0; i < metres.Length; i++)
            {
                int v = values[2 * i] | values[2 * i + 1] << 8;
                metres[i] = v == 0 ? 0 : (float)(1 / (1.0 / far + v * step));
            }
            return metres;
        }

        static byte[] Copy(ArraySegment<byte> data, int size)
        {
            if (data.Count != size) throw new ProtocolException("a plane has " + data.Count + " bytes, expected " + size);
            var copy = new byte[size];
            Buffer.BlockCopy(data.Array, data.Offset, copy, 0, size);
            return copy;
        }

        /// <summary>Exactly `size` bytes of a zlib stream (RFC 1950), its checksum compared.</summary>
        static byte[] Inflate(ArraySegment<byte> data, int size)
        {
            byte[] d = data.Array;
            int at = data.Offset, end = at + data.Count, filled = 0;
            if (data.Count < 6 || (d[at] & 15) != 8 || (d[at] << 8 | d[at + 1]) % 31 != 0 || (d[at + 1] & 32) != 0)
                throw new ProtocolException("a plane is no zlib stream");
            var plain = new byte[size];
            try
            {
                using (var stream = new DeflateStream(new MemoryStream(d, at + 2, data.Count - 2), CompressionMode.Decompress))
                {
                    for (int read; filled < size && (read = stream.Read(plain, filled, size - filled)) > 0;) filled += read;
                    if (filled == size && stream.ReadByte() >= 0)
                        throw new ProtocolException("a plane inflates to more than " + size + " bytes");
                }
            }
            catch (Exception e) when (e is InvalidDataException || e is IOException)
            {
                throw new ProtocolException("a plane is no zlib stream: " + e.Message);
            }
            if (filled != size) throw new ProtocolException("a plane inflates to " + filled + " bytes, expected " + size);
            uint a = 1, b = 0;
            foreach (byte value in plain)
            {
                a = (a + value) % 65521;
                b = (b + a) % 65521;
            }
            uint told = (uint)d[end - 4] << 24 | (uint)d[end - 3] << 16 | (uint)d[end - 2] << 8 | d[end - 1];
            if ((b << 16 | a) != told) throw new ProtocolException("a plane's checksum is wrong");
            return plain;
        }

        /// <summary>Bilinearly at twice the size: the samples lie at the corners (2j + 1, 2i + 1) between the pixels.</summary>
        static byte[] Twice(byte[] small, int w, int h, int width, int height)
        {
            var big = new byte[width * height];
            for (int y = 0; y < height; y++)
            {
                int i = y / 2, i2 = (y & 1) == 0 ? Math.Max(i - 1, 0) : Math.Min(i + 1, h - 1);
                for (int x = 0; x < width; x++)
                {
                    int j = x / 2, j2 = (x & 1) == 0 ? Math.Max(j - 1, 0) : Math.Min(j + 1, w - 1);
                    int near = 3 * small[i * w + j] + small[i * w + j2], far = 3 * small[i2 * w + j] + small[i2 * w + j2];
                    big[y * width + x] = (byte)((3 * near + far + 8) >> 4);
                }
            }
            return big;
        }
    }
}
