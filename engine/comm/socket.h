// TCP sockets that wait with a deadline and can be interrupted: no call blocks for longer than a tick without
// asking its Watch whether to go on.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "engine/core/check.h"
#include "engine/core/file.h"

namespace residuum {

/// The other side is gone, or the way to it.
class BrokenConnection : public Error {
 public:
  explicit BrokenConnection(const std::string& message) : Error(ErrorKind::kCommunication, message) {}
};

/// Called at least every 50 ms while something waits; throws to end the wait.
using Watch = std::function<void()>;

/// Throws Error(kCommunication) with `message` once `seconds` have passed since it was made (see Patience).
/// For one thread.
Watch deadline_watch(double seconds, std::string message);

class Socket {
 public:
  Socket() = default;
  /// A connection or a listening socket that is open already; made non-blocking.
  explicit Socket(FileDescriptor file);

  /// Listens on every address of this machine; port 0: one that is free. Throws Error(kCommunication).
  static Socket listening(int port);
  /// Tries to connect until it works or `watch` throws; `said` is what the last try met.
  static Socket connected(const std::string& host, int port, const Watch& watch, std::string* said = nullptr);
  /// The next connection.
  Socket accepted(const Watch& watch);
  /// The next connection if one is waiting.
  std::optional<Socket> try_accept();

  bool is_open() const { return file_.get() >= 0; }
  int file() const { return file_.get(); }
  int local_port() const;
  /// Numeric; of the other side.
  std::string peer_address() const;

  /// All of `bytes`; throws BrokenConnection, or what `watch` throws.
  void send(std::span<const std::byte> bytes, const Watch& watch) { exchange(bytes, {}, watch); }
  void receive(std::span<std::byte> bytes, const Watch& watch) { exchange({}, bytes, watch); }
  /// Both at once, so that two sides that send to each other never wait for room.
  void exchange(std::span<const std::byte> out, std::span<std::byte> in, const Watch& watch);

  /// A text with its length before it.
  void send_text(const std::string& text, const Watch& watch);
  std::string receive_text(const Watch& watch, size_t most = size_t{1} << 24);

  /// What can be sent or received at once, without waiting: how many bytes; -1 when the connection is closed.
  long try_send(std::span<const std::byte> bytes) noexcept;
  long try_receive(std::span<std::byte> bytes) noexcept;

 private:
  FileDescriptor file_;
};

}  // namespace residuum
