// A dinar-live avatar in a Unity scene, in mono or stereo: put this on an empty object where the person is to stand, to look along its -z.
// Needs Unity 2021 or newer and NetMQ with its AsyncIO and NaCl.Net (NuGet; NetMQ is LGPL-3). See README.md.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Threading;
using NetMQ;
using NetMQ.Sockets;
using UnityEngine;

namespace DinarLive
{
    public sealed class DinarAvatar : MonoBehaviour
    {
        [Tooltip("of dinar serve")] public string endpoint = "tcp://127.0.0.1:5555";
        [Tooltip("the server's public key, where it has keys")] public string serverKey = "";
        [Tooltip("path of this client's .key file, where the server has keys")] public string keyFile = "";
        [Tooltip("who looks; empty = the main camera")] public UnityEngine.Camera viewer;
        [Tooltip("DinarAvatar.shader")] public Shader shader;
        [Range(64, 2048)] public int pictureHeight = 768;
        [Range(1, 100)] public int quality = 85;
        [Tooltip("metres around the object's origin that the person may reach")] public float reach = 1.5f;

        /// <summary>What the person does, asked for once a frame; null = what moves on the server.</summary>
        public Func<Pose> PoseProvider;

        /// <summary>Newest frame's latency in milliseconds, from the pose to its picture on the screen.</summary>
        public double LatencyMs { get; private set; }

        static readonly double TickNs = 1e9 / Stopwatch.Frequency;
        static ulong NowNs() { return (ulong)(Stopwatch.GetTimestamp() * TickNs); }

        // Handed over between Unity's thread and the network's: only the newest of each counts.
        Message request, frame;
        string problem;
        volatile bool stopping;
        Thread thread;

        // Which view-projections a picture was asked for with, by the time that its frame echoes.
        readonly Dictionary<ulong, Matrix4x4[]> asked = new Dictionary<ulong, Matrix4x4[]>();
        readonly Queue<ulong> askedOrder = new Queue<ulong>();
        readonly Texture2D[] colours = new Texture2D[2], alphas = new Texture2D[2];
        Material material;
        Transform screen;

        void OnEnable()
        {
            material = new Material(shader);
            GameObject quad = GameObject.CreatePrimitive(PrimitiveType.Quad);
            Destroy(quad.GetComponent<Collider>());
            quad.GetComponent<Renderer>().sharedMaterial = material;
            quad.SetActive(false);
            screen = quad.transform;
            for (int eye = 0; eye < 2; eye++)
            {
                // Linear: the shader gets the bytes as they are, since premultiplied colour is divided by alpha before it is made linear.
                colours[eye] = new Texture2D(2, 2, TextureFormat.RGB24, false, true) { wrapMode = TextureWrapMode.Clamp };
                alphas[eye] = new Texture2D(2, 2, TextureFormat.R8, false, true) { wrapMode = TextureWrapMode.Clamp };
            }
            stopping = false;
            thread = new Thread(Network) { IsBackground = true, Name = "dinar-live" };
            thread.Start();
        }

        void OnDisable()
        {
            stopping = true;
            thread.Join();
            Destroy(screen.gameObject);
            Destroy(material);
            for (int eye = 0; eye < 2; eye++)
            {
                Destroy(colours[eye]);
                Destroy(alphas[eye]);
            }
        }

        void OnApplicationQuit()
        {
            enabled = false;
            NetMQConfig.Cleanup(false);     // without this the editor hangs when play mode ends
        }

        void LateUpdate()
        {
            string said = Interlocked.Exchange(ref problem, null);
            if (said != null) UnityEngine.Debug.LogWarning("dinar-live: " + said);
            Message newest = Interlocked.Exchange(ref frame, null);
            if (newest != null) Show(newest);
            Ask(viewer != null ? viewer : UnityEngine.Camera.main);
        }

        // ---- asking

        void Ask(UnityEngine.Camera from)
        {
            if (from == null) return;
            // The person's world is right-handed: its z is the object's -z.
            Matrix4x4 person = transform.localToWorldMatrix * Matrix4x4.Scale(new Vector3(1, 1, -1));
            int eyes = from.stereoEnabled ? 2 : 1;
            var cameras = new Camera[eyes];
            var projections = new Matrix4x4[eyes];
            for (int eye = 0; eye < eyes; eye++)
            {
                var which = (UnityEngine.Camera.StereoscopicEye)eye;
                Matrix4x4 view = eyes == 2 ? from.GetStereoViewMatrix(which) : from.worldToCameraMatrix;
                Matrix4x4 projection = eyes == 2 ? from.GetStereoProjectionMatrix(which) : from.projectionMatrix;
                cameras[eye] = OpenXRCamera(view * person, projection);
                projections[eye] = projection * view;
            }
            ulong now = NowNs();
            asked[now] = projections;
            askedOrder.Enqueue(now);
            if (askedOrder.Count > 64) asked.Remove(askedOrder.Dequeue());
            var format = new FrameFormat { Quality = (byte)quality };
            Pose pose = PoseProvider != null ? PoseProvider() : null;
            Interlocked.Exchange(ref request, new Message { Cameras = cameras, Pose = pose, Format = format, ClientTimeNs = now });
        }

        /// <summary>The camera of a view matrix (to x right, y up, z back) and a projection matrix, as Unity's cameras give them.</summary>
        Camera OpenXRCamera(Matrix4x4 view, Matrix4x4 p)
        {
            Matrix4x4 eye = view.inverse;
            Vector4 place = eye.GetColumn(3);
            Quaternion turn = Quaternion.LookRotation(eye.GetColumn(2), eye.GetColumn(1));
            float left = (p.m02 - 1) / p.m00, right = (p.m02 + 1) / p.m00, up = (p.m12 + 1) / p.m11, down = (p.m12 - 1) / p.m11;
            return new Camera
            {
                Position = new[] { place.x, place.y, place.z },
                Orientation = new[] { turn.x, turn.y, turn.z, turn.w },
                Fov = new[] { Mathf.Atan(left), Mathf.Atan(right), Mathf.Atan(up), Mathf.Atan(down) },
                Width = (ushort)Mathf.Clamp(Mathf.RoundToInt(pictureHeight * (right - left) / (up - down)), 16, 4096),
                Height = (ushort)pictureHeight
            };
        }

        // ---- showing

        void Show(Message m)
        {
            Matrix4x4[] projections;
            if (!asked.TryGetValue(m.ClientTimeNs, out projections) || projections.Length != m.Views.Length) return;
            for (int eye = 0; eye < 2; eye++)
            {
                int from = Math.Min(eye, m.Views.Length - 1);
                View v = m.Views[from];
                if (eye < m.Views.Length)
                {
                    byte[] alpha;
                    try
                    {
                        alpha = Planes.AlphaOf(v);
                    }
                    catch (ProtocolException e)
                    {
                        UnityEngine.Debug.LogWarning("dinar-live: " + e.Message);
                        return;
                    }
                    var jpeg = new byte[v.Color.Data.Count];
                    Buffer.BlockCopy(v.Color.Data.Array, v.Color.Data.Offset, jpeg, 0, jpeg.Length);
                    if (!colours[eye].LoadImage(jpeg)) return;
                    if (alphas[eye].width != v.Width || alphas[eye].height != v.Height) alphas[eye].Reinitialize(v.Width, v.Height);
                    alphas[eye].LoadRawTextureData(alpha);
                    alphas[eye].Apply(false);
                }
                material.SetTexture("_Colour" + eye, colours[from]);
                material.SetTexture("_Alpha" + eye, alphas[from]);
                material.SetMatrix("_Projection" + eye, projections[from]);
                // Of the picture, with v up, to the part of it that was sent.
                float w = v.Camera.Width, h = v.Camera.Height;
                material.SetVector("_Rect" + eye, new Vector4(v.X / w, 1 - (v.Y + v.Height) / h, v.Width / w, v.Height / h));
            }
            // A sheet through the person that faces the viewer; the shader looks up where the picture was taken from, so that a head that
            // has moved since then sees it turned and shifted as a standing cut-out would be.
            UnityEngine.Camera looker = viewer != null ? viewer : UnityEngine.Camera.main;
            Vector3 middle = transform.position + Vector3.up;
            screen.position = middle;
            if (looker != null && looker.transform.position != middle)
                screen.rotation = Quaternion.LookRotation(middle - looker.transform.position);
            screen.localScale = new Vector3(2 * reach, 2 * reach, 1);
            screen.gameObject.SetActive(true);
            LatencyMs = (NowNs() - m.ClientTimeNs) / 1e6;
        }

        // ---- the network's thread

        void Network()
        {
            AsyncIO.ForceDotNet.Force();
            try
            {
                using (var socket = new DealerSocket())
                {
                    socket.Options.SendHighWatermark = socket.Options.ReceiveHighWatermark = 8;
                    socket.Options.Linger = TimeSpan.FromMilliseconds(200);
                    socket.Options.DelayAttachOnConnect = true;         // nothing is queued for a server that is not there
                    socket.Options.ReconnectInterval = TimeSpan.FromMilliseconds(200);
                    socket.Options.HeartbeatInterval = TimeSpan.FromSeconds(1);
                    socket.Options.HeartbeatTimeout = TimeSpan.FromSeconds(3);
                    if (keyFile != "") Present(socket);
                    socket.Connect(endpoint);
                    var session = new Session(NowNs, data => socket.TrySendFrame(data), "unity");
                    while (!stopping)
                    {
                        byte[] data;
                        if (socket.TryReceiveFrameBytes(TimeSpan.FromMilliseconds(2), out data)) Take(session, data);
                        Message next = Interlocked.Exchange(ref request, null);
                        if (next != null) session.Ask(next);
                        else session.Tick();
                    }
                    session.Close();
                }
            }
            catch (Exception e)
            {
                problem = e.Message;        // a wrong address or key; enable the component again to retry
            }
        }

        void Take(Session session, byte[] data)
        {
            try
            {
                Message m = session.Receive(data);
                if (m == null) return;
                if (m.Type == MessageType.Frame) Interlocked.Exchange(ref frame, m);
                else problem = m.Text;
            }
            catch (ProtocolException e)
            {
                problem = e.Message;
            }
        }

        /// <summary>CURVE with a file of `dinar keys new`: lines "public = ..." and "secret = ...".</summary>
        void Present(DealerSocket socket)
        {
            string open = null, secret = null;
            foreach (string line in File.ReadAllLines(keyFile))
            {
                if (line.StartsWith("public = ")) open = line.Substring(9).Trim();
                if (line.StartsWith("secret = ")) secret = line.Substring(9).Trim();
            }
            if (open == null || secret == null) throw new InvalidDataException(keyFile + ": no key file of `dinar keys new`");
            socket.Options.CurveServerCertificate = NetMQCertificate.FromPublicKey(serverKey);
            socket.Options.CurveCertificate = new NetMQCertificate(secret, open);
        }
    }
}
