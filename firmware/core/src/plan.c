/* Plans: found sound once, so that the check may trust every offset. */
#include "weir/plan.h"

#include <string.h>

#include "plan_read.h"
#include "weir/record.h"
#include "weir/sha512.h"

/* What is being looked through. */
struct looking {
  const uint8_t *p;
  uint32_t size;
  uint32_t fields;
  uint32_t whens;
};

static bool holds(const struct looking *l, uint32_t at, uint32_t n) { return at >= PLAN_HEADER && n <= l->size && at <= l->size - n; }

static bool text_ok(const struct looking *l, uint32_t at, uint32_t most) {
  return holds(l, at, 1) && l->p[at] <= most && holds(l, at, 1u + l->p[at]);
}

static bool decimal_ok(const struct looking *l, uint32_t at) { return holds(l, at, DECIMAL_SIZE) && read64(l->p + at) < UINT64_C(10000000000000000000); }

static bool constant_ok(const struct looking *l, uint32_t at) {
  if (!holds(l, at, 1)) return false;
  switch (l->p[at]) {
    case CONST_NULL: return true;
    case CONST_BOOL: return holds(l, at, 2) && l->p[at + 1] <= 1;
    case CONST_NUMBER: return decimal_ok(l, at + 1);
    case CONST_STRING: return holds(l, at, 3) && text_ok(l, read16(l->p + at + 1), WEIR_NAME_MAX);
    default: return false;
  }
}

static bool list_ok(const struct looking *l, uint32_t at) {
  if (!holds(l, at, 1) || l->p[at] > WEIR_LIST_MAX || !holds(l, at, 1u + 2u * l->p[at])) return false;
  for (uint32_t i = 0; i < l->p[at]; i++) {
    if (!constant_ok(l, read16(l->p + at + 1 + 2 * i))) return false;
  }
  return true;
}

static bool map_ok(const struct looking *l, uint32_t at) {
  if (!holds(l, at, 1) || l->p[at] > WEIR_LIST_MAX || !holds(l, at, 1u + 4u * l->p[at])) return false;
  for (uint32_t i = 0; i < l->p[at]; i++) {
    uint16_t to = read16(l->p + at + 3 + 4 * i);
    if (!constant_ok(l, read16(l->p + at + 1 + 4 * i)) || (to != 0 && !constant_ok(l, to))) return false;
  }
  return true;
}

static bool checks_ok(const struct looking *l, uint32_t at) {
  if (!holds(l, at, 2)) return false;
  uint16_t mask = read16(l->p + at);
  if ((mask & ~CHECK_ALL) != 0) return false;
  at += 2;
  for (uint32_t bound = CHECK_MIN; bound <= CHECK_MAX; bound <<= 1) {
    if ((mask & bound) == 0) continue;
    if (!decimal_ok(l, at)) return false;
    at += DECIMAL_SIZE;
  }
  if (mask & CHECK_MULTIPLE) {
    if (!holds(l, at, 6) || read32(l->p + at) == 0 || read32(l->p + at) > INT32_MAX || read32(l->p + at) % 10 == 0) return false;
    at += 6;
  }
  if (mask & CHECK_ENUM) {
    if (!holds(l, at, 2) || !list_ok(l, read16(l->p + at))) return false;
    at += 2;
  }
  if (mask & CHECK_LENGTH) {
    if (!holds(l, at, 4)) return false;
    at += 4;
  }
  return !(mask & CHECK_NULLS) || (holds(l, at, 2) && list_ok(l, read16(l->p + at)));
}

static bool uses_ok(struct looking *l, uint32_t at) {
  if (!holds(l, at, 1) || !holds(l, at, 1u + 4u * l->p[at])) return false;
  for (uint32_t i = 0; i < l->p[at]; i++) {
    const uint8_t *u = l->p + at + 1 + 4 * i;
    switch (u[0]) {
      case TAKE_COLUMN:
        if (u[1] < l->p[PLAN_TAGS] || u[1] >= l->fields) return false;
        break;
      case TAKE_TAG:
        if (u[1] >= l->p[PLAN_TAGS]) return false;
        break;
      case TAKE_TIME: break;
      case TAKE_WHEN:
        if (!constant_ok(l, read16(u + 2))) return false;
        l->whens++;
        break;
      default: return false;
    }
  }
  return true;
}

/* Whether an offset may be that of a child of the node at `node`. */
static bool child_ok(const struct looking *l, uint32_t child, uint32_t node) {
  return child == 0 || (child > node && holds(l, child, NODE_SIZE));
}

/* Whether a text stands in JSON as it is. */
static bool is_plain(const uint8_t *text) {
  for (uint32_t i = 1; i <= text[0]; i++) {
    if (text[i] < 0x20 || text[i] == '"' || text[i] == '\\') return false;
  }
  return true;
}

static bool object_ok(const struct looking *l, uint32_t at, uint32_t node) {
  if (!holds(l, at, OBJECT_HEAD)) return false;
  uint32_t count = l->p[at];
  if (count > WEIR_PROPERTIES_MAX || !holds(l, at, OBJECT_HEAD + OBJECT_ENTRY * count)) return false;
  if (count < 32 && read32(l->p + at + 2) >> count != 0) return false;
  if (l->p[at + 1] > (OBJECT_REFUSES | OBJECT_PLAIN)) return false;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *entry = l->p + at + OBJECT_HEAD + OBJECT_ENTRY * i;
    uint16_t child = read16(entry + 2);
    if (!text_ok(l, read16(entry), WEIR_NAME_MAX) || (child != NODE_REFUSED && !child_ok(l, child, node))) return false;
    if ((l->p[at + 1] & OBJECT_PLAIN) && !is_plain(l->p + read16(entry))) return false;
  }
  return true;
}

static bool array_ok(const struct looking *l, uint32_t at, uint32_t node) {
  if (!holds(l, at, ARRAY_HEAD)) return false;
  uint32_t count = l->p[at + 6];
  if (count > WEIR_ELEMENTS_MAX || !holds(l, at, ARRAY_HEAD + 2 * count) || !child_ok(l, read16(l->p + at + 4), node)) return false;
  for (uint32_t i = 0; i < count; i++) {
    if (!child_ok(l, read16(l->p + at + ARRAY_HEAD + 2 * i), node)) return false;
  }
  return true;
}

static bool node_ok(struct looking *l, uint32_t at) {
  if (!holds(l, at, NODE_SIZE)) return false;
  const uint8_t *n = l->p + at;
  uint32_t checks = read16(n + NODE_CHECKS), uses = read16(n + NODE_USES);
  uint32_t object = read16(n + NODE_OBJECT), array = read16(n + NODE_ARRAY);
  if (n[NODE_TYPES] > TYPE_ALL || n[NODE_USE] > USE_LIST) return false;
  if (n[NODE_USE] == USE_COLUMN && (n[NODE_FIELD] < l->p[PLAN_TAGS] || n[NODE_FIELD] >= l->fields)) return false;
  if ((n[NODE_USE] == USE_LIST) != (uses != 0)) return false;
  return (checks == 0 || checks_ok(l, checks)) && (uses == 0 || uses_ok(l, uses)) && (object == 0 || object_ok(l, object, at)) &&
         (array == 0 || array_ok(l, array, at));
}

/* The child of a node with that number: members, elements, then the items. 0 and
 * NODE_REFUSED lead nowhere; *more is false where there is no such child. */
static uint32_t child_of(const uint8_t *p, uint32_t node, uint32_t number, bool *more) {
  uint32_t object = read16(p + node + NODE_OBJECT), array = read16(p + node + NODE_ARRAY);
  *more = true;
  if (object != 0) {
    if (number < p[object]) return read16(p + object + OBJECT_HEAD + OBJECT_ENTRY * number + 2);
    number -= p[object];
  }
  if (array != 0) {
    if (number == 0) return read16(p + array + 4);
    if (number - 1 < p[array + 6]) return read16(p + array + ARRAY_HEAD + 2 * (number - 1));
  }
  *more = false;
  return 0;
}

/* Looks through all nodes, each reached once by way of its parent: a tree of at
 * most WEIR_DEPTH_MAX + 1 levels, and no more nodes than the plan has room for,
 * so that the walk ends also where damage makes one node two parents' child. */
static bool nodes_ok(struct looking *l) {
  uint32_t path[WEIR_DEPTH_MAX + 1], next[WEIR_DEPTH_MAX + 1];
  uint32_t depth = 0, left = l->size / NODE_SIZE;
  path[0] = read16(l->p + PLAN_ROOT);
  next[0] = 0;
  if (!node_ok(l, path[0])) return false;
  for (;;) {
    bool more;
    uint32_t child = child_of(l->p, path[depth], next[depth]++, &more);
    if (!more) {
      if (depth == 0) return true;
      depth--;
      continue;
    }
    if (child == 0 || child == NODE_REFUSED) continue;
    if (depth == WEIR_DEPTH_MAX || left-- == 0 || !node_ok(l, child)) return false;
    path[++depth] = child;
    next[depth] = 0;
  }
}

static bool topic_ok(const struct looking *l) {
  uint32_t at = read16(l->p + PLAN_TOPIC), captures = 0;
  if (!holds(l, at, 1)) return false;
  uint32_t levels = l->p[at++];
  for (uint32_t i = 0; i < levels; i++) {
    if (!holds(l, at, 1)) return false;
    uint8_t kind = l->p[at++];
    if (kind > 3 || (kind == 3 && i + 1 != levels)) return false;
    captures += kind == 2;
    if (kind == 0 || kind == 2) {
      if (!text_ok(l, at, WEIR_TOPIC_MAX)) return false;
      at += 1u + l->p[at];
    }
  }
  return levels > 0 && captures == l->p[PLAN_CAPTURES];
}

static bool fields_ok(const struct looking *l) {
  uint32_t at = read16(l->p + PLAN_FIELDS);
  if (l->fields > WEIR_FIELDS_MAX || !holds(l, at, FIELD_SIZE * l->fields)) return false;
  for (uint32_t i = 0; i < l->fields; i++) {
    const uint8_t *f = l->p + at + FIELD_SIZE * i;
    if (f[0] < 1 || f[0] > 4 || f[1] > WEIR_FORM_MAPPED || !text_ok(l, read16(f + 2), 128)) return false;
    if (i < l->p[PLAN_TAGS] && f[1] != WEIR_FORM_TEXT) return false;
    if (f[1] == WEIR_FORM_CHOICE && !list_ok(l, read16(f + 4))) return false;
    if (f[1] == WEIR_FORM_MAPPED && !map_ok(l, read16(f + 4))) return false;
  }
  return true;
}

static void plan_id(const uint8_t *p, uint32_t size, uint8_t id[8]) {
  struct weir_sha512 h;
  uint8_t digest[64];
  weir_sha512_begin(&h);
  weir_sha512_add(&h, p, PLAN_ID);
  weir_sha512_add(&h, p + PLAN_VERSION, size - PLAN_VERSION);
  weir_sha512_end(&h, digest);
  memcpy(id, digest, 8);
}

int weir_plan_open(struct weir_plan *plan, const uint8_t *bytes, uint32_t size) {
  if (size < PLAN_HEADER || memcmp(bytes, "WPL1\x01\x00", 6) != 0) return WEIR_E_INVALID;
  uint32_t length = read16(bytes + PLAN_LENGTH);
  struct looking l = {bytes, length, 0, 0};
  if (length < PLAN_HEADER || length > size || length > WEIR_PLAN_MAX) return WEIR_E_INVALID;
  l.fields = (uint32_t)bytes[PLAN_TAGS] + bytes[PLAN_COLUMNS];
  uint32_t name = read16(bytes + PLAN_NAME);
  if (bytes[PLAN_PAYLOAD] > PAYLOAD_TEXT || bytes[PLAN_TIME] > TIME_RFC3339 || bytes[PLAN_WHENS] > WEIR_WHENS_MAX ||
      bytes[PLAN_CAPTURES] > WEIR_CAPTURES_MAX || read16(bytes + PLAN_BODY_MAX) > WEIR_BODY_MAX) {
    return WEIR_E_INVALID;
  }
  uint8_t id[8];
  plan_id(bytes, length, id);
  if (memcmp(id, bytes + PLAN_ID, 8) != 0) return WEIR_E_INVALID;
  if (!text_ok(&l, name, 63) || !topic_ok(&l) || !fields_ok(&l) || !nodes_ok(&l) || l.whens != bytes[PLAN_WHENS]) return WEIR_E_INVALID;
  plan->bytes = bytes;
  plan->size = (uint16_t)length;
  plan->body_max = read16(bytes + PLAN_BODY_MAX);
  plan->version = read32(bytes + PLAN_VERSION);
  plan->name = (const char *)bytes + name + 1;
  plan->name_size = bytes[name];
  memcpy(plan->id, id, 8);
  return WEIR_OK;
}

int weir_envelope_open(const uint8_t *bytes, uint32_t size, const uint8_t **plan, uint32_t *plan_size, const uint8_t **signature,
                       uint8_t key_id[8]) {
  if (size < 76u + PLAN_HEADER || memcmp(bytes, "WSP1", 4) != 0) return WEIR_E_INVALID;
  memcpy(key_id, bytes + 4, 8);
  *signature = bytes + 12;
  *plan = bytes + 76;
  *plan_size = size - 76;
  return WEIR_OK;
}

/* The end of the level of the topic that begins at `at`. */
static uint32_t level_end(const char *topic, uint32_t size, uint32_t at) {
  while (at < size && topic[at] != '/') at++;
  return at;
}

bool weir_plan_match(const struct weir_plan *plan, const char *topic, uint32_t size, struct weir_captures *captures) {
  const uint8_t *l = plan->bytes + read16(plan->bytes + PLAN_TOPIC);
  uint32_t levels = *l++, at = 0;
  struct weir_capture *value = captures->values;
  captures->topic = topic;
  captures->count = 0;
  if (size == 0 || size > WEIR_TOPIC_MAX || (topic[0] == '$' && l[0] != 0)) return false;
  for (uint32_t i = 0; i < levels; i++) {
    uint8_t kind = *l++;
    if (kind == 3) { /* also for the parent level itself */
      captures->count = (uint8_t)(value - captures->values);
      return true;
    }
    if (at > size) return false;
    uint32_t end = kind == 0 ? at + *l : level_end(topic, size, at);
    if (kind == 0) {
      if (end > size || (end < size && topic[end] != '/') || !same_bytes(l + 1, (const uint8_t *)topic + at, *l)) return false;
      l += 1u + *l;
    } else if (kind == 2) {
      value->at = (uint16_t)at;
      value->size = (uint16_t)(end - at);
      value++;
      l += 1u + *l;
    }
    at = end + 1;
  }
  captures->count = (uint8_t)(value - captures->values);
  return at > size;
}

uint32_t weir_plan_filter(const struct weir_plan *plan, char *out, uint32_t size) {
  const uint8_t *l = plan->bytes + read16(plan->bytes + PLAN_TOPIC);
  uint32_t levels = *l++, n = 0;
  for (uint32_t i = 0; i < levels; i++) {
    uint8_t kind = *l++;
    uint32_t length = kind == 0 ? *l : 1;
    if (n + length + 2 > size) return 0;
    if (i > 0) out[n++] = '/';
    if (kind == 0) {
      memcpy(out + n, l + 1, length);
    } else {
      out[n] = kind == 3 ? '#' : '+';
    }
    n += length;
    if (kind == 0 || kind == 2) l += 1u + *l;
  }
  out[n] = 0;
  return n;
}
