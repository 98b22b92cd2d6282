#include "options.h"

#include <string.h>

#include "board.h"

static bool number(const char *s, uint32_t *out) {
  uint32_t n = 0;
  if (!*s) {
    return false;
  }
  for (; *s; s++) {
    if (*s < '0' || *s > '9' || n > 100000000u) {
      return false;
    }
    n = n * 10u + (uint32_t)(*s - '0');
  }
  *out = n;
  return true;
}

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex(const char *s, uint8_t *out, size_t n) {
  if (strlen(s) != 2 * n) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    const int high = digit(s[2 * i]), low = digit(s[2 * i + 1]);
    if (high < 0 || low < 0) {
      return false;
    }
    out[i] = (uint8_t)(high * 16 + low);
  }
  return true;
}

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

static bool set(struct options *o, struct weir_config *c, const char *name, const char *value) {
  if (is(name, "device")) {
    c->device = value;
  } else if (is(name, "broker")) {
    c->host = value;
  } else if (is(name, "user")) {
    c->user = value;
  } else if (is(name, "password")) {
    c->password = value;
  } else if (is(name, "topic") && c->topic_count < OPTION_TOPICS) {
    o->topics[c->topic_count++] = value;
    c->topics = o->topics;
  } else if (is(name, "key") && hex(value, o->key, sizeof o->key)) {
    c->schema_key = o->key;
  } else if (is(name, "period")) {
    return number(value, &c->uplink_period_s);
  } else if (is(name, "window")) {
    return number(value, &c->uplink_window_s);
  } else if (is(name, "ack") && is(value, "ring")) {
    c->ack = WEIR_ACK_RING;
  } else if (is(name, "order") && is(value, "newest")) {
    c->order = WEIR_NEWEST_FIRST;
  } else if (is(name, "overflow") && is(value, "oldest")) {
    c->overflow = WEIR_DROP_OLDEST;
  } else if (is(name, "overflow") && is(value, "newest")) {
    c->overflow = WEIR_DROP_NEWEST;
  } else if (is(name, "format") && is(value, "yes")) {
    o->format = true;
  } else {
    return false;
  }
  return true;
}

const char *options_read(struct options *o, struct weir_config *config) {
  if (semihost_command_line(o->line, sizeof o->line) != WEIR_OK) {
    return NULL;
  }
  char *word = o->line;
  while (*word) {
    char *end = word;
    while (*end && *end != ' ') {
      end++;
    }
    const bool last = *end == 0;
    *end = 0;
    char *equals = strchr(word, '=');
    if (equals) { /* without one it is the program's own name */
      *equals = 0;
      if (!set(o, config, word, equals + 1)) {
        *equals = '=';
        return word;
      }
    }
    word = last ? end : end + 1;
  }
  return NULL;
}
