#include "selftest.h"

#include <string.h>

enum { POLLS = 20000000, GAP_SECTOR = 2047 };
enum { SECOND_US = 1000000, CARD_US = 3 * SECOND_US, CONNECT_US = 30 * SECOND_US, ANSWER_US = 5 * SECOND_US };

static const char *test_clock(const struct weir_selftest *t) {
  const uint64_t start = t->clock->uptime_us(t->clock->ctx);
  uint64_t last = start;
  for (uint32_t i = 0; i < POLLS && last - start < 20000; i++) {
    const uint64_t now = t->clock->uptime_us(t->clock->ctx);
    if (now < last) {
      return "the uptime went back";
    }
    last = now;
  }
  return last - start < 20000 ? "the uptime does not advance" : NULL;
}

static const char *test_random(const struct weir_selftest *t) {
  uint8_t a[16] = {0}, b[16] = {0};
  int s = WEIR_BUSY;
  for (uint32_t i = 0; i < POLLS && s == WEIR_BUSY; i++) {
    s = t->random->bytes(t->random->ctx, a, sizeof a);
  }
  if (s != WEIR_OK || t->random->bytes(t->random->ctx, b, sizeof b) != WEIR_OK) {
    return "no random bytes";
  }
  return memcmp(a, b, sizeof a) == 0 ? "two draws are equal" : NULL;
}

static int operate(const struct weir_selftest *t, enum weir_block_op op, uint32_t sector, void *buffer) {
  int s = t->block->start(t->block->ctx, op, sector, buffer, op == WEIR_BLOCK_SYNC ? 0 : 1);
  const uint64_t start = t->clock->uptime_us(t->clock->ctx);
  while (s == WEIR_BUSY) {
    t->idle();
    s = t->block->poll(t->block->ctx);
    if (t->clock->uptime_us(t->clock->ctx) - start > CARD_US) {
      return WEIR_E_IO;
    }
  }
  return s;
}

static const char *test_card(const struct weir_selftest *t, uint8_t *sector) {
  struct weir_block_info info;
  uint8_t *const old = sector, *const seen = sector + WEIR_SECTOR;
  const uint64_t start = t->clock->uptime_us(t->clock->ctx);
  int s = t->power ? WEIR_BUSY : WEIR_OK;
  while (s == WEIR_BUSY && t->clock->uptime_us(t->clock->ctx) - start < CARD_US) {
    t->idle();
    s = t->power->set(t->power->ctx, true);
  }
  if (s != WEIR_OK) {
    return "the card's supply is not switched on";
  }
  s = WEIR_BUSY;
  while (s == WEIR_BUSY && t->clock->uptime_us(t->clock->ctx) - start < CARD_US) {
    t->idle();
    s = t->block->info(t->block->ctx, &info);
  }
  if (s != WEIR_OK) {
    return s == WEIR_E_GONE ? "no card" : "the card does not answer";
  }
  if (operate(t, WEIR_BLOCK_READ, 0, seen) != WEIR_OK) {
    return "sector 0 cannot be read";
  }
  if (t->block->start(t->block->ctx, WEIR_BLOCK_READ, info.sectors, seen, 1) != WEIR_E_ARGUMENT) {
    return "a read beyond the end is not refused";
  }
  const uint8_t *entry = seen + 446; /* the first partition of a master boot record */
  const uint32_t first = (uint32_t)entry[8] | ((uint32_t)entry[9] << 8) | ((uint32_t)entry[10] << 16) | ((uint32_t)entry[11] << 24);
  if (info.read_only || seen[510] != 0x55 || seen[511] != 0xAA || entry[4] == 0 || first <= GAP_SECTOR) {
    return NULL;
  }
  if (operate(t, WEIR_BLOCK_READ, GAP_SECTOR, old) != WEIR_OK) {
    return "a sector cannot be read";
  }
  for (int i = 0; i < WEIR_SECTOR; i++) {
    seen[i] = (uint8_t)(old[i] ^ (uint8_t)(i * 7 + 1));
  }
  if (operate(t, WEIR_BLOCK_WRITE, GAP_SECTOR, seen) != WEIR_OK || operate(t, WEIR_BLOCK_SYNC, 0, NULL) != WEIR_OK) {
    return "a sector cannot be written";
  }
  memset(seen, 0, WEIR_SECTOR);
  const bool read = operate(t, WEIR_BLOCK_READ, GAP_SECTOR, seen) == WEIR_OK;
  bool same = true;
  for (int i = 0; i < WEIR_SECTOR; i++) {
    same = same && seen[i] == (uint8_t)(old[i] ^ (uint8_t)(i * 7 + 1));
  }
  if (operate(t, WEIR_BLOCK_WRITE, GAP_SECTOR, old) != WEIR_OK || operate(t, WEIR_BLOCK_SYNC, 0, NULL) != WEIR_OK) {
    return "what a sector held cannot be put back";
  }
  return read && same ? NULL : "a sector reads back otherwise than written";
}

/* Sends an MQTT CONNECT and awaits the CONNACK: bytes go both ways. */
static const char *test_net(const struct weir_selftest *t) {
  static const uint8_t connect[] = {0x10, 0x10, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 30, 0, 4, 's', 'e', 'l', 'f'};
  const uint64_t start = t->clock->uptime_us(t->clock->ctx);
  int s = WEIR_BUSY;
  while (s == WEIR_BUSY && t->clock->uptime_us(t->clock->ctx) - start < CONNECT_US) {
    t->idle();
    s = t->net->connect(t->net->ctx, t->host, t->port);
  }
  if (s != WEIR_OK) {
    t->net->close(t->net->ctx);
    return "no connection to the broker";
  }
  const int32_t sent = t->net->write(t->net->ctx, connect, sizeof connect);
  if (t->net->flush) {
    t->net->flush(t->net->ctx);
  }
  const uint8_t *data = NULL;
  size_t size = 0;
  s = WEIR_BUSY;
  const uint64_t asked = t->clock->uptime_us(t->clock->ctx);
  while (s == WEIR_BUSY && t->clock->uptime_us(t->clock->ctx) - asked < ANSWER_US) {
    t->idle();
    s = t->net->peek(t->net->ctx, &data, &size);
  }
  const bool answered = s == WEIR_OK && size > 0 && data[0] == 0x20;
  if (answered) {
    t->net->take(t->net->ctx, size);
  }
  t->net->close(t->net->ctx);
  return sent != (int32_t)sizeof connect ? "bytes are not sent" : answered ? NULL : "the broker does not answer";
}

int weir_selftest_run(const struct weir_selftest *t, uint8_t *sector) {
  int failed = 0;
  const char *f = test_clock(t);
  t->report("clock", f);
  failed += f != NULL;
  if (t->random) {
    f = test_random(t);
    t->report("random", f);
    failed += f != NULL;
  }
  if (t->block) {
    f = test_card(t, sector);
    t->report("card", f);
    failed += f != NULL;
  }
  if (t->net) {
    f = test_net(t);
    t->report("network", f);
    failed += f != NULL;
  }
  return failed;
}
