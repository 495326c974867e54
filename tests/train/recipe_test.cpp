// Recipes: reading, overriding, refusing with path and allowed values, writing back exactly; the learning
// rate against closed forms; every file of models/recipes.
#include "engine/train/recipe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/core/check.h"
#include "engine/train/recipe_keys.h"
#include "engine/train/recipe_transform.h"
#include "engine/train/schedule.h"
#include "models/recipe_model.h"
#include "tests/support/source_tree.h"

namespace residuum {
namespace {

constexpr std::string_view kSmallest = "model.name = 'resnet18'\ntrain.epochs = 1\n";

std::string refusal(std::string_view text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_recipe(text, "r.toml", overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "accepted";
}

Recipe with(const std::vector<std::string>& overrides) {
  return parse_recipe(kSmallest, "r.toml", overrides);
}

#define EXPECT_REFUSED(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

// ---- reading

TEST(Recipe, ReadsSectionsAndKeepsDefaults) {
  const Recipe recipe = parse_recipe(R"(
    [model]
    name = "cifar_resnet20"
    shortcut = "B"
    [data]
    mean = [0.5, 1]
    std = [0.25, 0.25]
    [train]
    steps = 64_000
    seed = 9223372036854775807
    precision = "bf16"
    nan_policy = "skip"
    [optimizer]
    lr = 1
    weight_decay = 1e-4
    [schedule]
    kind = "multistep"
    unit = "steps"
    milestones = [32000, 48000]
  )",
                                     "r.toml");
  Recipe expected;
  expected.model.name = "cifar_resnet20";
  expected.model.shortcut = ShortcutChoice::kB;
  expected.data.mean = {0.5, 1};
  expected.data.std = {0.25, 0.25};
  expected.train.steps = 64000;
  expected.train.seed = std::numeric_limits<int64_t>::max();
  expected.train.precision = Precision::kBF16;
  expected.train.nan_policy = NanPolicy::kSkip;
  expected.optimizer.lr = 1;
  expected.optimizer.weight_decay = 1e-4;
  expected.schedule.kind = ScheduleKind::kMultistep;
  expected.schedule.unit = ScheduleUnit::kSteps;
  expected.schedule.milestones = {32000, 48000};
  EXPECT_EQ(recipe, expected);
}

TEST(Recipe, OverridesWinInOrder) {
  const Recipe recipe =
      with({"train.batch=64", " optimizer.lr = 5e-1 ", "train.precision=bf16", "train.batch=32",
            "data.path=/data/cifar #10", "model.name='cifar_resnet20'", "data.mean=[0.5]", "data.std=[1]",
            "train.recompute=true", "train.gram_batch_norm=true"});
  EXPECT_EQ(recipe.train.batch, 32);
  EXPECT_EQ(recipe.optimizer.lr, 0.5);
  EXPECT_EQ(recipe.train.precision, Precision::kBF16);
  EXPECT_EQ(recipe.data.path, "/data/cifar #10");
  EXPECT_EQ(recipe.model.name, "cifar_resnet20");
  EXPECT_EQ(recipe.data.mean, std::vector<double>{0.5});
  EXPECT_TRUE(recipe.train.recompute);
  EXPECT_TRUE(recipe.train.gram_batch_norm);
  EXPECT_EQ(with({"data.path=2012"}).data.path, "2012") << "a text key takes a number as text";
  EXPECT_EQ(with({"data.path="}).data.path, "");
}

TEST(Recipe, AugmentationOnTheDeviceIsPadCropFlipOnly) {
  EXPECT_EQ(with({"data.augment=pad_crop_flip", "data.augment_on=device"}).data.augment_on,
            AugmentPlace::kDevice);
  EXPECT_REFUSED(refusal(kSmallest, {"data.augment_on=device"}), "data.augment_on is device");
}

TEST(Recipe, PrecisionDecidesActivationsAndLossScale) {
  EXPECT_EQ(activation_type(with({"train.precision=tf32"}).train.precision), DType::kF32);
  EXPECT_EQ(activation_type(with({"train.precision=fp16"}).train.precision), DType::kF16);
  for (const std::string_view name : kPrecisionNames) EXPECT_EQ(to_string(precision_named(name)), name);
  EXPECT_EQ(loss_scale(Precision::kF16, 0), 1024);
  EXPECT_EQ(loss_scale(Precision::kBF16, 0), 1);
  EXPECT_EQ(loss_scale(Precision::kF16, 8), 8);
}

// ---- refusing

TEST(Recipe, RefusesUnknownKeysWithTheNearest) {
  EXPECT_REFUSED(refusal("[train]\nbatchs = 1\n"),
                 "r.toml:2: unknown key train.batchs, nearest is train.batch");
  EXPECT_REFUSED(refusal("[train]\nlr = 1\n"), "unknown key train.lr, nearest is optimizer.lr");
  EXPECT_REFUSED(refusal("batch = 1\n"), "unknown key batch, nearest is train.batch");
  EXPECT_REFUSED(refusal("[optimiser]\nlr = 1\n"),
                 "r.toml:1: unknown section optimiser, the sections are model, data, train, "
                 "optimizer, schedule, checkpoint");
  EXPECT_REFUSED(refusal("[empty]\n"), "unknown section empty");
  EXPECT_REFUSED(refusal("[train.batch]\nx = 1\n"), "train.batch is");
  EXPECT_REFUSED(refusal(kSmallest, {"trian.batch=1"}), "unknown key trian.batch, nearest is train.batch");
  EXPECT_REFUSED(refusal(kSmallest, {"train.batch"}), "override 'train.batch' is not KEY=VALUE");
  EXPECT_REFUSED(refusal(kSmallest, {"train.batch=\xff"}), "is not text that TOML allows");
}

TEST(Recipe, ReadsWhatWindowsWrites) {
  EXPECT_EQ(parse_recipe("\xEF\xBB\xBF[model]\r\nname = 'x'\r\n[train]\r\nepochs = 1\r\n", "r.toml"),
            parse_recipe("[model]\nname = 'x'\n[train]\nepochs = 1\n", "r.toml"));
}

TEST(Recipe, RefusesBrokenTomlWithTheLine) {
  EXPECT_REFUSED(refusal("[train]\nbatch = = 1\n"), "r.toml:2: ");
  EXPECT_REFUSED(refusal("[train]\nbatch = 1\nbatch = 2\n"), "r.toml:3: ");
  EXPECT_REFUSED(refusal("train = 3\n"), "r.toml:1: train is 3, allowed is a table");
  EXPECT_REFUSED(refusal("[[train]]\n"), "allowed is a table");
}

TEST(Recipe, KeepsFromTomlPlusPlusWhatItCannotRead) {  // see recipe_toml.h
  EXPECT_REFUSED(refusal("[&"), "r.toml: malformed");
  EXPECT_REFUSED(refusal("\ntrain.epochs = 1\xC3\xA9\n"), "r.toml:2: ");
  EXPECT_REFUSED(refusal("# \xC3\n"), "r.toml is not UTF-8");
  EXPECT_REFUSED(refusal("model.name = \"\\u002541\"\n"), "r.toml: the escape \\u0025 is not allowed");
  const Recipe recipe = parse_recipe(
      "# \xC3\xA9\n"
      "model.name = \"100% \xC3\xA9 %41 \\u00e9\"\n"
      "train.epochs = 1\n"
      "data.path = '''\n\xF0\x9F\x8C\x8D\\'''\n",
      "r.toml");
  EXPECT_EQ(recipe.model.name, "100% \xC3\xA9 %41 \xC3\xA9");
  EXPECT_EQ(recipe.data.path, "\xF0\x9F\x8C\x8D\\");
}

/// TOML values that `field` must refuse: wrong types, and both sides of its range.
std::vector<std::string> forbidden_values(const Field& field) {
  std::vector<std::string> values = {"{}", "1979-05-27", "[[1]]"};
  if (!std::holds_alternative<TextsField>(field)) values.push_back("['x']");
  const bool text = std::holds_alternative<TextField>(field) || std::holds_alternative<ChoiceField>(field);
  if (std::holds_alternative<ChoiceField>(field)) values.push_back("'no such choice'");
  if (!text) values.insert(values.end(), {"'1'", "nan", "inf", "-inf"});
  if (!std::holds_alternative<BoolField>(field)) values.push_back("true");
  if (const auto* integer = std::get_if<IntegerField>(&field)) {
    values.insert(values.end(), {"0.5", "1.0", std::to_string(integer->range.min - 1)});
    if (integer->range.max < INT64_MAX) values.push_back(std::to_string(integer->range.max + 1));
  }
  if (const auto* real = std::get_if<RealField>(&field)) {
    const double infinity = std::numeric_limits<double>::infinity();
    values.push_back(fmt::format("{:.17e}", std::nextafter(real->range.min, -infinity)));
    values.push_back(fmt::format("{:.17e}", std::nextafter(real->range.max, infinity)));
  }
  if (const auto* integers = std::get_if<IntegersField>(&field)) {
    values.insert(values.end(), {"1", fmt::format("[{}]", integers->range.min - 1), "[1.5]"});
  }
  if (std::holds_alternative<TextsField>(field)) values.insert(values.end(), {"'text'", "[1]"});
  if (const auto* reals = std::get_if<RealsField>(&field)) {
    values.insert(values.end(), {"0.5", fmt::format("[{}]", reals->range.max * 2), "[nan]"});
  }
  return values;
}

TEST(Recipe, EveryKeyRefusesWrongTypesAndValuesOutOfRange) {
  for (const RecipeKey& key : recipe_keys()) {
    for (const std::string& value : forbidden_values(key.field)) {
      const std::string message = refusal(fmt::format("{} = {}\n", key.path, value));
      EXPECT_REFUSED(message, fmt::format("r.toml:1: {} is ", key.path));
      EXPECT_REFUSED(message, "allowed is " + describe_allowed(key.field));
    }
  }
  EXPECT_REFUSED(refusal(kSmallest, {"optimizer.lr=-0.1"}),
                 "optimizer.lr is -0.1, allowed is a number 0 to 1000");
  EXPECT_REFUSED(refusal(kSmallest, {"train.batch=0"}),
                 "train.batch is 0, allowed is an integer 1 to 1048576");
}

TEST(Recipe, RefusesImpossibleCombinations) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"model.name="}, "model.name is missing"},
      {{"train.steps=5"}, "train.epochs is 1 and train.steps is 5: exactly one"},
      {{"train.epochs=0"}, "train.epochs is 0 and train.steps is 0: exactly one"},
      {{"train.accumulation=3"},
       "train.accumulation is 3, allowed are divisors of train.batch, which is 128"},
      {{"data.mean=[0.5]"}, "data.mean has 1 values and data.std has 0"},
      {{"data.image_size=224"}, "data.image_size is 224"},
      {{"data.augment=random_resized_crop"}, "data.image_size is 0"},
      {{"data.augment=random_resized_crop", "data.image_size=224"}, "data.eval_resize is 0"},
      {{"data.eval_resize=256", "data.eval_crop=257"},
       "data.eval_crop is 257, allowed is 1 to data.eval_resize, which is 256"},
      {{"data.eval_resize=256"},
       "data.image_size in place of data.eval_crop is 0, allowed is 1 to data.eval_resize"},
      {{"data.eval_crop=224"}, "data.eval_crop is 224, allowed is 0 with data.eval_resize = 0"},
      {{"data.min_scale=0.5", "data.max_scale=0.4"}, "data.min_scale is 0.5"},
      {{"data.min_ratio=2"}, "data.min_ratio is 2"},
      {{"optimizer.nesterov=true", "optimizer.momentum=0"}, "optimizer.momentum is 0"},
      {{"schedule.kind=step"}, "schedule.step_size is 0"},
      {{"schedule.kind=multistep"}, "schedule.milestones is empty"},
      {{"schedule.milestones=[3, 3]"}, "schedule.milestones must rise"},
      {{"schedule.min_lr=0.2"}, "schedule.min_lr is 0.2, allowed is up to optimizer.lr, which is 0.1"},
      {{"schedule.milestones=[3, 4]"}, "schedule.kind is constant, allowed is another one with"},
      {{"schedule.step_size=30"}, "schedule.kind is constant, allowed is another one with"},
      {{"schedule.min_lr=0.001"}, "schedule.kind is constant, allowed is another one with"},
      {{"schedule.warmup=1.5"}, "schedule.warmup is 1.5, allowed is up to the length of the run, which is 1"},
  };
  for (const auto& [overrides, expected] : cases)
    EXPECT_REFUSED(refusal(kSmallest, overrides), "r.toml: " + expected);
}

// ---- writing

TEST(Recipe, WritesWhatItReads) {
  Recipe recipe = with({});
  recipe.data.path = "a \"b\" \\ 'c'\n\t\x01\x7f \xC3\xA9 \xF0\x9F\x8C\x8D # [x] = ";
  recipe.data.mean = {1.0 / 3, 0, 1};
  recipe.data.std = {0.1, 1e-3, 10};
  recipe.optimizer.lr = 0.1 + 0.2;
  recipe.optimizer.weight_decay = 1.0 / 32768;
  recipe.optimizer.clip_norm = 5e-324;
  recipe.schedule.kind = ScheduleKind::kMultistep;
  recipe.schedule.milestones = {1, 1'000'000'000};
  recipe.train.disable_passes = {"group", "a \"b\", [c]"};
  recipe.train.seed = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(parse_recipe(to_toml(recipe), "again"), recipe) << to_toml(recipe);
}

/// Values that `field` must accept, other than the usual default.
std::vector<std::string> allowed_values(const Field& field) {
  if (std::holds_alternative<BoolField>(field)) return {"true", "false"};
  if (std::holds_alternative<TextField>(field)) return {"'text'"};
  if (const auto* f = std::get_if<IntegerField>(&field)) return {fmt::format("{}", f->range.max)};
  if (const auto* f = std::get_if<RealField>(&field)) return {fmt::format("{:.17e}", f->range.max)};
  if (const auto* f = std::get_if<IntegersField>(&field)) return {fmt::format("[{}]", f->range.max), "[]"};
  if (const auto* f = std::get_if<RealsField>(&field)) return {fmt::format("[{}]", f->range.min), "[]"};
  if (std::holds_alternative<TextsField>(field)) return {"['text', 'a \"b\"']", "[]"};
  std::vector<std::string> names;
  for (const std::string_view name : std::get<ChoiceField>(field).names) names.push_back(quote_toml(name));
  return names;
}

TEST(Recipe, EveryKeyIsReadAndWritten) {
  for (const RecipeKey& key : recipe_keys()) {
    for (const std::string& value : allowed_values(key.field)) {
      const std::string line = fmt::format("{} = {}\n", key.path, value);
      const std::string message = refusal(line);  // incomplete as a recipe, but not for this key
      EXPECT_EQ(message.find("r.toml:1:"), std::string::npos) << message;
    }
    EXPECT_NE(describe_recipe_keys().find(std::string(key.path) + " "), std::string::npos);
    EXPECT_NE(to_toml(Recipe{}).find(fmt::format("\n{} = ", key.name())), std::string::npos);
  }
}

TEST(Recipe, KeysDoNotShareMembers) {
  // A key set away from its default must change its own line of the written recipe and no other.
  for (const RecipeKey& key : recipe_keys()) {
    for (const std::string& value : allowed_values(key.field)) {
      const std::vector<std::string> change = {fmt::format("{}={}", key.path, value)};
      Recipe changed;
      try {
        changed = with(change);
      } catch (const Error&) {
        continue;  // a combination that cannot be; other values or the test of combinations cover the key
      }
      size_t differences = 0;
      for (const RecipeKey& other : recipe_keys()) {
        const bool differs = value_text(other.field, changed) != value_text(other.field, with({}));
        differences += differs;
        EXPECT_TRUE(!differs || other.path == key.path) << key.path << " changed " << other.path;
      }
      EXPECT_LE(differences, 1u);
    }
  }
}

// ---- schedule

std::vector<float> rates(const Recipe& recipe, int64_t steps_per_epoch, const std::vector<int64_t>& steps) {
  std::vector<float> values;
  for (const int64_t step : steps) values.push_back(learning_rate(recipe, steps_per_epoch, step));
  return values;
}

TEST(Schedule, TotalSteps) {
  EXPECT_EQ(total_steps(with({"train.epochs=3"}), 7), 21);
  EXPECT_EQ(total_steps(with({"train.epochs=0", "train.steps=5"}), 7), 5);
  EXPECT_THROW(total_steps(with({}), 0), Error);
}

TEST(Schedule, ConstantStepAndMultistep) {
  EXPECT_EQ(rates(with({}), 10, {0, 9, 100}), (std::vector<float>{0.1f, 0.1f, 0.1f}));
  const Recipe step = with({"train.epochs=90", "schedule.kind=step", "schedule.step_size=30"});
  EXPECT_EQ(rates(step, 10, {0, 299, 300, 599, 600, 899}),
            (std::vector<float>{0.1f, 0.1f, static_cast<float>(0.1 * 0.1), static_cast<float>(0.1 * 0.1),
                                static_cast<float>(0.1 * std::pow(0.1, 2)),
                                static_cast<float>(0.1 * std::pow(0.1, 2))}));
  const Recipe multistep =
      with({"train.epochs=0", "train.steps=64000", "schedule.kind=multistep", "schedule.unit=steps",
            "schedule.milestones=[32000, 48000]", "schedule.gamma=0.5"});
  EXPECT_EQ(rates(multistep, 391, {31999, 32000, 47999, 48000, 63999}),
            (std::vector<float>{0.1f, 0.05f, 0.05f, 0.025f, 0.025f}));
}

TEST(Schedule, CosineAndPoly) {
  const Recipe cosine =
      with({"train.epochs=12", "schedule.kind=cosine", "schedule.warmup=2", "schedule.min_lr=0.01"});
  const auto closed = [](double p) { return static_cast<float>(0.01 + 0.09 * (1 + std::cos(M_PI * p)) / 2); };
  for (const int64_t step : {20, 21, 70, 119}) {
    EXPECT_FLOAT_EQ(learning_rate(cosine, 10, step), closed(static_cast<double>(step - 20) / 100)) << step;
  }
  EXPECT_FLOAT_EQ(learning_rate(cosine, 10, 70), 0.055f);
  EXPECT_EQ(rates(cosine, 10, {120, 500}), (std::vector<float>{0.01f, 0.01f}));

  const Recipe poly = with({"train.epochs=10", "schedule.kind=poly", "schedule.power=2"});
  for (const int64_t step : {0, 25, 50, 99}) {
    const double left = 1 - static_cast<double>(step) / 100;
    EXPECT_FLOAT_EQ(learning_rate(poly, 10, step), static_cast<float>(0.1 * left * left)) << step;
  }
  EXPECT_EQ(learning_rate(poly, 10, 100), 0);
}

TEST(Schedule, Warmup) {
  const Recipe linear = with({"train.epochs=2", "schedule.warmup=0.5", "schedule.warmup_start_factor=0.2"});
  EXPECT_FLOAT_EQ(learning_rate(linear, 100, 0), 0.02f);
  EXPECT_FLOAT_EQ(learning_rate(linear, 100, 25), 0.06f);
  EXPECT_FLOAT_EQ(learning_rate(linear, 100, 49), static_cast<float>(0.1 * (0.2 + 0.8 * 49 / 50)));
  EXPECT_EQ(learning_rate(linear, 100, 50), 0.1f);

  const Recipe he110 = load_recipe(source_tree() / "models/recipes/cifar10_resnet110.toml");
  EXPECT_EQ(rates(he110, 352, {0, 399}), (std::vector<float>{static_cast<float>(0.1 * 0.1), 0.01f}));
  EXPECT_EQ(rates(he110, 352, {400, 31999, 32000}),
            (std::vector<float>{0.1f, 0.1f, static_cast<float>(0.1 * 0.1)}));

  // A warm-up as long as the run leaves no division by zero behind it.
  const Recipe whole = with({"schedule.kind=cosine", "schedule.warmup=1"});
  EXPECT_FLOAT_EQ(learning_rate(whole, 4, 3), 0.075f);
  EXPECT_EQ(learning_rate(whole, 4, 4), 0);
}

// ---- transforms and files

TEST(RecipeTransform, FollowsTheDataSection) {
  EXPECT_EQ(train_transform(with({}).data), Transform(KeepImage{}));
  EXPECT_EQ(eval_transform(with({}).data), Transform(KeepImage{}));
  EXPECT_EQ(train_transform(with({"data.augment=pad_crop_flip", "data.pad=2", "data.flip=false"}).data),
            Transform(PadCropFlip{2, false}));
  const Recipe crop = with({"data.augment=random_resized_crop", "data.image_size=176", "data.min_scale=0.25",
                            "data.max_scale=0.5", "data.min_ratio=0.75", "data.max_ratio=1.25",
                            "data.flip=false", "data.eval_resize=232", "data.eval_crop=224"});
  EXPECT_EQ(train_transform(crop.data), Transform(RandomResizedCrop{176, 0.25, 0.5, 0.75, 1.25, false}));
  EXPECT_EQ(eval_transform(crop.data), Transform(ResizeCenterCrop{232, 224}));
  const Recipe same = with({"data.augment=random_resized_crop", "data.image_size=64", "data.eval_resize=72"});
  EXPECT_EQ(eval_transform(same.data), Transform(ResizeCenterCrop{72, 64}));
}

TEST(RecipeFiles, AllLoadRoundTripAndBuildTheirModel) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_tree() / "models/recipes")) {
    const std::string name = entry.path().filename().string();
    const Recipe recipe = load_recipe(entry.path());
    EXPECT_EQ(parse_recipe(to_toml(recipe), name), recipe) << name;
    validate(train_transform(recipe.data));
    validate(eval_transform(recipe.data));
    const Transform transform = train_transform(recipe.data);
    const ImageShape raw = name.starts_with("fashion") ? ImageShape{28, 28, 1} : ImageShape{32, 32, 3};
    const int classes = static_cast<int>(recipe.model.classes);
    const Graph graph = model_builder(recipe)({Mode::kTrain, 1, output_shape(transform, raw), classes});
    EXPECT_EQ(graph.desc(graph.output("logits")).shape, (Shape{1, recipe.model.classes})) << name;
    ++files;
  }
  EXPECT_GE(files, 5);
}

TEST(RecipeFiles, ErrorsNameTheFile) {
  try {
    load_recipe("no/such/recipe.toml");
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_REFUSED(std::string(error.what()), "no/such/recipe.toml");
  }
}

}  // namespace
}  // namespace residuum
