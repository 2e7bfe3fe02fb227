// The loops as seen by the Python module: plain arguments and one table of functions per instruction set.
#pragma once
#include <cstdint>

namespace dinar {

enum Status : int { OK = 0, NOT_FINITE = 1, BAD_INDEX = 2 };

// Expression directions are kept in blocks of 16 vertices; only blocks that a direction touches are stored.
constexpr int EXPRESSION_BLOCK = 16;
constexpr int VERTEX_TILE = 1024;        // vertices done at a time; 12 kB stay in the first-level cache while directions stream by

struct LbsArgs {
    int vertices, joints, slots, expressions, expression_vertices;
    const float *rest;                   // [V,3]
    const float *rest_joints;            // [J,3]
    const int32_t *parents;              // [J]
    const uint8_t *skin_count;           // [V] slots in use; they come first
    const uint16_t *skin_index;          // [V,slots]
    const float *skin_weight;            // [V,slots]
    const int32_t *expression_vertex;    // [n] ascending
    const int32_t *block_start;          // [blocks+1] entries of each block
    const int32_t *entry_expression;     // [entries]
    const float *entry_dirs;             // [entries,16,3]
    const float *expression_joint_dirs;  // [J,3,E]
    const float *pose_dirs;              // [9*(J-1),V,3] or null
    const float *body, *transl, *expression;
    int expression_count;                // coefficients given
    // scratch of the caller
    double *world;                       // [J,12]
    double *posed_rest_joints;           // [J,3]
    float *columns;                      // [J,16]
    float *features;                     // [9*(J-1)]
    int32_t *active_features;            // [9*(J-1)]
    float *delta;                        // [n rounded up to blocks, 3]
    float *out;                          // [V,3]
    float *joints_out;                   // [J,3] or null
    int threads;
};

struct ProjectArgs {
    int vertices;
    const float *points;                 // [V,3]
    const double *matrix;                // [3,4]
    float near_z;
    float *out;                          // [V,3]
    double bounds[4];
    bool has_bounds;
};

struct RasterizeArgs {
    int vertices, faces;
    const float *projective;             // [V,3]
    const int32_t *indices;              // [F,3]
    int height, width, origin_x, origin_y;
    bool cull;
    float near_z;
    int32_t *triangle_id;                // [H,W]
    float *barycentrics;                 // [H,W,3]
    float *depth;                        // [H,W]
    int threads;
};

struct GatherArgs {
    int64_t pixels;
    int faces, uvs, texture_height, texture_width, channels;
    const int32_t *triangle_id;
    const float *barycentrics;
    const float *uv;                     // [T,2]
    const int32_t *uv_faces;             // [F,3]
    const float *texture;                // [Ht,Wt,C]
    float *out;                          // [C+3,pixels]
    int threads;
};

struct SmoothArgs {
    RasterizeArgs grid;                  // window and triangles; of its outputs only depth is used, or null
    int samples;                         // per axis and pixel: 2 or 4
    const int32_t *triangle_id;          // [H,W] what the pixel centres see
    const void *uv_boxes;                // [F,4] least u, v and largest u, v of each face
    float gap;
    int uvs, texture_height, texture_width;
    const float *uv;                     // [T,2]
    const int32_t *uv_faces;             // [F,3]
    const float *texture;                // [Ht,Wt,4] colour and padding
    bool straight;                       // colour is divided by the mask
    float *colour;                       // [3,H,W], or null
    float *mask;                         // [H,W]
    float *blocks;                       // if no colour: [H/2,W/2,block_channels], as gather_half writes them
    int block_channels;
};

struct GatherHalfArgs {
    int height, width;                   // pixels, both even
    int faces, uvs, texture_height, texture_width, neural_height, neural_width, channels;
    const int32_t *triangle_id;          // [H,W]
    const float *barycentrics;           // [H,W,3]
    const float *uv;                     // [T,2]
    const int32_t *uv_faces;             // [F,3]
    bool bytes;                          // textures are uint8, meaning value/255; else float
    const void *texture;                 // [Ht,Wt,4], the fourth unused
    const void *neural;                  // [ht,wt,C]
    float *out;                          // [H/2,W/2,16+C]
    int32_t *spans;                      // [H/2,2] blocks of each row of `out` that are not zero, or null
    int threads;
};

// Where a window goes, and how.
struct Frame {
    bool has_background, straight;
    float background[3];
    int origin_x, origin_y, out_height, out_width;
    uint32_t *out;                       // [Hf,Wf] RGBA bytes
    float *depth_out;                    // [Hf,Wf] or null
};

struct ComposeArgs {
    int height, width, samples;          // of the inputs; the window is height/samples x width/samples
    const float *rgb, *alpha, *mask, *depth;    // [3,H,W], [H,W], [H,W] or null, [H,W] or null
    float threshold;
    Frame frame;
    int threads;
};

struct ComposeHalfArgs {
    int height, width, channels;         // pixels, both even; neural channels
    const float *features;               // [H/2,W/2,16+C] of gather_half
    const float *correction;             // [H/2,W/2,16]
    const int32_t *spans;                // [H/2,2] of gather_half, or null
    const float *depth;                  // [H,W] or null
    bool hardsegm;
    float threshold;
    Frame frame;
    int threads;
};

struct Kernels {
    const char *name;
    void (*lbs)(const LbsArgs &);
    Status (*project)(ProjectArgs &);
    Status (*rasterize)(const RasterizeArgs &);
    Status (*gather)(const GatherArgs &);
    void (*compose)(const ComposeArgs &);
    Status (*gather_half)(const GatherHalfArgs &);
    void (*compose_half)(const ComposeHalfArgs &);
    Status (*smooth_edges)(const SmoothArgs &, int64_t &marked);
};

// Null where the build or this CPU has no such variant. The table of the best one, and by name ("base", "v3", "v4").
const Kernels &best_kernels();
const Kernels *find_kernels(const char *name);

}  // namespace dinar
