// Linear blend skinning: pose_joints (one block), then skin_vertices or skin_posed_vertices, which also project.
// Floor of skin_posed_vertices is the pose directions, 4 bytes * 9 * 3 V for each joint that is turned (all of SMPL-X: 61 MB); without
// them 12 + 6 slots bytes a vertex in, 12 more for each vertex that an expression moves and each coefficient, 12 (1 + views) out.
#include "device.cuh"
#include "dinar/pose.h"

DINAR_BEGIN
namespace {

constexpr int MAX_JOINTS = 128;          // what fits the shared memory of a block on every GPU
constexpr int GROUP = 32;                // vertices of a block of skin_posed_vertices
constexpr int GROUP_FLOATS = 3 * GROUP;
constexpr int SPLITS = 16;               // shares of the sum over pose features, and
constexpr int BATCH = 4;                 // loads of one thread before it uses them: enough bytes under way to fill the memory's latency

DINAR_DEVICE void load_columns(int joints, const float *columns, float *shared) {
    for (int i = threadIdx.x; i < 16 * joints; i += blockDim.x) shared[i] = columns[i];
}

// What is not zero in this frame, in rising order, so that the loops over it have no branch and many loads under way:
// two counts, then the joints that are turned [J], then the expressions in use [E].
struct Active {
    int *data;
    int joints;
    DINAR_DEVICE int &turned_count() const { return data[0]; }
    DINAR_DEVICE int &used_count() const { return data[1]; }
    DINAR_DEVICE int *turned() const { return data + 2; }
    DINAR_DEVICE int *used() const { return data + 2 + joints; }
};

// Whether the values[n * size .. + size) hold anything but zeros.
DINAR_DEVICE bool any(const float *values, int n, int size) {
    bool found = false;
    for (int i = 0; i < size; ++i) found |= values[n * size + i] != 0;
    return found;
}

// Each thread places its own: as many come before it as there are before it.
DINAR_DEVICE void list_active(const float *values, int first, int n, int size, int *list, int &count) {
    for (int i = first + static_cast<int>(threadIdx.x); i < n; i += blockDim.x) {
        int before = 0;
        for (int k = first; k < i; ++k) before += any(values, k, size);
        const bool mine = any(values, i, size);
        if (mine) list[before] = i;
        if (i == n - 1) count = before + mine;
    }
    if (threadIdx.x == 0 && n <= first) count = 0;
}

// sum over expressions in rising order, as on the CPU
DINAR_DEVICE void add_expression(int row, int rows, const Active &active, const float *expression, const float *dirs, float p[3]) {
    if (row < 0) return;
    float sum[3] = {0, 0, 0};
    const int count = active.used_count();
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
        const int e = active.used()[i];
        const float c = expression[e], *d = dirs + static_cast<int64_t>(3 * e) * rows + row;
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
// [9 (J-1)]: R - I of joints 1 and up; active [2+J+E]: see Active. In double, like the CPU.
extern "C" __global__ void pose_joints(int joints, int expressions, int levels, const float *body, const float *transl, const float *expression,
                                       const float *rest_joints, const float *joint_dirs, const int *order, const int *parents,
                                       const int *level_start, float *columns, float *joints_out, float *features, int *active) {
    using namespace dinar;
    __shared__ double rest[3 * MAX_JOINTS];
    __shared__ double rotation[9 * MAX_JOINTS];
    __shared__ double world[12 * MAX_JOINTS];
    const Active lists = {active, joints};
    list_active(body, 1, joints, 3, lists.turned(), lists.turned_count());       // joint 0 has no features
    list_active(expression, 0, expressions, 1, lists.used(), lists.used_count());
    __syncthreads();
    const int used = lists.used_count();
    for (int i = threadIdx.x; i < 3 * joints; i += blockDim.x) {
        double x = rest_joints[i];
#pragma unroll 4
        for (int k = 0; k < used; ++k) {
            const int e = lists.used()[k];
            x += static_cast<double>(joint_dirs[static_cast<int64_t>(e) * 3 * joints + i]) * expression[e];
        }
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
extern "C" __global__ void skin_vertices(int vertices, int joints, int slots, int expression_rows, int views, const float *rest,
                                         const unsigned short *skin_index, const float *skin_weight, const int *expression_row,
                                         const float *expression_dirs, const float *expression, int *active, const float *columns,
                                         const double *matrices, float *vertices_out, float *projective) {
    using namespace dinar;
    __shared__ float shared[16 * MAX_JOINTS];
    load_columns(joints, columns, shared);
    __syncthreads();
    const int v = static_cast<int>(global_thread());
    if (v >= vertices) return;
    float p[3], q[3];
    for (int r = 0; r < 3; ++r) p[r] = rest[3 * static_cast<int64_t>(v) + r];
    add_expression(expression_row[v], expression_rows, Active{active, joints}, expression, expression_dirs, p);
    skin(v, vertices, slots, skin_index, skin_weight, shared, p, q);
    write_vertex(v, vertices, q, views, matrices, vertices_out, projective);
}

// As skin_vertices, for a body with pose directions, [groups,9(J-1),96]: those of 32 vertices lie together. A block of (24, 16) threads
// does a group: a thread sums four floats over every 16th feature of the joints that are turned.
extern "C" __global__ void skin_posed_vertices(int vertices, int joints, int slots, int expression_rows, int views, const float *rest,
                                               const unsigned short *skin_index, const float *skin_weight, const int *expression_row,
                                               const float *expression_dirs, const float *expression, int *active, const float *columns,
                                               const double *matrices, float *vertices_out, float *projective, const float *pose_dirs,
                                               const float *features) {
    using namespace dinar;
    __shared__ float shared[16 * MAX_JOINTS];
    __shared__ Float4 sums[SPLITS][GROUP_FLOATS / 4];
    __shared__ float weights[9 * MAX_JOINTS];
    __shared__ int rows[9 * MAX_JOINTS];
    const Active lists = {active, joints};
    const int count = 9 * lists.turned_count(), lane = threadIdx.x, split = threadIdx.y;
    const int thread = split * blockDim.x + lane, threads = blockDim.x * blockDim.y;
    for (int i = thread; i < 16 * joints; i += threads) shared[i] = columns[i];
    for (int i = thread; i < count; i += threads) {
        rows[i] = 9 * (lists.turned()[i / 9] - 1) + i % 9;
        weights[i] = features[rows[i]];
    }
    __syncthreads();
    const Float4 *dirs =
        reinterpret_cast<const Float4 *>(pose_dirs) + static_cast<int64_t>(blockIdx.x) * 9 * (joints - 1) * (GROUP_FLOATS / 4) + lane;
    Float4 sum = {{0, 0, 0, 0}};
    for (int i = split; i < count; i += BATCH * SPLITS) {
        Float4 d[BATCH];
        for (int b = 0; b < BATCH; ++b) d[b] = dirs[rows[min2(i + b * SPLITS, count - 1)] * (GROUP_FLOATS / 4)];
        for (int b = 0; b < BATCH; ++b) {
            const float w = i + b * SPLITS < count ? weights[i + b * SPLITS] : 0.0f;
            for (int k = 0; k < 4; ++k) sum.v[k] += w * d[b].v[k];
        }
    }
    sums[split][lane] = sum;
    __syncthreads();
    const int v = blockIdx.x * GROUP + thread;
    if (thread >= GROUP || v >= vertices) return;
    float p[3], q[3];
    for (int r = 0; r < 3; ++r) p[r] = rest[3 * static_cast<int64_t>(v) + r];
    add_expression(expression_row[v], expression_rows, Active{active, joints}, expression, expression_dirs, p);
    for (int r = 0; r < 3; ++r) {
        const int at = 3 * thread + r;
        float moved = 0;
        for (int s = 0; s < SPLITS; ++s) moved += sums[s][at / 4].v[at % 4];
        p[r] += moved;
    }
    skin(v, vertices, slots, skin_index, skin_weight, shared, p, q);
    write_vertex(v, vertices, q, views, matrices, vertices_out, projective);
}
