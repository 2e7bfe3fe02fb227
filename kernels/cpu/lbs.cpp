// Linear blend skinning and projection.
#include "dinar/pose.h"
#include "dinar/simd.h"
#include "loops.h"

DINAR_BEGIN
namespace {

// Joint chain: a few microseconds, in double, on the calling thread.
void pose_joints(const LbsArgs &a) {
    const int E = a.expressions;
    for (int j = 0; j < a.joints; ++j) {
        double *rest = a.posed_rest_joints + 3 * j;
        for (int r = 0; r < 3; ++r) {
            double x = a.rest_joints[3 * j + r];
            const float *dirs = a.expression_joint_dirs + (3 * static_cast<int64_t>(j) + r) * E;
            for (int e = 0; e < a.expression_count; ++e) x += static_cast<double>(dirs[e]) * a.expression[e];
            rest[r] = x;
        }
        const double angle[3] = {a.body[3 * j], a.body[3 * j + 1], a.body[3 * j + 2]};
        const double transl[3] = {a.transl[0], a.transl[1], a.transl[2]};
        double R[9], offset[3];
        rotation_from_axis_angle(angle, R);
        const int parent = a.parents[j];
        for (int r = 0; r < 3; ++r) offset[r] = rest[r] - (parent < 0 ? 0.0 : a.posed_rest_joints[3 * parent + r]);
        double *world = a.world + 12 * j;
        chain_joint(parent < 0 ? nullptr : a.world + 12 * parent, R, offset, world);
        skinning_columns(world, rest, transl, a.columns + 16 * j);
        if (a.joints_out)
            for (int r = 0; r < 3; ++r) a.joints_out[3 * j + r] = static_cast<float>(world[4 * r + 3] + transl[r]);
        if (a.pose_dirs && j > 0)
            for (int i = 0; i < 9; ++i) a.features[9 * (j - 1) + i] = static_cast<float>(R[i] - (i % 4 == 0 ? 1.0 : 0.0));
    }
}

void expression_block(const LbsArgs &a, int block) {
    constexpr int N = 3 * EXPRESSION_BLOCK;
    f8 sum[N / 8];
    for (f8 &s : sum) s = splat<f8>(0.0f);
    for (int i = a.block_start[block]; i < a.block_start[block + 1]; ++i) {
        const int e = a.entry_expression[i];
        if (e >= a.expression_count || a.expression[e] == 0) continue;
        const f8 c = splat<f8>(a.expression[e]);
        const float *dirs = a.entry_dirs + static_cast<int64_t>(i) * N;
        for (int k = 0; k < N / 8; ++k) sum[k] = sum[k] + load<f8>(dirs + 8 * k) * c;
    }
    for (int k = 0; k < N / 8; ++k) store(a.delta + static_cast<int64_t>(block) * N + 8 * k, sum[k]);
}

int first_at_least(const int32_t *sorted, int n, int value) {
    int lo = 0, hi = n;
    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if (sorted[mid] < value) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

void skin(const LbsArgs &a, const float *rest, int begin, int end) {
    for (int v = begin; v < end; ++v) {
        const uint16_t *index = a.skin_index + static_cast<int64_t>(v) * a.slots;
        const float *weight = a.skin_weight + static_cast<int64_t>(v) * a.slots;
        f4 c0 = splat<f4>(0.0f), c1 = c0, c2 = c0, c3 = c0;
        for (int k = 0; k < a.skin_count[v]; ++k) {
            const float *m = a.columns + 16 * index[k];
            const f4 w = splat<f4>(weight[k]);
            c0 = c0 + load<f4>(m) * w;
            c1 = c1 + load<f4>(m + 4) * w;
            c2 = c2 + load<f4>(m + 8) * w;
            c3 = c3 + load<f4>(m + 12) * w;
        }
        const float *p = rest + 3 * (v - begin);
        const f4 q = c0 * splat<f4>(p[0]) + c1 * splat<f4>(p[1]) + c2 * splat<f4>(p[2]) + c3;
        float *o = a.out + 3 * static_cast<int64_t>(v);
        if (v + 1 < end) store(o, q);    // the fourth float is overwritten by the next vertex
        else
            for (int r = 0; r < 3; ++r) o[r] = q[r];
    }
}

void skin_tile(const LbsArgs &a, int tile, bool has_expression, int active) {
    const int begin = tile * VERTEX_TILE, end = min2(begin + VERTEX_TILE, a.vertices), n = 3 * (end - begin);
    float moved[3 * VERTEX_TILE];
    std::memcpy(moved, a.rest + 3 * static_cast<int64_t>(begin), sizeof(float) * n);
    if (has_expression) {
        for (int i = first_at_least(a.expression_vertex, a.expression_vertices, begin); i < a.expression_vertices && a.expression_vertex[i] < end; ++i)
            for (int r = 0; r < 3; ++r) moved[3 * (a.expression_vertex[i] - begin) + r] += a.delta[3 * i + r];
    }
    for (int i = 0; i < active; ++i) {
        const int f = a.active_features[i];
        const float c = a.features[f];
        const float *dirs = a.pose_dirs + (static_cast<int64_t>(f) * a.vertices + begin) * 3;
        for (int k = 0; k < n; ++k) moved[k] += c * dirs[k];
    }
    skin(a, moved, begin, end);
}

}  // namespace

void lbs(const LbsArgs &a) {
    pose_joints(a);
    int active = 0;
    if (a.pose_dirs)
        for (int f = 0; f < 9 * (a.joints - 1); ++f)
            if (a.features[f] != 0) a.active_features[active++] = f;
    // Below about 0.2 ms waking another thread costs more than it saves.
    const int threads = a.vertices * static_cast<int64_t>(active + 10) < (1 << 19) ? 1 : a.threads;
    bool has_expression = false;
    for (int e = 0; e < a.expression_count; ++e) has_expression |= a.expression[e] != 0;
    has_expression &= a.expression_vertices > 0;
    if (has_expression) {
        const int blocks = (a.expression_vertices + EXPRESSION_BLOCK - 1) / EXPRESSION_BLOCK;
        constexpr int group = 16;
        auto task = [&](int g) {
            for (int b = g * group; b < min2((g + 1) * group, blocks); ++b) expression_block(a, b);
        };
        parallel((blocks + group - 1) / group, threads, task);
    }
    auto task = [&](int tile) { skin_tile(a, tile, has_expression, active); };
    parallel((a.vertices + VERTEX_TILE - 1) / VERTEX_TILE, threads, task);
}

Status project(ProjectArgs &a) {
    const double *m = a.matrix;
    double lo_x = 1e300, lo_y = 1e300, hi_x = -1e300, hi_y = -1e300;
    float nearest = 3.4e38f;
    uint32_t not_finite = 0;
    constexpr int N = 64;
    for (int begin = 0; begin < a.vertices; begin += N) {
        const int n = min2(N, a.vertices - begin);
        const float *p = a.points + 3 * static_cast<int64_t>(begin);
        float *o = a.out + 3 * static_cast<int64_t>(begin);
        float x[N], y[N], z[N];
        for (int i = 0; i < n; ++i) {
            const double px = p[3 * i], py = p[3 * i + 1], pz = p[3 * i + 2];
            x[i] = static_cast<float>(m[0] * px + m[1] * py + m[2] * pz + m[3]);
            y[i] = static_cast<float>(m[4] * px + m[5] * py + m[6] * pz + m[7]);
            z[i] = static_cast<float>(m[8] * px + m[9] * py + m[10] * pz + m[11]);
        }
        for (int i = 0; i < n; ++i) {
            o[3 * i] = x[i];
            o[3 * i + 1] = y[i];
            o[3 * i + 2] = z[i];
        }
        for (int i = n; i < N; ++i) {    // full blocks only below, so that they vectorise
            x[i] = x[0];
            y[i] = y[0];
            z[i] = z[0];
        }
        uint32_t bad = 0;
        float z_min = z[0], x_min = 3.4e38f, x_max = -3.4e38f, y_min = 3.4e38f, y_max = -3.4e38f;
        for (int i = 0; i < N; ++i) {
            uint32_t bx, by, bz;
            std::memcpy(&bx, &x[i], 4);
            std::memcpy(&by, &y[i], 4);
            std::memcpy(&bz, &z[i], 4);
            bad |= static_cast<uint32_t>(((bx & 0x7f800000u) == 0x7f800000u) | ((by & 0x7f800000u) == 0x7f800000u) | ((bz & 0x7f800000u) == 0x7f800000u));
            z_min = min2(z_min, z[i]);
            const float u = x[i] / z[i], v = y[i] / z[i];
            x_min = min2(x_min, u);
            x_max = max2(x_max, u);
            y_min = min2(y_min, v);
            y_max = max2(y_max, v);
        }
        not_finite |= bad;
        nearest = min2(nearest, z_min);
        lo_x = min2(lo_x, static_cast<double>(x_min));
        lo_y = min2(lo_y, static_cast<double>(y_min));
        hi_x = max2(hi_x, static_cast<double>(x_max));
        hi_y = max2(hi_y, static_cast<double>(y_max));
    }
    a.has_bounds = a.vertices > 0 && nearest >= a.near_z;
    a.bounds[0] = lo_x;
    a.bounds[1] = lo_y;
    a.bounds[2] = hi_x;
    a.bounds[3] = hi_y;
    return not_finite ? NOT_FINITE : OK;
}

DINAR_END
