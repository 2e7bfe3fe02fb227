// Python bindings. The Python files beside this folder check shapes, types and ranges; here arrays are only unpacked.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T> using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
using Any = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
template <class T> using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

std::atomic<const dinar::Kernels *> chosen{nullptr};

const dinar::Kernels &kernels() {
    const dinar::Kernels *k = chosen.load(std::memory_order_relaxed);
    if (!k) {
        k = &dinar::best_kernels();
        chosen.store(k, std::memory_order_relaxed);
    }
    return *k;
}

int thread_count(int threads) { return threads > 0 ? threads : dinar::available_threads(); }

// Lets other Python threads run. Unlike nb::gil_scoped_release it survives the end of the interpreter: before Python 3.14 a daemon
// thread that asks for the lock then is ended by unwinding its stack, which may not pass a destructor; it waits here instead.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    WithoutGil(const WithoutGil &) = delete;
    WithoutGil &operator=(const WithoutGil &) = delete;
    ~WithoutGil() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }

  private:
    PyThreadState *state_;
};

template <class A> auto data_or_null(const std::optional<A> &a) -> decltype(a->data()) { return a ? a->data() : nullptr; }

template <class T> std::vector<T> copy(const In<T> &a) { return std::vector<T>(a.data(), a.data() + a.size()); }

void refuse(dinar::Status status, const char *not_finite, const char *bad_index) {
    if (status == dinar::NOT_FINITE) throw nb::value_error(not_finite);
    if (status == dinar::BAD_INDEX) throw nb::value_error(bad_index);
}

// A body in the layout of the loops: skinning slots in use first, expression directions in blocks of 16 vertices.
class Body {
  public:
    Body(In<float> vertices, In<float> joints, In<int32_t> parents, In<uint16_t> skin_index, In<float> skin_weight,
         In<int32_t> expression_vertex, In<float> expression_dirs, In<float> expression_joint_dirs, std::optional<In<float>> pose_dirs)
        : rest_(copy(vertices)), rest_joints_(copy(joints)), parents_(copy(parents)), skin_count_(vertices.shape(0)),
          skin_index_(copy(skin_index)), skin_weight_(copy(skin_weight)), expression_vertex_(copy(expression_vertex)),
          expression_joint_dirs_(copy(expression_joint_dirs)), pose_dirs_(std::move(pose_dirs)) {
        a_ = {};
        a_.vertices = static_cast<int>(vertices.shape(0));
        a_.joints = static_cast<int>(joints.shape(0));
        a_.slots = static_cast<int>(skin_index.shape(1));
        a_.expressions = static_cast<int>(expression_joint_dirs.shape(2));
        a_.expression_vertices = static_cast<int>(expression_vertex.shape(0));
        pack_skinning();
        pack_expression(expression_dirs.data());
        a_.rest = rest_.data();
        a_.rest_joints = rest_joints_.data();
        a_.parents = parents_.data();
        a_.skin_count = skin_count_.data();
        a_.skin_index = skin_index_.data();
        a_.skin_weight = skin_weight_.data();
        a_.expression_vertex = expression_vertex_.data();
        a_.block_start = block_start_.data();
        a_.entry_expression = entry_expression_.data();
        a_.entry_dirs = entry_dirs_.data();
        a_.expression_joint_dirs = expression_joint_dirs_.data();
        a_.pose_dirs = pose_dirs_ ? pose_dirs_->data() : nullptr;
    }

    void lbs(In<float> body, In<float> transl, In<float> expression, Out<float> out, std::optional<Out<float>> joints_out, int threads) const {
        // One set per Python thread, kept from call to call and grown to the largest body it has met.
        static thread_local std::vector<double> doubles;
        static thread_local std::vector<float> floats;
        static thread_local std::vector<int32_t> ints;
        const size_t J = a_.joints, F = 9 * J, blocks = block_start_.size() - 1, D = blocks * 3 * dinar::EXPRESSION_BLOCK;
        if (doubles.size() < 15 * J) doubles.resize(15 * J);
        if (floats.size() < 16 * J + F + D) floats.resize(16 * J + F + D);
        if (ints.size() < F) ints.resize(F);
        dinar::LbsArgs a = a_;
        a.world = doubles.data();
        a.posed_rest_joints = doubles.data() + 12 * J;
        a.columns = floats.data();
        a.features = floats.data() + 16 * J;
        a.delta = a.features + F;
        a.active_features = ints.data();
        a.body = body.data();
        a.transl = transl.data();
        a.expression = expression.data();
        a.expression_count = static_cast<int>(expression.size());
        a.out = out.data();
        a.joints_out = data_or_null(joints_out);
        a.threads = thread_count(threads);
        WithoutGil release;
        kernels().lbs(a);
    }

  private:
    void pack_skinning() {
        const size_t k = a_.slots;
        for (size_t v = 0; v < skin_count_.size(); ++v) {
            size_t n = 0;
            for (size_t i = 0; i < k; ++i) {
                if (skin_weight_[v * k + i] == 0) continue;
                skin_weight_[v * k + n] = skin_weight_[v * k + i];
                skin_index_[v * k + n++] = skin_index_[v * k + i];
            }
            skin_count_[v] = static_cast<uint8_t>(n);
        }
    }

    void pack_expression(const float *dirs) {
        const int n = a_.expression_vertices, E = a_.expressions, B = dinar::EXPRESSION_BLOCK;
        block_start_.push_back(0);
        for (int first = 0; first < n; first += B) {
            for (int e = 0; e < E; ++e) {
                float values[3 * dinar::EXPRESSION_BLOCK] = {};
                bool used = false;
                for (int i = first; i < n && i < first + B; ++i)
                    for (int r = 0; r < 3; ++r) {
                        const float x = dirs[(3 * static_cast<size_t>(i) + r) * E + e];
                        values[3 * (i - first) + r] = x;
                        used |= x != 0;
                    }
                if (!used) continue;
                entry_expression_.push_back(e);
                entry_dirs_.insert(entry_dirs_.end(), values, values + 3 * B);
            }
            block_start_.push_back(static_cast<int32_t>(entry_expression_.size()));
        }
    }

    dinar::LbsArgs a_;
    std::vector<float> rest_, rest_joints_;
    std::vector<int32_t> parents_;
    std::vector<uint8_t> skin_count_;
    std::vector<uint16_t> skin_index_;
    std::vector<float> skin_weight_;
    std::vector<int32_t> expression_vertex_;
    std::vector<float> expression_joint_dirs_;
    std::optional<In<float>> pose_dirs_;     // referenced, not copied: 60 to 80 MB
    std::vector<int32_t> block_start_, entry_expression_;
    std::vector<float> entry_dirs_;
};

nb::object project(In<float> points, In<double> matrix, float near_z, Out<float> out) {
    dinar::ProjectArgs a{};
    a.vertices = static_cast<int>(points.shape(0));
    a.points = points.data();
    a.matrix = matrix.data();
    a.near_z = near_z;
    a.out = out.data();
    dinar::Status status;
    {
        WithoutGil release;
        status = kernels().project(a);
    }
    refuse(status, "project: vertices or matrix hold NaN or Inf (or overflow float32); expected finite values", "");
    if (!a.has_bounds) return nb::none();
    return nb::make_tuple(a.bounds[0], a.bounds[1], a.bounds[2], a.bounds[3]);
}

void rasterize(In<float> projective, In<int32_t> faces, int origin_x, int origin_y, bool cull, float near_z, Out<int32_t> triangle_id,
               Out<float> barycentrics, Out<float> depth, int threads) {
    dinar::RasterizeArgs a{};
    a.vertices = static_cast<int>(projective.shape(0));
    a.faces = static_cast<int>(faces.shape(0));
    a.projective = projective.data();
    a.indices = faces.data();
    a.height = static_cast<int>(triangle_id.shape(0));
    a.width = static_cast<int>(triangle_id.shape(1));
    a.origin_x = origin_x;
    a.origin_y = origin_y;
    a.cull = cull;
    a.near_z = near_z;
    a.triangle_id = triangle_id.data();
    a.barycentrics = barycentrics.data();
    a.depth = depth.data();
    a.threads = thread_count(threads);
    dinar::Status status;
    {
        WithoutGil release;
        status = kernels().rasterize(a);
    }
    refuse(status, "rasterize: projective holds NaN or Inf; expected finite vertices", "rasterize: faces refers to a vertex that projective does not have");
}

void gather(In<int32_t> triangle_id, In<float> barycentrics, In<float> uv, In<int32_t> uv_faces, In<float> texture, Out<float> out, int threads) {
    dinar::GatherArgs a{};
    a.pixels = static_cast<int64_t>(triangle_id.size());
    a.faces = static_cast<int>(uv_faces.shape(0));
    a.uvs = static_cast<int>(uv.shape(0));
    a.texture_height = static_cast<int>(texture.shape(0));
    a.texture_width = static_cast<int>(texture.shape(1));
    a.channels = static_cast<int>(texture.shape(2));
    a.triangle_id = triangle_id.data();
    a.barycentrics = barycentrics.data();
    a.uv = uv.data();
    a.uv_faces = uv_faces.data();
    a.texture = texture.data();
    a.out = out.data();
    a.threads = thread_count(threads);
    dinar::Status status;
    {
        WithoutGil release;
        status = kernels().gather(a);
    }
    refuse(status, "", "gather_uv: raster.triangle_id refers to a face that uv_faces does not have, or uv_faces to a missing uv");
}

dinar::Frame frame_of(bool has_background, float red, float green, float blue, bool straight, int origin_x, int origin_y, Out<uint8_t> &out,
                      std::optional<Out<float>> &depth_out) {
    dinar::Frame f{};
    f.has_background = has_background;
    f.straight = straight;
    f.background[0] = red;
    f.background[1] = green;
    f.background[2] = blue;
    f.origin_x = origin_x;
    f.origin_y = origin_y;
    f.out_height = static_cast<int>(out.shape(0));
    f.out_width = static_cast<int>(out.shape(1));
    f.out = reinterpret_cast<uint32_t *>(out.data());
    f.depth_out = data_or_null(depth_out);
    return f;
}

void compose(In<float> rgb, In<float> alpha, std::optional<In<float>> mask, std::optional<In<float>> depth, float threshold, bool has_background,
             float red, float green, float blue, bool straight, int samples, int origin_x, int origin_y, Out<uint8_t> out,
             std::optional<Out<float>> depth_out, int threads) {
    dinar::ComposeArgs a{};
    a.height = static_cast<int>(alpha.shape(0));
    a.width = static_cast<int>(alpha.shape(1));
    a.samples = samples;
    a.rgb = rgb.data();
    a.alpha = alpha.data();
    a.mask = data_or_null(mask);
    a.depth = data_or_null(depth);
    a.threshold = threshold;
    a.frame = frame_of(has_background, red, green, blue, straight, origin_x, origin_y, out, depth_out);
    a.threads = thread_count(threads);
    WithoutGil release;
    kernels().compose(a);
}

void gather_half(In<int32_t> triangle_id, In<float> barycentrics, In<float> uv, In<int32_t> uv_faces, Any texture, Any neural,
                 Out<float> out, std::optional<Out<int32_t>> spans, int threads) {
    dinar::GatherHalfArgs a{};
    a.height = static_cast<int>(triangle_id.shape(0));
    a.width = static_cast<int>(triangle_id.shape(1));
    a.faces = static_cast<int>(uv_faces.shape(0));
    a.uvs = static_cast<int>(uv.shape(0));
    a.texture_height = static_cast<int>(texture.shape(0));
    a.texture_width = static_cast<int>(texture.shape(1));
    a.neural_height = static_cast<int>(neural.shape(0));
    a.neural_width = static_cast<int>(neural.shape(1));
    a.channels = static_cast<int>(neural.shape(2));
    a.triangle_id = triangle_id.data();
    a.barycentrics = barycentrics.data();
    a.uv = uv.data();
    a.uv_faces = uv_faces.data();
    a.bytes = texture.dtype() == nb::dtype<uint8_t>();
    a.texture = texture.data();
    a.neural = neural.data();
    a.out = out.data();
    a.spans = data_or_null(spans);
    a.threads = thread_count(threads);
    dinar::Status status;
    {
        WithoutGil release;
        status = kernels().gather_half(a);
    }
    refuse(status, "", "gather_half: raster.triangle_id refers to a face that uv_faces does not have, or uv_faces to a missing uv");
}

void compose_half(In<float> features, In<float> correction, std::optional<In<int32_t>> spans, std::optional<In<float>> depth, bool hardsegm,
                  float threshold, bool has_background, float red, float green, float blue, bool straight, int origin_x, int origin_y,
                  Out<uint8_t> out, std::optional<Out<float>> depth_out, int threads) {
    dinar::ComposeHalfArgs a{};
    a.height = 2 * static_cast<int>(features.shape(0));
    a.width = 2 * static_cast<int>(features.shape(1));
    a.channels = static_cast<int>(features.shape(2)) - 16;
    a.features = features.data();
    a.correction = correction.data();
    a.spans = data_or_null(spans);
    a.depth = data_or_null(depth);
    a.hardsegm = hardsegm;
    a.threshold = threshold;
    a.frame = frame_of(has_background, red, green, blue, straight, origin_x, origin_y, out, depth_out);
    a.threads = thread_count(threads);
    WithoutGil release;
    kernels().compose_half(a);
}

int64_t smooth_edges(In<float> projective, In<int32_t> faces, int origin_x, int origin_y, bool cull, float near_z, In<int32_t> triangle_id, In<float> uv,
                     In<int32_t> uv_faces, In<float> uv_boxes, float gap, In<float> texture, int samples, bool straight,
                     std::optional<Out<float>> colour, std::optional<Out<float>> mask, std::optional<Out<float>> blocks,
                     std::optional<Out<float>> depth, int threads) {
    dinar::SmoothArgs a{};
    a.grid.vertices = static_cast<int>(projective.shape(0));
    a.grid.faces = static_cast<int>(faces.shape(0));
    a.grid.projective = projective.data();
    a.grid.indices = faces.data();
    a.grid.height = static_cast<int>(triangle_id.shape(0));
    a.grid.width = static_cast<int>(triangle_id.shape(1));
    a.grid.origin_x = origin_x;
    a.grid.origin_y = origin_y;
    a.grid.cull = cull;
    a.grid.near_z = near_z;
    a.grid.threads = thread_count(threads);
    a.samples = samples;
    a.triangle_id = triangle_id.data();
    a.uv_boxes = uv_boxes.data();
    a.gap = gap;
    a.uvs = static_cast<int>(uv.shape(0));
    a.texture_height = static_cast<int>(texture.shape(0));
    a.texture_width = static_cast<int>(texture.shape(1));
    a.uv = uv.data();
    a.uv_faces = uv_faces.data();
    a.texture = texture.data();
    a.grid.depth = data_or_null(depth);
    a.straight = straight;
    a.colour = data_or_null(colour);
    a.mask = data_or_null(mask);
    a.blocks = data_or_null(blocks);
    a.block_channels = blocks ? static_cast<int>(blocks->shape(2)) : 0;
    dinar::Status status;
    int64_t marked = 0;
    {
        WithoutGil release;
        status = kernels().smooth_edges(a, marked);
    }
    refuse(status, "smooth_edges: projective holds NaN or Inf; expected finite vertices",
           "smooth_edges: raster.triangle_id, faces or uv_faces refers to something that is not there");
    return marked;
}

std::vector<std::string> variants() {
    std::vector<std::string> names;
    for (const char *name : {"base", "v3", "v4"})
        if (dinar::find_kernels(name)) names.push_back(name);
    return names;
}

void use_variant(const std::string &name) {
    const dinar::Kernels *k = dinar::find_kernels(name.c_str());
    if (!k) throw nb::value_error(("no such variant on this machine: " + name).c_str());
    chosen.store(k);
}

}  // namespace

NB_MODULE(_cpu, m) {
    m.doc() = "dinar-live CPU kernels (private: arguments are checked by dinar_live.kernels)";
    nb::class_<Body>(m, "Body")
        .def(nb::init<In<float>, In<float>, In<int32_t>, In<uint16_t>, In<float>, In<int32_t>, In<float>, In<float>, std::optional<In<float>>>(),
             "vertices"_a.noconvert(), "joints"_a.noconvert(), "parents"_a.noconvert(), "skin_index"_a.noconvert(), "skin_weight"_a.noconvert(),
             "expression_vertex"_a.noconvert(), "expression_dirs"_a.noconvert(), "expression_joint_dirs"_a.noconvert(), "pose_dirs"_a.noconvert().none())
        .def("lbs", &Body::lbs, "body"_a.noconvert(), "transl"_a.noconvert(), "expression"_a.noconvert(), "out"_a.noconvert(),
             "joints_out"_a.noconvert().none(), "threads"_a);
    m.def("project", &project, "points"_a.noconvert(), "matrix"_a.noconvert(), "near"_a, "out"_a.noconvert());
    m.def("rasterize", &rasterize, "projective"_a.noconvert(), "faces"_a.noconvert(), "origin_x"_a, "origin_y"_a, "cull"_a, "near"_a,
          "triangle_id"_a.noconvert(), "barycentrics"_a.noconvert(), "depth"_a.noconvert(), "threads"_a);
    m.def("gather", &gather, "triangle_id"_a.noconvert(), "barycentrics"_a.noconvert(), "uv"_a.noconvert(), "uv_faces"_a.noconvert(),
          "texture"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
    m.def("compose", &compose, "rgb"_a.noconvert(), "alpha"_a.noconvert(), "mask"_a.noconvert().none(), "depth"_a.noconvert().none(), "threshold"_a,
          "has_background"_a, "red"_a, "green"_a, "blue"_a, "straight"_a, "samples"_a, "origin_x"_a, "origin_y"_a, "out"_a.noconvert(),
          "depth_out"_a.noconvert().none(), "threads"_a);
    m.def("smooth_edges", &smooth_edges, "projective"_a.noconvert(), "faces"_a.noconvert(), "origin_x"_a, "origin_y"_a, "cull"_a, "near"_a,
          "triangle_id"_a.noconvert(), "uv"_a.noconvert(), "uv_faces"_a.noconvert(), "uv_boxes"_a.noconvert(), "gap"_a, "texture"_a.noconvert(),
          "samples"_a, "straight"_a, "colour"_a.noconvert().none(), "mask"_a.noconvert().none(), "blocks"_a.noconvert().none(), "depth"_a.noconvert().none(), "threads"_a);
    m.def("gather_half", &gather_half, "triangle_id"_a.noconvert(), "barycentrics"_a.noconvert(), "uv"_a.noconvert(), "uv_faces"_a.noconvert(),
          "texture"_a.noconvert(), "neural"_a.noconvert(), "out"_a.noconvert(), "spans"_a.noconvert().none(), "threads"_a);
    m.def("compose_half", &compose_half, "features"_a.noconvert(), "correction"_a.noconvert(), "spans"_a.noconvert().none(),
          "depth"_a.noconvert().none(), "hardsegm"_a, "threshold"_a, "has_background"_a, "red"_a, "green"_a, "blue"_a, "straight"_a, "origin_x"_a,
          "origin_y"_a, "out"_a.noconvert(), "depth_out"_a.noconvert().none(), "threads"_a);
    m.def("variants", &variants, "Instruction sets that this build and this CPU have.");
    m.def("variant", [] { return kernels().name; }, "The one in use.");
    m.def("use_variant", &use_variant, "name"_a, "Force one, for tests and benchmarks.");
    m.def("available_threads", &dinar::available_threads);
}
