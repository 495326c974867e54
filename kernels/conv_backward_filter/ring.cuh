// The source pixels of kFilterTaps and its like: they stream through a ring of shared memory in the order of
// output pixels, each copied (and formed, by the thread that copied it) once for all taps. With stride 2 each
// output pixel has four of them, one of each plane of pixels (2y + a, 2x + b): a tap reads one plane at a
// fixed distance. Chunk c of a plane's pixels is a line of its own, so that the eight rows of an ldmatrix,
// neighbours at whatever tap, fall into different banks; behind the pixels of a line lie some of zeros, of
// which a lane reads one, in the banks of its own pixel, where its tap is outside of the image: whatever is
// formed, padding stays zero.
#pragma once

#include "kernels/conv_backward_filter/forms.cuh"
#include "kernels/conv_backward_filter/rows.cuh"

namespace residuum::kernels {

/// Steps of kDepth output pixels, kSteps of them at once, of kChannels channels.
template <typename T, int kStride, int kChannels, int kDepth, int kSteps, int kThreads, bool kForms>
class FilterRing {
 public:
  static constexpr int kChunks = kChannels / kChunk<T>, kPlanes = kStride * kStride;
  static constexpr int kPixels = kSteps * kDepth, kZeros = 8;  ///< of a line; a sweep of all banks
  /// Lanes that copy, or form, have chunks side by side: they too fall into different banks.
  static constexpr int kPitch = (kPixels + kZeros + 8 / kChunks) * kChunkBytes;
  static constexpr int kPlaneBytes = kChunks * kPitch;
  static constexpr int kBytes = kPlanes * kPlaneBytes;
  static_assert(kPixels % 8 == 0 && kBytes % 128 == 0);
  using Table = FormTable<T, 2, kChannels>;
  static constexpr size_t kTableBytes = sizeof(float) * Table::kFloats;

  /// `first_pixel` of the output is place 0 of the first step; it may lie before the tensor.
  __device__ __forceinline__ FilterRing(const FilterGeometry& g, const ConvSource& src, int first_channel,
                                        int first_pixel, unsigned char* memory, unsigned char* table)
      : g_(g),
        src_(src),
        memory_(memory),
        table_(reinterpret_cast<float*>(table)),
        first_channel_(first_channel),
        first_pixel_(first_pixel) {}

  __device__ __forceinline__ bool forms() const { return kForms && src_.form == Form::kApply; }

  /// Zeros and, where pixels are formed, coefficients; 0 beyond the last channel. A barrier must follow.
  __device__ __forceinline__ void fill() {
    const int first = static_cast<int>(threadIdx.x);
    for (int i = first; i < kPlanes * kChunks * kZeros; i += kThreads) {
      at(i / kZeros, kPixels + i % kZeros) = ChunkOf<T>{};
    }
    if (!forms()) return;
    for (int c = first; c < kChannels; c += kThreads) {
      float scale = 0, shift = 0;
      if (first_channel_ + c < g_.depth_c) affine_of(src_.vectors, first_channel_ + c, scale, shift);
      table_.at(0, c) = scale, table_.at(1, c) = shift;
    }
  }

  /// Copies a step.
  __device__ __forceinline__ void load(int step) const {
    const unsigned thread = thread_here();
    const T* const from = static_cast<const T*>(src_.a) + channel(thread);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const Source source(g_, output_pixel(step, pass, thread), end(thread));
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane) {
        cp_async_16(shared_address(&own(step, pass, plane, thread)),
                    pixel_of(from, source.pixel(g_, plane), g_.src_pitch), source.exists(g_, plane));
      }
    }
  }
  /// Forms the chunks of a step where this thread copied them; its copies have arrived.
  __device__ __forceinline__ void form(int step) const {
    if (!forms()) return;
    const unsigned thread = thread_here();
    ChunkOf<T> x[kPasses * kPlanes];
#pragma unroll
    for (int i = 0; i < kPasses * kPlanes; ++i) x[i] = own(step, i / kPlanes, i % kPlanes, thread);
    form_applied(x, src_.relu, table_, chunk(thread));
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const Source source(g_, output_pixel(step, pass, thread), end(thread));
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane) {
        if (source.exists(g_, plane)) own(step, pass, plane, thread) = x[pass * kPlanes + plane];
      }
    }
  }

  /// What lies `place` places behind the first one of a step, as bytes of a line.
  __device__ __forceinline__ static int offset(int step, int place) {
    return wrapped((first_slot(step) + place) * kChunkBytes - kLineBytes);
  }
  /// Address of a chunk of the plane's pixel so many places before `offset`, kPitch before that of its next
  /// chunk; or of zeros.
  __device__ __forceinline__ SharedAddress address(int offset, int plane, int before, bool inside) const {
    const int own = wrapped(offset - before * kChunkBytes);
    const int at = inside ? own : kLineBytes | (own & (kZeros - 1) * kChunkBytes);
    return shared_address(memory_) + static_cast<SharedAddress>(plane * kPlaneBytes + at);
  }

 private:
  /// Pixels that all threads copy at once, and chunks of a step and plane that a thread copies.
  static constexpr int kPass = kThreads / kChunks, kPasses = kDepth / kPass;
  static_assert(kPasses * kPass == kDepth);
  static constexpr int kLineBytes = kPixels * kChunkBytes;
  static_assert(kLineBytes % (kZeros * kChunkBytes) == 0);

  /// The pixels of the source that belong to an output pixel.
  class Source {
   public:
    __device__ __forceinline__ Source(const FilterGeometry& g, unsigned output, unsigned end)
        : pixel_(output), exists_(output < end) {
      if constexpr (kStride == 2) {
        const auto [image, of_image] = g.image.split(exists_ ? output : 0);
        const auto [y, x] = g.line.split(of_image);
        h_ = static_cast<int>(y) * kStride, w_ = static_cast<int>(x) * kStride;
        pixel_ = (image * static_cast<unsigned>(g.src_h) + static_cast<unsigned>(h_)) *
                     static_cast<unsigned>(g.src_w) +
                 static_cast<unsigned>(w_);
      }
    }
    __device__ __forceinline__ unsigned pixel(const FilterGeometry& g, int plane) const {
      return pixel_ + static_cast<unsigned>(plane / kStride * g.src_w + plane % kStride);
    }
    /// Images of odd extents end with pixels of plane 0 alone.
    __device__ __forceinline__ bool exists(const FilterGeometry& g, int plane) const {
      if constexpr (kStride == 1) return exists_;
      return exists_ && h_ + plane / kStride < g.src_h && w_ + plane % kStride < g.src_w;
    }

   private:
    unsigned pixel_;
    bool exists_;
    int h_ = 0, w_ = 0;
  };

  /// The thread, computed where it is wanted and not kept in a register.
  __device__ __forceinline__ static unsigned thread_here() {
    return computed_here(threadIdx.x);
  }
  __device__ __forceinline__ static int chunk(unsigned thread) {
    return static_cast<int>(thread % kChunks);
  }
  __device__ __forceinline__ int channel(unsigned thread) const {
    return first_channel_ + chunk(thread) * kChunk<T>;
  }
  __device__ __forceinline__ static int place(int pass, unsigned thread) {
    return pass * kPass + static_cast<int>(thread / kChunks);
  }
  /// Behind the last output pixel; 0 for a chunk that does not exist.
  __device__ __forceinline__ unsigned end(unsigned thread) const {
    return channel(thread) < g_.depth_c ? static_cast<unsigned>(g_.pixels) : 0;
  }
  __device__ __forceinline__ unsigned output_pixel(int step, int pass, unsigned thread) const {
    return static_cast<unsigned>(first_pixel_ + step * kDepth + place(pass, thread));
  }
  __device__ __forceinline__ static int first_slot(int step) {
    return static_cast<int>(static_cast<unsigned>(step) % kSteps) * kDepth;
  }
  __device__ __forceinline__ static int wrapped(int offset) {
    return static_cast<int>(min(static_cast<unsigned>(offset), static_cast<unsigned>(offset + kLineBytes)));
  }
  __device__ __forceinline__ ChunkOf<T>& at(int line, int slot) const {
    return *reinterpret_cast<ChunkOf<T>*>(memory_ + line * kPitch + slot * kChunkBytes);
  }
  __device__ __forceinline__ ChunkOf<T>& own(int step, int pass, int plane, unsigned thread) const {
    return at(plane * kChunks + chunk(thread), first_slot(step) + place(pass, thread));
  }

  const FilterGeometry& g_;
  const ConvSource& src_;
  unsigned char* memory_;
  Table table_;
  int first_channel_, first_pixel_;
};

}  // namespace residuum::kernels
