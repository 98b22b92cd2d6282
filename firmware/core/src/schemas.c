/* schemas.c: the plans that this device runs, and their slots in records. */
#include <string.h>

#include "core.h"
#include "weir/record.h"

static int by_name(const struct weir *w, const struct weir_plan *plan) {
  for (int i = 0; i < w->schema_count; i++) {
    const struct weir_plan *p = &w->schemas[i].plan;
    if (p->name_size == plan->name_size && memcmp(p->name, plan->name, plan->name_size) == 0) return i;
  }
  return -1;
}

int weir_schema_put(struct weir *w, const struct weir_plan *plan, uint8_t room) {
  int i = by_name(w, plan);
  /* A slot in records is never given to another plan within an epoch. */
  if (w->next_slot == WEIR_PLANS) return WEIR_E_FULL;
  if (i < 0) {
    if (w->schema_count == WEIR_SCHEMAS) return WEIR_E_FULL;
    i = w->schema_count++;
  } else if (w->schemas[i].plan.version >= plan->version) {
    return WEIR_E_REFUSED;
  }
  w->schemas[i] = (struct weir_schema){*plan, w->next_slot++, room, false, false};
  w->uplink.wants_status = true;
  return WEIR_OK;
}

int weir_add_schema(struct weir *w, const uint8_t *bytes, uint32_t size) {
  struct weir_plan plan;
  if (weir_plan_open(&plan, bytes, size) != WEIR_OK) return WEIR_E_INVALID;
  return weir_schema_put(w, &plan, WEIR_ROOM_LINKED);
}

int weir_schema_find(const struct weir *w, const char *topic, uint32_t size, uint8_t from, struct weir_captures *captures) {
  for (int i = from; i < w->schema_count; i++)
    if (weir_plan_match(&w->schemas[i].plan, topic, size, captures)) return i;
  return -1;
}

bool weir_schema_bind(struct weir *w, struct weir_schema *s) {
  uint8_t body[WEIR_BIND_MAX];
  if (s->bound) return true;
  uint32_t n = weir_record_bind(body, sizeof body, s->slot, &s->plan);
  s->bound = n > 0 && weir_intake_push(w, WEIR_KIND_PLAN, body, n) != 0;
  return s->bound;
}

/* A segment may be read alone: what its slots stand for is said again. */
void weir_schemas_rebind(struct weir *w) {
  w->rebind = false;
  for (uint8_t i = 0; i < w->schema_count; i++) {
    struct weir_schema *s = &w->schemas[i];
    if (!s->bound) continue;
    s->bound = false;
    weir_schema_bind(w, s); /* one that finds no room is bound before its next reading */
  }
}
