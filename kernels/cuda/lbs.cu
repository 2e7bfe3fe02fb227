// Linear blend skinning: pose_joints (one block), then skin_vertices or skin_posed_vertices, which also project.
// Floor of skin_posed_vertices is the pose directions, 4 bytes * 9 (J-1) * 3 V (SMPL-X 61 MB; features that are zero are not read);
// without them about 12 + 6 k bytes a vertex in and 12 (1 + views) out, 1 MB for the open body.
#include "device.cuh"
#include "dinar/pose.h"

DINAR_BEGIN
namespace {

constexpr int MAX_JOINTS = 128;          // what fits the shared memory of a block on every GPU
constexpr int GROUP = 32;                // vertices of a block of skin_posed_vertices
constexpr int GROUP_FLOATS = 3 * GROUP;
constexpr int SPLITS = 16;               // shares of the sum over pose features, so that enough loads are under way

DINAR_DEVICE void load_columns(int joints, const float *columns, float *shared) {
    for (int i = threadIdx.x; i < 16 * joints; i += blockDim.x) shared[i] = columns[i];
}

// sum over expressions in rising order, as on the CPU; coefficients that are zero are not read
DINAR_DEVICE void add_expression(int row, int rows, int expressions, const float *expression, const float *dirs, float p[3]) {
    if (row < 0) return;
    float sum[3] = {0, 0, 0};
    for (int e = 0; e < expressions; ++e) {
        const float c = expression[e];
        if (c == 0) continue;
        const float *d = dirs + static_cast<int64_t>(3 * e) * rows + row;
        for (int r = 0; r < 3; ++r) sum[r] = sum[r] + d[static_cast<int64_t>(r) * rows] * c;
    }
    for (int r = 0; r < 3; ++r) p[r] += sum[r];
}

// slots in use come first; arrays are [slots, vertices], so that a warp reads whole lines
DINAR_DEVICE void skin(int v, int vertices, int slots, const uint16_t *index, const float *weight, const float *columns, const float p[3], float q[3]) {
    float c[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int k = 0; k < slots; ++k) {
        const float w = weight[static_cast<int64_t>(k) * vertices + v];
        if (w == 0) break;
        const float *m = columns + 16 * index[static_cast<int64_t>(k) * vertices + v];
        for (int i = 0; i < 4; ++i)
            for (int r = 0; r < 3; ++r) c[3 * i + r] = c[3 * i + r] + m[4 * i + r] * w;
    }
    for (int r = 0; r < 3; ++r) q[r] = c[r] * p[0] + c[3 + r] * p[1] + c[6 + r] * p[2] + c[9 + r];
}

DINAR_DEVICE void write_vertex(int v, int vertices, const float q[3], int views, const double *matrices, float *out, float *projective) {
    if (out)
        for (int r = 0; r < 3; ++r) out[3 * static_cast<int64_t>(v) + r] = q[r];
    const double x = q[0], y = q[1], z = q[2];
    for (int i = 0; i < views; ++i) {
        const double *m = matrices + 12 * i;
        float *o = projective + 3 * (static_cast<int64_t>(i) * vertices + v);
        for (int r = 0; r < 3; ++r) o[r] = static_cast<float>(m[4 * r] * x + m[4 * r + 1] * y + m[4 * r + 2] * z + m[4 * r + 3]);
    }
}

}  // namespace
DINAR_END

// One block. body [J,3], transl [3], expression [E]: this frame. rest_joints [J,3]; joint_dirs [E,J,3]; order [J]: joints by depth in
// the tree; level_start [levels+1] into it. Writes columns [J,16] (see skinning_columns), joints_out [J,3] and, if not null, features
// [9 (J-1)]: R - I of joints 1 and up. In double, like the CPU.
extern "C" __global__ void pose_joints(int joints, int expressions, int levels, const float *body, const float *transl, const float *expression,
                                       const float *rest_joints, const float *joint_dirs, const int *order, const int *parents,
                                       const int *level_start, float *columns, float *joints_out, float *features) {
    using namespace dinar;
    __shared__ double rest[3 * MAX_JOINTS];
    __shared__ double rotation[9 * MAX_JOINTS];
    __shared__ double world[12 * MAX_JOINTS];
    for (int i = threadIdx.x; i < 3 * joints; i += blockDim.x) {
        double x = rest_joints[i];
        for (int e = 0; e < expressions; ++e) x += static_cast<double>(joint_dirs[static_cast<int64_t>(e) * 3 * joints + i]) * expression[e];
        rest[i] = x;
    }
    for (int j = threadIdx.x; j < joints; j += blockDim.x) {
        const double angle[3] = {body[3 * j], body[3 * j + 1], body[3 * j + 2]};
        rotation_from_axis_angle(angle, rotation + 9 * j);
    }
    __syncthreads();
    for (int level = 0; level < levels; ++level) {
        for (int i = level_start[level] + static_cast<int>(threadIdx.x); i < level_start[level + 1]; i += blockDim.x) {
            const int j = order[i], parent = parents[j];
            double offset[3];
            for (int r = 0; r < 3; ++r) offset[r] = rest[3 * j + r] - (parent < 0 ? 0.0 : rest[3 * parent + r]);
            chain_joint(parent < 0 ? nullptr : world + 12 * parent, rotation + 9 * j, offset, world + 12 * j);
        }
        __syncthreads();
    }
    const double move[3] = {transl[0], transl[1], transl[2]};
    for (int j = threadIdx.x; j < joints; j += blockDim.x) {
        skinning_columns(world + 12 * j, rest + 3 * j, move, columns + 16 * j);
        for (int r = 0; r < 3; ++r) joints_out[3 * j + r] = static_cast<float>(world[12 * j + 4 * r + 3] + move[r]);
    }
    if (features)
        for (int i = threadIdx.x; i < 9 * (joints - 1); i += blockDim.x) {
            features[i] = static_cast<float>(rotation[9 + i] - (i % 9 % 4 == 0 ? 1.0 : 0.0));
        }
}

// A thread per vertex. rest [V,3]; skin_index, skin_weight [slots,V]; expression_row [V] into expression_dirs [E,3,rows], -1 = none;
// matrices [views,12]: this frame's K @ world_to_camera. Writes vertices_out [V,3] if not null, and projective [views,V,3].
extern "C" __global__ void skin_vertices(int vertices, int joints, int slots, int expressions, int expression_rows, int views, const float *rest,
                                         const unsigned short *skin_index, const float *skin_weight, const int *expression_row,
                                         const float *expression_dirs, const float *expression, const float *columns, const double *matrices,
                                         float *vertices_out, float *projective) {
    using namespace dinar;
    __shared__ float shared[16 * MAX_JOINTS];
    load_columns(joints, columns, shared);
    __syncthreads();
    const int v = static_cast<int>(global_thread());
    if (v >= vertices) return;
    float p[3], q[3];
    for (int r = 0; r < 3; ++r) p[r] = rest[3 * static_cast<int64_t>(v) + r];
    add_expression(expression_row[v], expression_rows, expressions, expression, expression_dirs, p);
    skin(v, vertices, slots, skin_index, skin_weight, shared, p, q);
    write_vertex(v, vertices, q, views, matrices, vertices_out, projective);
}

// As skin_vertices, for a body with pose directions, [groups,9(J-1),96]: those of 32 vertices lie together. A block of (24, 16) threads
// does a group: a thread sums four floats over every 16th feature.
extern "C" __global__ void skin_posed_vertices(int vertices, int joints, int slots, int expressions, int expression_rows, int views,
                                               const float *rest, const unsigned short *skin_index, const float *skin_weight,
                                               const int *expression_row, const float *expression_dirs, const float *expression,
                                               const float *columns, const double *matrices, float *vertices_out, float *projective,
                                               const float *pose_dirs, const float *features) {
    using namespace dinar;
    __shared__ float shared[16 * MAX_JOINTS];
    __shared__ Float4 sums[SPLITS][GROUP_FLOATS / 4];
    const int count = 9 * (joints - 1), lane = threadIdx.x, split = threadIdx.y, thread = split * blockDim.x + lane;
    for (int i = thread; i < 16 * joints; i += blockDim.x * blockDim.y) shared[i] = columns[i];
    const Float4 *dirs = reinterpret_cast<const Float4 *>(pose_dirs) + static_cast<int64_t>(blockIdx.x) * count * (GROUP_FLOATS / 4) + lane;
    Float4 sum = {{0, 0, 0, 0}};
#pragma unroll 8
    for (int f = split; f < count; f += SPLITS) {
        const float c = features[f];
        if (c == 0) continue;
        const Float4 d = dirs[static_cast<int64_t>(f) * (GROUP_FLOATS / 4)];
        for (int i = 0; i < 4; ++i) sum.v[i] += c * d.v[i];
    }
    sums[split][lane] = sum;
    __syncthreads();
    const int v = blockIdx.x * GROUP + thread;
    if (thread >= GROUP || v >= vertices) return;
    float p[3], q[3];
    for (int r = 0; r < 3; ++r) p[r] = rest[3 * static_cast<int64_t>(v) + r];
    add_expression(expression_row[v], expression_rows, expressions, expression, expression_dirs, p);
    for (int r = 0; r < 3; ++r) {
        const int at = 3 * thread + r;
        float moved = 0;
        for (int s = 0; s < SPLITS; ++s) moved += sums[s][at / 4].v[at % 4];
        p[r] += moved;
    }
    skin(v, vertices, slots, skin_index, skin_weight, shared, p, q);
    write_vertex(v, vertices, q, views, matrices, vertices_out, projective);
}
