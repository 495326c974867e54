#include "engine/comm/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "engine/comm/patience.h"
#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr int kTickMs = 50;

[[noreturn]] void fail_system(const std::string& what) {
  fail(ErrorKind::kCommunication, "{}: {}", what, std::strerror(errno));
}

[[noreturn]] void fail_broken() {
  throw BrokenConnection(fmt::format("the connection broke: {}", std::strerror(errno)));
}

FileDescriptor new_socket(int family) {
  const int file = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (file < 0) fail_system("socket");
  return FileDescriptor(file);
}

void set_option(int file, int level, int option) {
  const int on = 1;
  setsockopt(file, level, option, &on, sizeof(on));
}

/// Waits a tick for `events`; false when nothing came.
bool wait_for(int file, short events) {
  pollfd entry{file, events, 0};
  return ::poll(&entry, 1, kTickMs) > 0;
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(const std::string& host, int port, std::string& said) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  const int status = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (status != 0) said = gai_strerror(status);
  return {status == 0 ? found : nullptr, &freeaddrinfo};
}

/// One try; an empty socket, and in `said` why, when it fails.
Socket try_connect(const addrinfo& address, const Watch& watch, std::string& said) {
  FileDescriptor file = new_socket(address.ai_family);
  if (::connect(file.get(), address.ai_addr, address.ai_addrlen) != 0 && errno != EINPROGRESS) {
    said = std::strerror(errno);
    return {};
  }
  while (!wait_for(file.get(), POLLOUT)) watch();
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(file.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    said = std::strerror(error);
    return {};
  }
  return Socket(std::move(file));
}

bool would_block(long result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

}  // namespace

Watch deadline_watch(double seconds, std::string message) {
  return [patience = Patience(seconds), message = std::move(message)]() mutable {
    check(!patience.is_over(), ErrorKind::kCommunication, "{}", message);
  };
}

Socket::Socket(FileDescriptor file) : file_(std::move(file)) {
  fcntl(file_.get(), F_SETFL, fcntl(file_.get(), F_GETFL) | O_NONBLOCK);
  set_option(file_.get(), IPPROTO_TCP, TCP_NODELAY);
  set_option(file_.get(), SOL_SOCKET, SO_KEEPALIVE);
}

Socket Socket::listening(int port) {
  FileDescriptor file = new_socket(AF_INET);
  set_option(file.get(), SOL_SOCKET, SO_REUSEADDR);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::bind(file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(file.get(), SOMAXCONN) != 0) {
    fail_system(fmt::format("cannot listen on port {}", port));
  }
  return Socket(std::move(file));
}

Socket Socket::connected(const std::string& host, int port, const Watch& watch, std::string* said) {
  std::string reason;
  for (;;) {
    const Addresses addresses = resolve(host, port, reason);
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
      Socket socket = try_connect(*address, watch, reason);
      if (socket.is_open()) return socket;
    }
    if (said != nullptr) *said = reason;
    watch();
    std::this_thread::sleep_for(std::chrono::milliseconds(kTickMs));
  }
}

Socket Socket::accepted(const Watch& watch) {
  for (;;) {
    if (std::optional<Socket> next = try_accept()) return std::move(*next);
    watch();
    wait_for(file_.get(), POLLIN);
  }
}

std::optional<Socket> Socket::try_accept() {
  const int file = ::accept4(file_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return file < 0 ? std::nullopt : std::optional<Socket>(FileDescriptor(file));
}

int Socket::local_port() const {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  getsockname(file_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

std::string Socket::peer_address() const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  char text[NI_MAXHOST] = {};
  getpeername(file_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, text, sizeof(text), nullptr, 0,
              NI_NUMERICHOST);
  return text;
}

void Socket::exchange(std::span<const std::byte> out, std::span<std::byte> in, const Watch& watch) {
  while (!out.empty() || !in.empty()) {
    bool moved = false;
    if (!out.empty()) {
      const long sent = ::send(file_.get(), out.data(), out.size(), MSG_NOSIGNAL);
      if (sent < 0 && !would_block(sent)) fail_broken();
      if (sent > 0) out = out.subspan(static_cast<size_t>(sent));
      moved |= sent > 0;
    }
    if (!in.empty()) {
      const long received = ::recv(file_.get(), in.data(), in.size(), 0);
      if (received == 0) throw BrokenConnection("it closed the connection");
      if (received < 0 && !would_block(received)) fail_broken();
      if (received > 0) in = in.subspan(static_cast<size_t>(received));
      moved |= received > 0;
    }
    if (moved) continue;
    const auto events = static_cast<short>((out.empty() ? 0 : POLLOUT) | (in.empty() ? 0 : POLLIN));
    if (!wait_for(file_.get(), events)) watch();
  }
}

void Socket::send_text(const std::string& text, const Watch& watch) {
  const auto length = static_cast<uint32_t>(text.size());
  send(std::as_bytes(std::span(&length, 1)), watch);
  send(bytes_of(text), watch);
}

std::string Socket::receive_text(const Watch& watch, size_t most) {
  uint32_t length = 0;
  receive(std::as_writable_bytes(std::span(&length, 1)), watch);
  check(length <= most, ErrorKind::kCommunication, "a message of {} bytes came, allowed are up to {}", length,
        most);
  std::string text(length, '\0');
  receive(std::as_writable_bytes(std::span(text)), watch);
  return text;
}

long Socket::try_send(std::span<const std::byte> bytes) noexcept {
  const long sent = ::send(file_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return would_block(sent) ? 0 : sent;
}

long Socket::try_receive(std::span<std::byte> bytes) noexcept {
  const long received = ::recv(file_.get(), bytes.data(), bytes.size(), 0);
  if (would_block(received)) return 0;
  return received == 0 ? -1 : received;
}

}  // namespace residuum
