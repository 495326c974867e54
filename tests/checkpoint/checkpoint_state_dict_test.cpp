// state_dict and tensor_values: fitting a file to a model, dtype conversions, layout permutations.
#include "engine/checkpoint/state_dict.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "engine/checkpoint/tensor_values.h"
#include "engine/core/check.h"

namespace residuum {
namespace {

const std::array<std::byte, 64> kZeros{};

StoredTensor tensor(std::string name, std::string dtype, std::vector<int64_t> shape) {
  const int64_t elements = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return {std::move(name), dtype, std::move(shape),
          std::span(kZeros).first(static_cast<size_t>(elements) * bytes_of_dtype(dtype))};
}

SafetensorsFile file_of(const std::vector<StoredTensor>& tensors) {
  const SafetensorsImage image(tensors, {});
  std::vector<std::byte> bytes;
  for (const auto part : image.parts()) bytes.insert(bytes.end(), part.begin(), part.end());
  return SafetensorsFile::parse("w.safetensors", std::move(bytes));
}

std::string error_of(const std::vector<ExpectedTensor>& expected, const SafetensorsFile& file,
                     const MatchOptions& options = {}) {
  try {
    match_state_dict(expected, file, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
    return error.what();
  }
  return "no error";
}

const std::vector<ExpectedTensor> kModel = {
    {"conv1.weight", {2, 3, 1, 1}}, {"bn1.weight", {2}}, {"bn1.num_batches_tracked", {}}, {"fc.bias", {4}}};

std::vector<StoredTensor> fitting() {
  return {tensor("fc.bias", "F32", {4}), tensor("bn1.num_batches_tracked", "I64", {}),
          tensor("conv1.weight", "BF16", {2, 3, 1, 1}), tensor("bn1.weight", "F16", {2})};
}

TEST(StateDictTest, MatchesInTheModelsOrder) {
  const SafetensorsFile file = file_of(fitting());
  const auto matched = match_state_dict(kModel, file);
  ASSERT_EQ(matched.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(matched[i]->name, kModel[i].name);
}

TEST(StateDictTest, StripsTheModulePrefixOnlyWhenAllHaveIt) {
  std::vector<StoredTensor> tensors = fitting();
  for (StoredTensor& t : tensors) t.name = "module." + t.name;
  EXPECT_EQ(match_state_dict(kModel, file_of(tensors)).size(), 4u);
  EXPECT_NE(error_of(kModel, file_of(tensors), {.strip_module_prefix = false})
                .find("3 extra (first module.fc.bias: found F32[4])"),
            std::string::npos);
  tensors[0].name = "fc.bias";
  EXPECT_NE(error_of(kModel, file_of(tensors)).find("2 extra (first module."), std::string::npos);
}

TEST(StateDictTest, BatchCountersMayBeAbsentOnEitherSide) {
  std::vector<StoredTensor> tensors = fitting();
  tensors.erase(tensors.begin() + 1);
  const SafetensorsFile file = file_of(tensors);
  EXPECT_EQ(match_state_dict(kModel, file)[2], nullptr);
  EXPECT_EQ(error_of(kModel, file, {.optional_num_batches_tracked = false}),
            "w.safetensors does not fit the model: "
            "1 missing (bn1.num_batches_tracked: expected [])");
  std::vector<ExpectedTensor> without = kModel;
  without.erase(without.begin() + 2);
  EXPECT_EQ(match_state_dict(without, file_of(fitting())).size(), 3u);
  EXPECT_NE(error_of(without, file_of(fitting()), {.optional_num_batches_tracked = false})
                .find("1 extra (bn1.num_batches_tracked: found I64[])"),
            std::string::npos);
}

TEST(StateDictTest, OneLineCountsTheMisfitsOfEachKind) {
  const SafetensorsFile file =
      file_of({tensor("conv1.weight", "F32", {2, 1, 3, 1}), tensor("bn1.weight", "I64", {2}),
               tensor("bn1.num_batches_tracked", "F32", {}), tensor("fc.weight", "F32", {1, 4})});
  EXPECT_EQ(error_of(kModel, file),
            "w.safetensors does not fit the model: "
            "1 missing (fc.bias: expected [4]), 1 extra (fc.weight: found F32[1, 4]), "
            "1 mis-shaped (conv1.weight: found F32[2, 1, 3, 1], expected F32[2, 3, 1, 1]), "
            "2 mis-typed (first bn1.weight: found I64[2], expected floating[2])");
}

template <typename T>
StoredTensor stored(const char* dtype, const std::vector<T>& values) {
  return {"t", dtype, {static_cast<int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

TEST(TensorValuesTest, FloatingDtypes) {
  const std::vector<double> doubles = {1.5, -0x1p-60, 1e300};
  EXPECT_EQ(to_floats(stored("F64", doubles)), (std::vector<float>{1.5f, -0x1p-60f, INFINITY}));
  const std::vector<float> floats = {0.1f, -2.0f};
  EXPECT_EQ(to_floats(stored("F32", floats)), floats);
  const std::vector<uint16_t> bf16 = {0x3F80, 0xC000, 0x7F80, 0x0001};
  EXPECT_EQ(to_floats(stored("BF16", bf16)), (std::vector<float>{1.0f, -2.0f, INFINITY, 0x1p-133f}));
  const std::vector<uint16_t> f16 = {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x03FF, 0x0400, 0xFC00, 0x8001};
  EXPECT_EQ(to_floats(stored("F16", f16)), (std::vector<float>{1.0f, -2.0f, 65504.0f, 0x1p-24f, 0x1.FF8p-15f,
                                                               0x1p-14f, -INFINITY, -0x1p-24f}));
  const std::vector<uint16_t> special = {0x7E00, 0x8000};
  const std::vector<float> values = to_floats(stored("F16", special));
  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_TRUE(values[1] == 0.0f && std::signbit(values[1]));
  EXPECT_THROW(to_floats(stored("I16", special)), Error);
}

#ifdef __FLT16_MANT_DIG__
TEST(TensorValuesTest, EveryHalfAgreesWithTheCompiler) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::vector<uint16_t> half = {static_cast<uint16_t>(bits)};
    const float expected = static_cast<float>(std::bit_cast<_Float16>(half[0]));
    const float found = to_floats(stored("F16", half))[0];
    ASSERT_TRUE(found == expected || (std::isnan(found) && std::isnan(expected))) << bits;
  }
}
#endif

TEST(TensorValuesTest, IntegerDtypes) {
  const std::vector<int64_t> i64 = {-1, int64_t{1} << 40};
  EXPECT_EQ(to_int64s(stored("I64", i64)), i64);
  EXPECT_EQ(to_int64s(stored("I32", std::vector<int32_t>{-7, 9})), (std::vector<int64_t>{-7, 9}));
  EXPECT_EQ(to_int64s(stored("I16", std::vector<int16_t>{-7})), std::vector<int64_t>{-7});
  EXPECT_EQ(to_int64s(stored("I8", std::vector<int8_t>{-7})), std::vector<int64_t>{-7});
  EXPECT_EQ(to_int64s(stored("U8", std::vector<uint8_t>{200})), std::vector<int64_t>{200});
  EXPECT_THROW(to_int64s(stored("F32", std::vector<float>{1})), Error);
}

TEST(TensorValuesTest, ConvolutionLayouts) {
  const std::array<int64_t, 4> oihw = {2, 3, 4, 5}, krsc = {2, 4, 5, 3};
  std::vector<float> weights(120);
  std::iota(weights.begin(), weights.end(), 0.0f);
  const std::vector<float> engine = oihw_to_krsc(weights, oihw);
  for (size_t o = 0; o < 2; ++o) {
    for (size_t i = 0; i < 3; ++i) {
      for (size_t h = 0; h < 4; ++h) {
        for (size_t w = 0; w < 5; ++w) {
          ASSERT_EQ(engine[((o * 4 + h) * 5 + w) * 3 + i], weights[((o * 3 + i) * 4 + h) * 5 + w]);
        }
      }
    }
  }
  EXPECT_EQ(krsc_to_oihw(engine, krsc), weights);
  EXPECT_THROW(oihw_to_krsc(weights, {2, 3, 4, 4}), Error);
}

}  // namespace
}  // namespace residuum
