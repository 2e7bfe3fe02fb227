// Draws what DinarAvatar.cs received on a sheet through the person, looked up where each picture was taken from.
Shader "DinarLive/Avatar"
{
    Properties
    {
        _Colour0 ("Colour, left", 2D) = "black" {}
        _Alpha0 ("Alpha, left", 2D) = "black" {}
        _Colour1 ("Colour, right", 2D) = "black" {}
        _Alpha1 ("Alpha, right", 2D) = "black" {}
    }
    SubShader
    {
        Tags { "Queue" = "Transparent" "RenderType" = "Transparent" "IgnoreProjector" = "True" }
        Cull Off
        ZWrite Off
        Blend One OneMinusSrcAlpha      // premultiplied

        Pass
        {
            CGPROGRAM
            #pragma vertex vert
            #pragma fragment frag
            #pragma multi_compile_instancing
            #include "UnityCG.cginc"

            sampler2D _Colour0, _Alpha0, _Colour1, _Alpha1;
            float4x4 _Projection0, _Projection1;
            float4 _Rect0, _Rect1;

            struct v2f
            {
                float4 position : SV_POSITION;
                float3 world : TEXCOORD0;
                UNITY_VERTEX_OUTPUT_STEREO
            };

            v2f vert(appdata_base v)
            {
                v2f o;
                UNITY_SETUP_INSTANCE_ID(v);
                UNITY_INITIALIZE_OUTPUT(v2f, o);
                UNITY_INITIALIZE_VERTEX_OUTPUT_STEREO(o);
                o.position = UnityObjectToClipPos(v.vertex);
                o.world = mul(unity_ObjectToWorld, v.vertex).xyz;
                return o;
            }

            fixed4 frag(v2f i) : SV_Target
            {
                UNITY_SETUP_STEREO_EYE_INDEX_POST_VERTEX(i);
                bool right = unity_StereoEyeIndex == 1;
                float4 clip = mul(right ? _Projection1 : _Projection0, float4(i.world, 1));
                float4 rect = right ? _Rect1 : _Rect0;
                float2 at = (clip.xy / clip.w * 0.5 + 0.5 - rect.xy) / rect.zw;
                if (clip.w <= 0 || any(at < 0) || any(at > 1)) discard;
                float2 flipped = float2(at.x, 1 - at.y);        // raw rows begin on top, Unity's below
                float4 c = right ? tex2D(_Colour1, at) : tex2D(_Colour0, at);
                float a = right ? tex2D(_Alpha1, flipped).r : tex2D(_Alpha0, flipped).r;
                float3 colour = saturate(c.rgb / max(a, 1.0 / 255));        // the clamp also removes the JPEG's ringing outside the silhouette
                #ifndef UNITY_COLORSPACE_GAMMA
                colour = GammaToLinearSpace(colour);
                #endif
                return float4(colour * a, a);
            }
            ENDCG
        }
    }
}
