// Safetensors: round trips, every class of malformed file with its message, truncation and bit flips, and the
// official Python package reading what is written here and the reverse (skipped where the package is absent).
#include "engine/checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "engine/checkpoint/tensor_values.h"
#include "engine/core/check.h"
#include "engine/core/file.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> with_length(uint64_t length, std::string_view rest) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  text += rest;
  const auto bytes = bytes_of(text);
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> file_bytes(const std::string& header, const std::string& data = "") {
  return with_length(header.size(), header + data);
}

std::string error_of(std::vector<std::byte> bytes) {
  try {
    SafetensorsFile::parse("bad", std::move(bytes));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
    return error.what();
  }
  return "no error";
}

struct Sample {
  std::vector<float> floats = {1.5f, -2.0f, 0.1f, 3e38f, -0.0f, 1e-40f};
  std::vector<int64_t> integers = {int64_t{1} << 50};
  std::vector<uint8_t> bytes = {7, 8, 9};
  std::vector<StoredTensor> tensors = {{"odd \"name\"\n\xC3\xA9", "U8", {3}, std::as_bytes(std::span(bytes))},
                                       {"conv.weight", "F32", {1, 2, 3, 1}, std::as_bytes(std::span(floats))},
                                       {"scalar", "I64", {}, std::as_bytes(std::span(integers))},
                                       {"empty", "F16", {4, 0}, {}}};
  SafetensorsMetadata metadata = {{"format", "pt"}, {"text", "line\n\"quote\""}};
};

std::vector<std::byte> encode(const Sample& sample) {
  const SafetensorsImage image(sample.tensors, sample.metadata);
  std::vector<std::byte> bytes;
  for (const auto part : image.parts()) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

void expect_equal(const SafetensorsFile& file, const Sample& sample) {
  EXPECT_EQ(file.metadata(), sample.metadata);
  ASSERT_EQ(file.tensors().size(), sample.tensors.size());
  for (const StoredTensor& expected : sample.tensors) {
    const StoredTensor* found = file.find(expected.name);
    ASSERT_NE(found, nullptr) << expected.name;
    EXPECT_EQ(found->dtype, expected.dtype);
    EXPECT_EQ(found->shape, expected.shape);
    EXPECT_TRUE(
        std::equal(found->data.begin(), found->data.end(), expected.data.begin(), expected.data.end()));
  }
}

class SafetensorsDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "residuum_safetensors_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    inject_file_faults("");
    fs::remove_all(directory_);
  }
  // Exit status of a Python program with the arguments; 77 stands for an absent package.
  static int run_python(const std::string& program, const fs::path& argument) {
    const fs::path script = argument.parent_path() / "check.py";
    write_file_atomically(script,
                          "import sys\ntry:\n    import numpy, safetensors.numpy\nexcept ImportError:\n"
                          "    sys.exit(77)\n" +
                              program);
    const int status = std::system(("python3 '" + script.string() + "' '" + argument.string() + "'").c_str());
    return WIFEXITED(status) && WEXITSTATUS(status) != 127 ? WEXITSTATUS(status) : 77;
  }

  fs::path directory_;
};

TEST(SafetensorsTest, RoundTripInMemory) {
  const Sample sample;
  expect_equal(SafetensorsFile::parse("memory", encode(sample)), sample);
  EXPECT_TRUE(SafetensorsFile::parse("empty", file_bytes("{}")).tensors().empty());
}

TEST(SafetensorsTest, TensorsAreAlignedAndPadded) {
  const std::vector<std::byte> bytes = encode(Sample());
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  const SafetensorsFile file = SafetensorsFile::parse("memory", bytes);
  std::vector<std::string> order;
  size_t offset = 0;
  for (const StoredTensor& tensor : file.tensors()) {
    EXPECT_EQ(offset % bytes_of_dtype(tensor.dtype), 0u) << tensor.name;
    offset += tensor.data.size();
  }
  EXPECT_EQ(file.tensors()[0].name, "scalar");
  EXPECT_EQ(file.tensors()[1].name, "conv.weight");
}

TEST(SafetensorsTest, DataSurviveMovingTheFile) {
  const Sample sample;
  SafetensorsFile first = SafetensorsFile::parse("memory", encode(sample));
  const SafetensorsFile second = std::move(first);
  expect_equal(second, sample);
}

TEST(SafetensorsTest, WriterRefusesWhatItCannotStore) {
  const std::array<std::byte, 8> eight{};
  const auto error_of_tensors = [](const std::vector<StoredTensor>& tensors) -> std::string {
    try {
      SafetensorsImage image(tensors, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
      return error.what();
    }
    return "no error";
  };
  const auto expect = [&](const std::vector<StoredTensor>& tensors, const char* part) {
    EXPECT_NE(error_of_tensors(tensors).find(part), std::string::npos) << error_of_tensors(tensors);
  };
  expect({{"a", "F32", {2}, eight}, {"a", "F32", {2}, eight}}, "'a' is reserved or used twice");
  expect({{"__metadata__", "F32", {2}, eight}}, "'__metadata__' is reserved");
  expect({{"a", "F33", {2}, eight}}, "dtype 'F33'");
  expect({{"a", "F32", {3}, eight}}, "it has 8 bytes, expected 12 for F32[3]");
  expect({{"a", "F32", {-2}, eight}}, "shape [-2]");
  expect({{"a", "F32", {int64_t{1} << 62, 4}, eight}}, "cannot be stored with shape");
  expect({{"\xFF", "F32", {2}, eight}}, "cannot be stored");
}

struct Malformed {
  const char* label;
  std::vector<std::byte> bytes;
  const char* message;
};

void PrintTo(const Malformed& malformed, std::ostream* out) {
  *out << malformed.label;
}

std::vector<Malformed> malformed_files() {
  return {
      {"ShorterThanLength", std::vector<std::byte>(7), "file has 7 bytes, expected at least the 8"},
      {"HeaderLargerThanFile", with_length(3, "{}"), "header size is 3, but only 2 bytes follow"},
      {"HeaderAboveLimit", with_length(100'000'001, "{}"), "header size is 100000001, allowed are 100000000"},
      {"HeaderSizeOverflow", with_length(UINT64_MAX, "{}"), "header size is 18446744073709551615"},
      {"EmptyHeader", with_length(0, ""), "does not start with '{'"},
      {"LeadingSpace", file_bytes(" {}"), "does not start with '{'"},
      {"NotJson", file_bytes("{nope}"), "not JSON"},
      {"CutJson", file_bytes("{\"a\":"), "not JSON"},
      {"ZeroByte", file_bytes(std::string("{}\0x", 4)), "zero byte"},
      {"JunkBehindJson", file_bytes("{} x"), "not JSON"},
      {"InvalidUtf8", file_bytes("{\"\xFF\":1}"), "not JSON"},
      {"EntryIsNumber", file_bytes(R"({"a":1})"), "entry 'a' is the number 1, expected an object"},
      {"EntryIsNull", file_bytes(R"({"a":null})"), "entry 'a' is null, expected an object"},
      {"NestedObject", file_bytes(R"({"a":{"shape":{}}})"), "field 'shape' is an object, expected an array"},
      {"NestedArray", file_bytes(R"({"a":{"shape":[[1]]}})"),
       "field 'shape' is an array, expected non-negative"},
      {"MetadataNotObject", file_bytes(R"({"__metadata__":[]})"), "is an array, expected an object"},
      {"MetadataNotString", file_bytes(R"({"__metadata__":{"k":1}})"),
       "field 'k' is the number 1, expected a string"},
      {"DuplicateTensor",
       file_bytes(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "xx"),
       "has the key 'a' twice"},
      {"DuplicateField",
       file_bytes(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"),
       "entry 'a' has the key 'dtype' twice"},
      {"DuplicateMetadata", file_bytes(R"({"__metadata__":{"k":"1","k":"2"}})"), "has the key 'k' twice"},
      {"UnknownField", file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", "x"),
       "has the field 'x', expected dtype, shape, data_offsets"},
      {"MissingDtype", file_bytes(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", "x"),
       "lacks the field 'dtype'"},
      {"MissingShape", file_bytes(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", "x"),
       "lacks the field 'shape'"},
      {"MissingOffsets", file_bytes(R"({"a":{"dtype":"U8","shape":[1]}})", "x"),
       "lacks the field 'data_offsets'"},
      {"UnknownDtype", file_bytes(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,1]}})", "x"),
       "tensor 'a' has dtype 'F33', expected one of F64"},
      {"DtypeIsNumber", file_bytes(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", "x"),
       "field 'dtype' is the number 8, expected a string"},
      {"NegativeExtent", file_bytes(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x"),
       "field 'shape' is the number -1"},
      {"FractionalExtent", file_bytes(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", "x"),
       "field 'shape' is the number 1.0"},
      {"HugeExtent",
       file_bytes(R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}})", "x"),
       "extent of 9223372036854775808, which overflows"},
      {"ShapeOverflow",
       file_bytes(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,1]}})", "x"),
       "overflows 64 bits"},
      {"ShapeDoesNotFit", file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "xxxx"),
       "tensor 'a' has 4 bytes, expected 8 for F32[2]"},
      {"OneOffset", file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "x"),
       "'data_offsets' is 1 numbers"},
      {"ThreeOffsets", file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "x"),
       "'data_offsets' is the number 2, expected two"},
      {"EndBeforeStart",
       file_bytes(
           R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})",
           "x"),
       "tensor 'c' ends at offset 0, before its start 1"},
      {"Hole", file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "xx"),
       "tensor 'a' starts at offset 1, expected 0 (hole)"},
      {"Overlap",
       file_bytes(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "xxx"),
       "tensor 'b' starts at offset 1, expected 2 (overlap)"},
      {"TrailingBytes", file_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xy"),
       "tensors take 1 bytes, but 2 bytes follow the header (trailing bytes)"},
      {"DataCutShort", file_bytes(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "xy"),
       "tensors take 3 bytes, but 2 bytes follow the header (file cut short)"},
      {"ClaimsPetabytes",
       file_bytes(R"({"a":{"dtype":"F32","shape":[1000000000000000],"data_offsets":[0,4000000000000000]}})",
                  "x"),
       "tensors take 4000000000000000 bytes, but 1 bytes follow"},
  };
}

class MalformedSafetensors : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedSafetensors, IsRefusedWithAMessage) {
  const std::string message = error_of(GetParam().bytes);
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.rfind("bad: ", 0), 0u) << message;
}

INSTANTIATE_TEST_SUITE_P(All, MalformedSafetensors, testing::ValuesIn(malformed_files()),
                         [](const auto& test) { return test.param.label; });

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = encode(Sample());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(error_of({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}), "no error")
        << size;
  }
}

TEST(SafetensorsTest, HeaderBitFlipsAreRefusedOrReadWithinBounds) {
  const std::vector<std::byte> bytes = encode(Sample());
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  int refused = 0;
  for (size_t bit = 0; bit < 8 * (8 + header); ++bit) {
    std::vector<std::byte> flipped = bytes;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    try {
      const SafetensorsFile file = SafetensorsFile::parse("flipped", flipped);
      size_t total = 0;
      for (const StoredTensor& tensor : file.tensors()) total += tensor.data.size();
      EXPECT_EQ(total, bytes.size() - 8 - header);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused,
            static_cast<int>(4 * header));  // only letters of names and metadata can change unnoticed
}

TEST_F(SafetensorsDiskTest, RoundTripAndErrorsOnDisk) {
  const Sample sample;
  const fs::path path = directory_ / "a.safetensors";
  write_safetensors(path, sample.tensors, sample.metadata);
  expect_equal(SafetensorsFile::read(path), sample);
  EXPECT_EQ(SafetensorsFile::read(path).name(), path.string());
  EXPECT_THROW(SafetensorsFile::read(directory_ / "absent"), Error);
  inject_file_faults("write:2:ENOSPC");
  EXPECT_THROW(write_safetensors(path, sample.tensors), Error);
  expect_equal(SafetensorsFile::read(path), sample);
}

TEST_F(SafetensorsDiskTest, HugeClaimsOnDiskAreRefusedBeforeReading) {
  const fs::path path = directory_ / "sparse.safetensors";
  const std::vector<std::byte> bytes = with_length(90'000'000, "{\"a\":");
  const std::array parts = {std::span<const std::byte>(bytes)};
  write_file_atomically(path, parts);
  try {
    SafetensorsFile::read(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), path.string() + ": header size is 90000000, but only 5 bytes follow in the file");
  }
}

TEST_F(SafetensorsDiskTest, PythonPackageReadsOurFile) {
  const std::vector<float> floats = {1.5f, -2.0f, 0.1f, 4.0f, 5.0f, 6.0f};
  const std::vector<int64_t> counter = {42};
  const std::vector<uint8_t> byte = {7};
  const std::vector<StoredTensor> tensors = {{"b", "U8", {1}, std::as_bytes(std::span(byte))},
                                             {"w", "F32", {2, 3}, std::as_bytes(std::span(floats))},
                                             {"n", "I64", {}, std::as_bytes(std::span(counter))},
                                             {"empty", "F32", {0, 4}, {}}};
  const fs::path path = directory_ / "ours.safetensors";
  write_safetensors(path, tensors, {{"format", "pt"}});
  const int status = run_python(R"(
from safetensors import safe_open
t = safetensors.numpy.load_file(sys.argv[1])
assert sorted(t) == ["b", "empty", "n", "w"], sorted(t)
assert t["w"].dtype == numpy.float32 and t["w"].shape == (2, 3)
assert (t["w"].ravel() == numpy.array([1.5, -2.0, 0.1, 4, 5, 6], numpy.float32)).all()
assert t["n"].shape == () and t["n"] == 42 and t["n"].dtype == numpy.int64
assert t["b"][0] == 7 and t["empty"].shape == (0, 4)
assert safe_open(sys.argv[1], "numpy").metadata() == {"format": "pt"}
)",
                                path);
  if (status == 77) GTEST_SKIP() << "python3 with numpy and safetensors is not installed";
  EXPECT_EQ(status, 0);
}

TEST_F(SafetensorsDiskTest, WeReadThePythonPackagesFile) {
  const fs::path path = directory_ / "theirs.safetensors";
  const int status = run_python(R"(
t = {"f32": numpy.array([[1.5, -2.0]], numpy.float32), "f16": numpy.array([0.5, 65504], numpy.float16),
     "f64": numpy.array([0.25]), "n": numpy.array(7, numpy.int64), "u8": numpy.array([1, 2, 3], numpy.uint8)}
safetensors.numpy.save_file(t, sys.argv[1], {"made": "by python"})
)",
                                path);
  if (status == 77) GTEST_SKIP() << "python3 with numpy and safetensors is not installed";
  ASSERT_EQ(status, 0);
  const SafetensorsFile file = SafetensorsFile::read(path);
  EXPECT_EQ(file.metadata(), (SafetensorsMetadata{{"made", "by python"}}));
  EXPECT_EQ(file.tensors().size(), 5u);
  EXPECT_EQ(file.find("f32")->shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(to_floats(*file.find("f32")), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(to_floats(*file.find("f16")), (std::vector<float>{0.5f, 65504.0f}));
  EXPECT_EQ(to_floats(*file.find("f64")), (std::vector<float>{0.25f}));
  EXPECT_EQ(to_int64s(*file.find("n")), std::vector<int64_t>{7});
  EXPECT_EQ(to_int64s(*file.find("u8")), (std::vector<int64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace residuum
