// The messages of dinar-live as objects. Plain C# 7 for .NET Standard 2.0: no Unity, no packages.
using System;
using System.Collections.Generic;

namespace DinarLive
{
    /// <summary>Bytes that are no message.</summary>
    public sealed class ProtocolException : Exception
    {
        public ProtocolException(string text) : base(text) { }
    }

    /// <summary>K[9] in pixels and WorldToCamera[16], row-major, OpenCV axes; or, as OpenXR has it, Position[3] in metres, Orientation[4]
    /// (quaternion x y z w) and Fov[4], the angles left, right, up, down in radians. The world has y up and is right-handed.</summary>
    public sealed class Camera
    {
        public float[] K, WorldToCamera, Position, Orientation, Fov;
        public ushort Width, Height;
    }

    /// <summary>SMPL-X: Body[165] axis-angle in radians, Transl[3] in metres, Expression[up to 100].</summary>
    public sealed class Pose
    {
        public float[] Body, Transl = new float[3], Expression = new float[0];
    }

    /// <summary>One of the server's own motions: 0 is the live one, which knows no Time (seconds).</summary>
    public sealed class SourceChoice
    {
        public ushort Index;
        public double Time;
        public bool Follow;
    }

    public sealed class FrameFormat
    {
        public byte Color = (byte)PlaneEncoding.Jpeg, Quality = 85, Alpha = (byte)PlaneEncoding.Deflate, Depth = (byte)PlaneEncoding.None;
        public bool Straight;
        public byte[] Background;       // r, g, b, or null for a transparent picture
        public ushort Margin;
        public float Near, Far;         // metres, of inverse depth; 0 and 0 = what each picture needs
    }

    /// <summary>What made a picture: the avatar's renderer, and how many pixels it rendered for one of the picture's along each side.</summary>
    public sealed class Rendered
    {
        public string Renderer;
        public float Scale = 1;
    }

    public sealed class Plane
    {
        public ushort Encoding;
        public ArraySegment<byte> Data;
    }

    /// <summary>One picture: its planes cover the rectangle X, Y, Width, Height of it; the rest is empty.</summary>
    public sealed class View
    {
        public Camera Camera;
        public ushort X, Y, Width, Height;
        public Plane Color, Alpha, Depth;
    }

    /// <summary>Any message; each type uses some of the fields, as docs/protocol.md has them. Times in nanoseconds.</summary>
    public sealed class Message
    {
        public MessageType Type;
        public ulong Id, ClientTimeNs, ServerRecvNs, ServerSendNs;
        public uint Session;
        public string Json;                                 // Hello, Caps
        public string Avatar = "";                          // Render, Describe
        public string Renderer;                             // Render: one of the avatar's, "" = the server chooses, null = it does not say
        public Camera[] Cameras = new Camera[0];            // Render
        public Pose Pose;
        public SourceChoice Source;
        public FrameFormat Format = new FrameFormat();
        public View[] Views = new View[0];                  // Frame
        public bool Straight;
        public byte[] Background;
        public ulong? SourceTimeNs;
        public Rendered Rendered;                           // where Renderer was not null
        public List<KeyValuePair<string, float>> Timings = new List<KeyValuePair<string, float>>();     // milliseconds
        public uint Code;                                   // Error
        public string Text = "";
    }
}
