// Signatures of what DinarAvatar.cs uses of Unity and NetMQ, so that a compiler can read it where neither is. Nothing here does anything.
using System;

namespace UnityEngine
{
    public class TooltipAttribute : Attribute { public TooltipAttribute(string text) { } }
    public class RangeAttribute : Attribute { public RangeAttribute(float low, float high) { } }
    public class Object { public string name; public static void Destroy(Object o) { } }
    public class Component : Object
    {
        public Transform transform;
        public GameObject gameObject;
        public T GetComponent<T>() { return default(T); }
    }
    public class Behaviour : Component { public bool enabled; }
    public class MonoBehaviour : Behaviour { }
    public class Collider : Component { }
    public class Renderer : Component { public Material sharedMaterial; }
    public class Shader : Object { }
    public class Material : Object
    {
        public Material(Shader shader) { }
        public void SetTexture(string name, Texture texture) { }
        public void SetMatrix(string name, Matrix4x4 matrix) { }
        public void SetVector(string name, Vector4 vector) { }
    }
    public class Texture : Object { public int width, height; public TextureWrapMode wrapMode; }
    public class Texture2D : Texture
    {
        public Texture2D(int width, int height, TextureFormat format, bool mips, bool linear) { }
        public bool Reinitialize(int width, int height) { return true; }
        public void LoadRawTextureData(byte[] data) { }
        public void Apply(bool mips) { }
    }
    public static class ImageConversion { public static bool LoadImage(this Texture2D texture, byte[] data) { return true; } }
    public enum TextureFormat { RGB24, R8 }
    public enum TextureWrapMode { Clamp }
    public enum PrimitiveType { Quad }
    public class GameObject : Object
    {
        public Transform transform;
        public static GameObject CreatePrimitive(PrimitiveType type) { return null; }
        public T GetComponent<T>() { return default(T); }
        public void SetActive(bool active) { }
    }
    public class Transform : Component
    {
        public Vector3 position, localScale;
        public Quaternion rotation;
        public Matrix4x4 localToWorldMatrix;
    }
    public class Camera : Behaviour
    {
        public enum StereoscopicEye { Left, Right }
        public static Camera main;
        public bool stereoEnabled;
        public Matrix4x4 worldToCameraMatrix, projectionMatrix;
        public Matrix4x4 GetStereoViewMatrix(StereoscopicEye eye) { return default(Matrix4x4); }
        public Matrix4x4 GetStereoProjectionMatrix(StereoscopicEye eye) { return default(Matrix4x4); }
    }
    public struct Vector3
    {
        public float x, y, z;
        public Vector3(float x, float y, float z) { this.x = x; this.y = y; this.z = z; }
        public static Vector3 up;
        public static Vector3 operator +(Vector3 a, Vector3 b) { return a; }
        public static Vector3 operator -(Vector3 a, Vector3 b) { return a; }
        public static bool operator ==(Vector3 a, Vector3 b) { return true; }
        public static bool operator !=(Vector3 a, Vector3 b) { return false; }
        public override bool Equals(object o) { return true; }
        public override int GetHashCode() { return 0; }
    }
    public struct Vector4
    {
        public float x, y, z, w;
        public Vector4(float x, float y, float z, float w) { this.x = x; this.y = y; this.z = z; this.w = w; }
        public static implicit operator Vector3(Vector4 v) { return default(Vector3); }
    }
    public struct Quaternion
    {
        public float x, y, z, w;
        public static Quaternion LookRotation(Vector3 forward) { return LookRotation(forward, Vector3.up); }
        public static Quaternion LookRotation(Vector3 forward, Vector3 up) { return default(Quaternion); }
    }
    public struct Matrix4x4
    {
        public float m00, m02, m11, m12;
        public Matrix4x4 inverse { get { return this; } }
        public Vector4 GetColumn(int i) { return default(Vector4); }
        public static Matrix4x4 Scale(Vector3 v) { return default(Matrix4x4); }
        public static Matrix4x4 operator *(Matrix4x4 a, Matrix4x4 b) { return a; }
    }
    public static class Mathf
    {
        public static float Atan(float x) { return x; }
        public static int Clamp(int x, int low, int high) { return x; }
        public static int RoundToInt(float x) { return (int)x; }
    }
    public static class Debug { public static void LogWarning(object text) { } }
}

namespace AsyncIO { public static class ForceDotNet { public static void Force() { } } }

namespace NetMQ
{
    public interface IOutgoingSocket { }
    public interface IReceivingSocket { }
    public static class NetMQConfig { public static void Cleanup(bool block = true) { } }
    public class NetMQCertificate
    {
        public NetMQCertificate(string secretKey, string publicKey) { }
        public static NetMQCertificate FromPublicKey(string publicKey) { return null; }
    }
    public class SocketOptions
    {
        public int SendHighWatermark { get; set; }
        public int ReceiveHighWatermark { get; set; }
        public bool DelayAttachOnConnect { get; set; }
        public TimeSpan Linger { get; set; }
        public TimeSpan ReconnectInterval { get; set; }
        public TimeSpan HeartbeatInterval { get; set; }
        public TimeSpan HeartbeatTimeout { get; set; }
        public NetMQCertificate CurveCertificate { set { } }
        public NetMQCertificate CurveServerCertificate { set { } }
    }
    public static class OutgoingSocketExtensions
    {
        public static bool TrySendFrame(this IOutgoingSocket socket, byte[] data, bool more = false) { return true; }
    }
    public static class ReceivingSocketExtensions
    {
        public static bool TryReceiveFrameBytes(this IReceivingSocket socket, TimeSpan timeout, out byte[] bytes)
        {
            bytes = null;
            return false;
        }
    }
}

namespace NetMQ.Sockets
{
    public class DealerSocket : IDisposable, IOutgoingSocket, IReceivingSocket
    {
        public DealerSocket(string connectionString = null) { }
        public SocketOptions Options { get { return null; } }
        public void Connect(string address) { }
        public void Dispose() { }
    }
}
