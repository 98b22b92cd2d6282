/* net.c: a byte stream over a non-blocking socket. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "posix.h"

/* SplitMix64 of a number: which stretches of the link are down. */
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/* Each period of link_period_s is up or down by its number and the seed, two of three down. */
bool posix_net_link(const struct posix_net *n, uint64_t now, uint64_t *changes_at) {
  uint64_t period = (uint64_t)n->link_period_s * 1000000u;
  *changes_at = UINT64_MAX;
  if (period == 0) return true;
  *changes_at = (now / period + 1) * period;
  return mix(n->link_seed ^ mix(now / period)) % 3 == 0;
}

static bool down(struct posix_net *n) {
  uint64_t at;
  return !posix_net_link(n, n->clock->clock.uptime_us(n->clock), &at);
}

static void hang_up(void *ctx) {
  struct posix_net *n = (struct posix_net *)ctx;
  if (n->fd >= 0) close(n->fd);
  n->fd = -1;
  n->connecting = n->peer_closed = false;
  n->begin = n->end = 0;
}

static int begin_connect(struct posix_net *n, const char *host, uint16_t port) {
  char service[8];
  struct addrinfo hints, *found = NULL;
  int one = 1;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  snprintf(service, sizeof service, "%u", (unsigned)port);
  if (getaddrinfo(host, service, &hints, &found) != 0) return WEIR_E_IO;
  n->fd = socket(found->ai_family, SOCK_STREAM, 0);
  if (n->fd >= 0) {
    fcntl(n->fd, F_SETFL, O_NONBLOCK);
    fcntl(n->fd, F_SETFD, FD_CLOEXEC);
    setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(n->fd, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS) hang_up(n);
  }
  freeaddrinfo(found);
  n->connecting = n->fd >= 0;
  return n->connecting ? WEIR_BUSY : WEIR_E_IO;
}

static int net_connect(void *ctx, const char *host, uint16_t port) {
  struct posix_net *n = (struct posix_net *)ctx;
  if (down(n)) {
    hang_up(n);
    return WEIR_E_IO;
  }
  if (n->fd < 0 && begin_connect(n, host, port) != WEIR_BUSY) return WEIR_E_IO;
  int error = 0;
  socklen_t size = sizeof error;
  struct sockaddr_storage peer;
  socklen_t peer_size = sizeof peer;
  getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    hang_up(n);
    return WEIR_E_IO;
  }
  if (getpeername(n->fd, (struct sockaddr *)&peer, &peer_size) != 0) return WEIR_BUSY;
  n->connecting = false;
  return WEIR_OK;
}

static int net_peek(void *ctx, const uint8_t **data, size_t *size) {
  struct posix_net *n = (struct posix_net *)ctx;
  if (n->fd < 0 || down(n)) return WEIR_E_IO;
  if (n->begin == n->end && !n->peer_closed) {
    ssize_t got = recv(n->fd, n->buffer, sizeof n->buffer, 0);
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? WEIR_BUSY : WEIR_E_IO;
    n->begin = 0;
    n->end = (size_t)got;
    n->peer_closed = got == 0;
  }
  if (n->begin == n->end) return WEIR_E_GONE;
  *data = n->buffer + n->begin;
  *size = n->end - n->begin;
  return WEIR_OK;
}

static void net_take(void *ctx, size_t count) { ((struct posix_net *)ctx)->begin += count; }

static int32_t net_write(void *ctx, const uint8_t *data, size_t count) {
  struct posix_net *n = (struct posix_net *)ctx;
  if (n->fd < 0 || down(n)) return WEIR_E_IO;
  ssize_t sent = send(n->fd, data, count, MSG_NOSIGNAL);
  if (sent >= 0) return (int32_t)sent;
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
  return errno == EPIPE || errno == ECONNRESET ? WEIR_E_GONE : WEIR_E_IO;
}

void posix_net_init(struct posix_net *n, struct posix_clock *clock) {
  memset(n, 0, sizeof *n);
  n->fd = -1;
  n->clock = clock;
  n->net = (struct weir_net){n, net_connect, net_peek, net_take, net_write, NULL, hang_up, 0};
}
