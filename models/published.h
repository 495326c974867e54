// What the papers print of the models, to set beside what a run reaches.
#pragma once

#include <optional>
#include <string>

namespace residuum {

struct PublishedError {
  double percent = 0;  ///< test error, of CIFAR-10 by a single crop, of ImageNet (validation, top-1) by ten
  const char* data = "";    ///< "CIFAR-10", "ImageNet"
  const char* source = "";  ///< "He 2015, table 6"
};

/// The test error that the paper of a model of the zoo prints for it as published; nothing where none is
/// printed.
std::optional<PublishedError> published_error(const std::string& model);

}  // namespace residuum
