// What the samples of a pixel at an edge see, as one colour: for smooth_edges.
#pragma once
#include "dinar/edges.h"
#include "dinar/raster.h"
#include "dinar/sample.h"
#include "dinar/simd.h"
#include "loops.h"

DINAR_BEGIN
namespace {

// One texture sample for each surface that a pixel shows, where the middle one of its samples lies; their mean, empty samples
// counting as 0. Texture coordinates are found for several surfaces at a time, so that the arithmetic vectorises.
template <int S> class Average {
public:
    Average(const SmoothArgs &a, const float *projective) : a_(a), projective_(projective) {}

    // The pixel (x, y), whose samples show the faces id[S*S].
    void add(int x, int y, const int32_t *id) {
        constexpr int N = S * S;
        const UvBox *boxes = static_cast<const UvBox *>(a_.uv_boxes);
        int covered = 0;
        uint32_t left = 0;               // samples that are not yet in a surface
        for (int k = 0; k < N; ++k) {
            left |= static_cast<uint32_t>(id[k] >= 0) << k;
            covered += id[k] >= 0;
        }
        if (!covered) {
            write(x, y, f4{}, 0, 0);
            return;
        }
        for (int k = 0; left; ++k) {
            if (!(left >> k & 1)) continue;
            int members[N], n = 0;
            for (int j = k; j < N; ++j) {
                if (!(left >> j & 1) || apart(id[k], id[j], boxes, a_.gap)) continue;
                left &= ~(1u << j);
                members[n++] = j;
            }
            const int middle = members[n / 2];
            id_[count_] = id[middle];
            px_[count_] = x * S + middle % S + a_.grid.origin_x + 0.5;
            py_[count_] = y * S + middle / S + a_.grid.origin_y + 0.5;
            share_[count_] = static_cast<float>(n) * (1.0f / N);
            x_[count_] = x;
            y_[count_] = y;
            covered_[count_] = left ? 0 : covered;
            if (++count_ == BATCH) flush();
        }
    }

    // False when an index of uv_faces is out of range.
    bool finish() {
        flush();
        return ok_;
    }

private:
    static constexpr int BATCH = 16;

    void flush() {
        float corner[9][BATCH], uv[6][BATCH], z[BATCH], w[4][BATCH];
        int32_t tx[BATCH], ty[BATCH];
        const uint32_t limit = static_cast<uint32_t>(a_.uvs);
        for (int i = count_; i < BATCH; ++i) id_[i] = count_ ? id_[0] : 0;
        if (!count_) return;
        for (int i = 0; i < BATCH; ++i) {
            const int64_t at = 3 * static_cast<int64_t>(id_[i]);
            const int32_t *vertex = a_.grid.indices + at, *f = a_.uv_faces + at;
            for (int k = 0; k < 3; ++k) {
                const float *p = projective_ + 3 * static_cast<int64_t>(vertex[k]);
                for (int r = 0; r < 3; ++r) corner[3 * k + r][i] = p[r];
                const bool there = static_cast<uint32_t>(f[k]) < limit;
                ok_ &= there;
                const float *q = a_.uv + 2 * static_cast<int64_t>(there ? f[k] : 0);
                uv[2 * k][i] = q[0];
                uv[2 * k + 1][i] = q[1];
            }
        }
        const float near_z = a_.grid.near_z;
        const int width = a_.texture_width, height = a_.texture_height;
        for (int i = 0; i < BATCH; ++i) {
            const Corner v0{corner[0][i], corner[1][i], corner[2][i]}, v1{corner[3][i], corner[4][i], corner[5][i]},
                v2{corner[6][i], corner[7][i], corner[8][i]};
            const Barycentrics b = resolve_pixel(v0, v1, v2, px_[i], py_[i], near_z);
            const Bilinear t = bilinear(b.b0 * uv[0][i] + b.b1 * uv[2][i] + b.b2 * uv[4][i],
                                        b.b0 * uv[1][i] + b.b1 * uv[3][i] + b.b2 * uv[5][i], width, height);
            z[i] = b.depth;
            tx[i] = t.x;
            ty[i] = t.y;
            w[0][i] = t.w00;
            w[1][i] = t.w01;
            w[2][i] = t.w10;
            w[3][i] = t.w11;
        }
        for (int i = 0; i < count_; ++i) {
            nearest_ = min2(nearest_, z[i]);
            for (int k = 0; k < 4; ++k) {
                const int x = tx[i] + (k & 1), y = ty[i] + (k >> 1);
                if (!inside(x, y, width, height)) continue;
                sum_ = sum_ + load<f4>(a_.texture + (static_cast<int64_t>(y) * width + x) * 4) * (w[k][i] * share_[i]);
            }
            if (!covered_[i]) continue;
            write(x_[i], y_[i], sum_, covered_[i], nearest_);
            sum_ = f4{};
            nearest_ = FAR;
        }
        count_ = 0;
    }

    void write(int x, int y, const f4 &sum, int covered, float nearest) const {
        constexpr int N = S * S;
        const int64_t pixel = static_cast<int64_t>(y) * a_.grid.width + x;
        const float mask = static_cast<float>(covered) * (1.0f / N);
        if (a_.grid.depth && covered && a_.grid.depth[pixel] == 0) a_.grid.depth[pixel] = nearest;
        if (a_.blocks) {
            const int64_t block = static_cast<int64_t>(y / 2) * (a_.grid.width / 2) + x / 2;
            float *out = a_.blocks + block * a_.block_channels + (y % 2 * 2 + x % 2) * 4;
            for (int c = 0; c < 3; ++c) out[c] = sum[c];
            out[3] = mask;
            return;
        }
        const int64_t plane = static_cast<int64_t>(a_.grid.height) * a_.grid.width;
        const float share = a_.straight && covered ? static_cast<float>(N) / static_cast<float>(covered) : 1.0f;
        for (int c = 0; c < 3; ++c) a_.colour[c * plane + pixel] = sum[c] * share;
        a_.mask[pixel] = mask;
    }

    static constexpr float FAR = 3.4e38f;
    const SmoothArgs &a_;
    const float *projective_;
    bool ok_ = true;
    int count_ = 0;                      // surfaces that wait
    int32_t id_[BATCH], x_[BATCH], y_[BATCH];
    double px_[BATCH] = {}, py_[BATCH] = {};
    float share_[BATCH];
    int covered_[BATCH];                 // samples of the pixel, at its last surface; else 0
    f4 sum_{};                           // of the pixel that is not yet written
    float nearest_ = FAR;
};

}  // namespace
DINAR_END
