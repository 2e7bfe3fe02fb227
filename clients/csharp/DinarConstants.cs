// Written by clients/generate.py from runtime/stream/protocol. Do not edit: change it there and run that.
namespace DinarLive
{
    /// <summary>What a message is.</summary>
    public enum MessageType : ushort
    {
        Hello = 1, Caps = 2, Render = 3, Frame = 4, Superseded = 5, Error = 6, Bye = 7, Time = 8, Describe = 9
    }

    /// <summary>What a block of a message holds.</summary>
    public static class BlockType
    {
        public const ushort
            Json = 1, Camera = 2, Pose = 3, Transl = 4, Expression = 5, Format = 6, Source = 7, Avatar = 8,
            Renderer = 9, Color = 16, Alpha = 17, Depth = 18, Timing = 19, Error = 20, Rect = 21, Background = 22,
            SourceTime = 23, Rendered = 24;
    }

    /// <summary>Why a server refused something.</summary>
    public enum ErrorCode : uint
    {
        Malformed = 1, Version = 2, Unexpected = 3, HelloRequired = 4, Encoding = 5, Limit = 6, BadId = 7, Clients = 8,
        Refused = 9, RenderFailed = 10, Closing = 11, UnknownAvatar = 12, Rate = 13
    }

    /// <summary>How planes are written.</summary>
    public static class PlaneEncoding
    {
        // Colour.
        public const ushort Jpeg = 1;
        public const ushort Raw = 2;
        // Alpha and depth: a byte or a float for each pixel, as they are or deflated.
        public const ushort None = 0;
        public const ushort Plain = 1;
        public const ushort Deflate = 2;
        // Alpha with one byte for 2 x 2 pixels.
        public const ushort Half = 3;
        public const ushort HalfDeflate = 4;
        // Depth as near, far and 16 bits of inverse depth.
        public const ushort Inverse = 3;
        public const ushort InverseDeflate = 4;
    }

    /// <summary>Sizes, formats, flags and limits.</summary>
    internal static class Wire
    {
        // The start of every message.
        public const int Magic = 0x4c524e44;
        public const int Protocol = 1;
        // Bytes of the header, and of what comes before the data of each block.
        public const int HeaderSize = 64;
        public const int BlockSize = 8;
        // Bytes of blocks, and floats of the two kinds of camera.
        public const int FormatSize = 8;
        public const int LongFormatSize = 24;
        public const int SourceSize = 16;
        public const int RectSize = 8;
        public const int BackgroundSize = 4;
        public const int SourceTimeSize = 8;
        public const int ScaleSize = 4;
        public const int TimingSize = 16;
        public const int TimingNameSize = 12;
        public const int NearFarSize = 8;
        public const int MatrixCameraFloats = 25;
        public const int OpenxrCameraFloats = 11;
        public const int Joints = 55;
        // Formats of blocks: of those with one format, of CAMERA and of FORMAT.
        public const int OnlyFormat = 1;
        public const int MatrixCamera = 1;
        public const int OpenxrCamera = 2;
        public const int ShortFormat = 1;
        public const int LongFormat = 2;
        // Flags: of FRAME and FORMAT, of FORMAT, of SOURCE.
        public const int Straight = 1;
        public const int HasBackground = 2;
        public const int Follow = 1;
        // The most of each: blocks, cameras, coefficients, entries; bytes of names, JSON and error texts.
        public const int MaxBlocks = 32;
        public const int MaxCameras = 2;
        public const int MaxExpression = 100;
        public const int MaxTimings = 32;
        public const int MaxName = 64;
        public const int MaxJson = 16384;
        public const int MaxErrorText = 500;
    }
}
