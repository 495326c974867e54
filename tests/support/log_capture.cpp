#include "tests/support/log_capture.h"

#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

namespace residuum {

struct LogCapture::Sink final : spdlog::sinks::base_sink<spdlog::details::null_mutex> {
  explicit Sink(std::function<void()> action) : on_line(std::move(action)) {}
  void sink_it_(const spdlog::details::log_msg& message) override {
    text.append(message.payload.data(), message.payload.size());
    text += '\n';
    if (on_line) on_line();
  }
  void flush_() override {}

  std::function<void()> on_line;
  std::string text;
};

struct LogCapture::Before {
  std::shared_ptr<spdlog::logger> logger = spdlog::default_logger();
};

LogCapture::LogCapture(std::function<void()> on_line)
    : sink_(std::make_shared<Sink>(std::move(on_line))), before_(std::make_unique<Before>()) {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink_));
}

LogCapture::~LogCapture() {
  spdlog::set_default_logger(before_->logger);
}

std::string LogCapture::text() const {
  return sink_->text;
}

void LogCapture::clear() {
  sink_->text.clear();
}

}  // namespace residuum
