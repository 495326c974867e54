// Text as fields of CSV files, by RFC 4180.
#pragma once

#include <string>

namespace residuum {

/// `text` as it stands in a CSV file: between quotes, which are doubled inside, when it has a comma, quote or
/// line end.
std::string csv_field(const std::string& text);

}  // namespace residuum
