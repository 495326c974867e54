// The source pixels of kFilterTaps: they stream through a ring of shared memory in the order of memory, each
// copied (and formed, by the thread that copied it) once for all taps. Chunk c of the pixels is a line of its
// own, so that the eight rows of an ldmatrix, neighbours in memory at whatever tap, fall into different
// banks; behind the pixels of a line lies one of zeros, which a lane reads where its tap is outside of the
// image: whatever is formed, padding stays zero.
#pragma once

#include "kernels/conv_filter_forms.cuh"
#include "kernels/conv_filter_rows.cuh"

namespace residuum::kernels {

/// Steps of kDepth pixels of kChannels channels, kFilterRingSteps of them at once.
template <typename T, int kChannels, int kDepth, int kThreads, bool kForms>
class FilterRing {
 public:
  static constexpr int kChunks = kChannels / kChunk<T>, kPixels = kFilterRingSteps * kDepth;
  /// Lanes that copy, or form, have chunks side by side: they too fall into different banks.
  static constexpr int kPitch = (kPixels + 8 / kChunks) * kChunkBytes, kBytes = kChunks * kPitch;
  using Table = FormTable<T, 2, kChannels>;
  static constexpr size_t kTableBytes = sizeof(float) * Table::kFloats;

  /// `first_pixel` of the source is place 0 of the first step; it may lie before the tensor.
  __device__ __forceinline__ FilterRing(const FilterGeometry& g, const ConvSource& src, int first_channel,
                                        int first_pixel, unsigned char* memory, unsigned char* table)
      : g_(g),
        src_(src),
        memory_(memory),
        table_(reinterpret_cast<float*>(table)),
        first_channel_(first_channel),
        first_pixel_(first_pixel),
        end_(channel() < g.depth_c ? static_cast<unsigned>(g.src_pixels) : 0) {}

  __device__ __forceinline__ bool forms() const { return kForms && src_.form == Form::kApply; }

  /// Zeros and, where pixels are formed, coefficients; 0 beyond the last channel. A barrier must follow.
  __device__ __forceinline__ void fill() {
    if (thread() < kChunks) at(thread(), kPixels) = ChunkOf<T>{};
    if (!forms()) return;
    for (int c = thread(); c < kChannels; c += kThreads) {
      float scale = 0, shift = 0;
      if (first_channel_ + c < g_.depth_c) affine_of(src_.vectors, first_channel_ + c, scale, shift);
      table_.at(0, c) = scale, table_.at(1, c) = shift;
    }
  }

  /// Copies a step.
  __device__ __forceinline__ void load(int step) const {
    const T* const from = static_cast<const T*>(src_.a) + channel();
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int place = place_of(step, pass);
      const unsigned pixel = static_cast<unsigned>(first_pixel_ + place);
      cp_async_16(shared_address(&own(place)), pixel_of(from, pixel, g_.src_pitch), pixel < end_);
    }
  }
  /// Forms the chunks of a step where this thread copied them; its copies have arrived.
  __device__ __forceinline__ void form(int step) const {
    if (!forms()) return;
    ChunkOf<T> x[kPasses];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) x[pass] = own(place_of(step, pass));
    form_applied(x, src_.relu, table_, chunk());
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int place = place_of(step, pass);
      if (static_cast<unsigned>(first_pixel_ + place) < end_) own(place) = x[pass];
    }
  }

  /// Address of a chunk of the pixel at a place, kPitch before that of its next chunk; or of zeros.
  __device__ __forceinline__ SharedAddress address(int place, bool inside) const {
    const int offset = inside ? place * kChunkBytes & (kPixels - 1) * kChunkBytes : kPixels * kChunkBytes;
    return shared_address(memory_) + static_cast<SharedAddress>(offset);
  }

 private:
  /// Pixels that all threads copy at once, and chunks of a step that a thread copies.
  static constexpr int kPass = kThreads / kChunks, kPasses = kDepth / kPass;
  static_assert(kPasses * kPass == kDepth);

  __device__ __forceinline__ static int thread() {
    return static_cast<int>(threadIdx.x);
  }
  __device__ __forceinline__ static int chunk() {
    return thread() % kChunks;
  }
  __device__ __forceinline__ int channel() const {
    return first_channel_ + chunk() * kChunk<T>;
  }
  __device__ __forceinline__ static int place_of(int step, int pass) {
    return step * kDepth + pass * kPass + thread() / kChunks;
  }
  __device__ __forceinline__ ChunkOf<T>& at(int chunk, int slot) const {
    return *reinterpret_cast<ChunkOf<T>*>(memory_ + chunk * kPitch + slot * kChunkBytes);
  }
  __device__ __forceinline__ ChunkOf<T>& own(int place) const {
    return at(chunk(), place % kPixels);
  }

  const FilterGeometry& g_;
  const ConvSource& src_;
  unsigned char* memory_;
  Table table_;
  int first_channel_, first_pixel_;
  unsigned end_;  ///< behind the last pixel, 0 for a chunk that does not exist
};

}  // namespace residuum::kernels
