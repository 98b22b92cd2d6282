/* options.c: see options.h. */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000000000 };              /* of a number of milliseconds, seconds or bytes */
#define MOST_MS UINT64_C(253402300799999) /* the last millisecond of the year 9999 */

static const char usage[] =
    "weir-device: the firmware as a process\n"
    "\n"
    "  --broker HOST:PORT     where it connects (default 127.0.0.1:1883)\n"
    "  --device NAME          its name (default device)\n"
    "  --user, --password     of the broker\n"
    "  --tls-psk ID:HEX       TLS with that identity and key (1 to 32 bytes)\n"
    "  --tls-pin HEX          TLS with the server whose public key (SubjectPublicKeyInfo) has that SHA-256\n"
    "  --plan FILE            a compiled schema (weir schema compile --target mcu); up to 8 times\n"
    "  --schema-key HEX       public key that signs schemas on weir/schema/+\n"
    "  --slots DIR            where such schemas are kept\n"
    "  --card IMAGE           a card (weir card format IMAGE --size 64M); without one the ring is all there is\n"
    "  --format               formats the card first: what it holds is gone\n"
    "  --card-key HEX         seals what it writes on the card with that key (32 bytes)\n"
    "  --state FILE           memory that a watchdog reset does not clear; with it the watchdog runs\n"
    "  --topic FILTER         subscribe to this, too; up to 8 times\n"
    "  --local-only           do not subscribe to the topics of the schemas\n"
    "  --qos 0|1              of subscriptions (default 1)\n"
    "  --ring BYTES           of the ring (default 32000)\n"
    "  --overflow hold|oldest|newest   what gives way when it is full (default hold)\n"
    "  --ack durable|ring     when a message is acknowledged (default durable)\n"
    "  --order oldest|newest  what the gateway gets first (default oldest)\n"
    "  --linger MS, --flush MS   how long a record waits for a batch, and for a block, to fill\n"
    "  --period S, --window S    when the uplink is open\n"
    "  --watchdog MS          a reset (exit code 99) when a part hangs so long; needs --state (default 8000)\n"
    "  --stall MS             what a part may take without progress\n"
    "  --sense MS             makes a reading each MS, on --sense-topic TOPIC\n"
    "  --base MS              Unix time of its start for those readings (default: this machine's clock says);\n"
    "                         --readings N stops after so many\n"
    "  --wall sntp|gps|chip   a clock of its own that says --base plus its uptime,\n"
    "  --wall-error MS, --wall-after S  give or take, from this uptime on\n"
    "  --log FILE             writes what was recorded (R) and how far it is durable (D)\n"
    "  --virtual S            a clock that jumps while nothing happens; ends after S seconds of it\n"
    "  --link-seed N, --link-period S   a link that comes and goes\n"
    "  --hang PART, --hang-after N      hangs in that part (network, check, ring, storage, uplink, time, schema, board)\n"
    "  --hang-card            operations of the card never end\n"
    "  --pull S:S[:IMAGE]     the card is pulled out after so many seconds, and loses what was not synced; put in again\n"
    "                         after so many, itself or that image; up to 4 times\n"
    "  --no-sync              leaves out fdatasync: for tests that kill the process only\n";

static void fail(const char *what, const char *which) {
  fprintf(stderr, "weir-device: %s%s\n", what, which);
  exit(2);
}

/* A number from least to most, in decimal digits alone. */
static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most) {
  char range[96];
  uint64_t v = 0;
  bool fine = *text != 0;
  for (const char *p = text; *p != 0 && fine; p++) {
    uint64_t digit = (uint64_t)(*p - '0');
    fine = *p >= '0' && *p <= '9' && digit <= most && v <= (most - digit) / 10;
    v = v * 10 + digit;
  }
  if (fine && v >= least) return v;
  snprintf(range, sizeof range, " takes a number from %llu to %llu, not ", (unsigned long long)least, (unsigned long long)most);
  fprintf(stderr, "weir-device: %s%s%s\n", name, range, text);
  exit(2);
}

static uint8_t choice(const char *name, const char *text, const char *const *words, uint8_t n) {
  for (uint8_t i = 0; i < n; i++)
    if (strcmp(text, words[i]) == 0) return i;
  fprintf(stderr, "weir-device: %s is one of", name);
  for (uint8_t i = 0; i < n; i++) fprintf(stderr, "%s %s", i == 0 ? "" : ",", words[i]);
  fprintf(stderr, "; not %s\n", text);
  exit(2);
}

/* Hexadecimal digits to bytes; returns how many bytes. */
static size_t octets(const char *name, const char *text, uint8_t *to, size_t limit) {
  size_t digits = strlen(text);
  if (digits == 0 || digits % 2 != 0 || digits > 2 * limit) fail("a key of 1 to 32 bytes in hexadecimal digits: ", name);
  if (strspn(text, "0123456789abcdefABCDEF") != digits) fail("not hexadecimal: ", name);
  for (size_t i = 0; i < digits / 2; i++) {
    const char two[3] = {text[2 * i], text[2 * i + 1], 0};
    to[i] = (uint8_t)strtoul(two, NULL, 16);
  }
  return digits / 2;
}

static void key(struct options *o, const char *text) {
  if (strlen(text) != 64) fail("a key has 64 hexadecimal digits: ", "--schema-key");
  octets("--schema-key", text, o->schema_key, sizeof o->schema_key);
  o->config.schema_key = o->schema_key;
}

static void card_key(struct options *o, const char *text) {
  if (octets("--card-key", text, o->card_key, sizeof o->card_key) != sizeof o->card_key) fail("a key has 64 hexadecimal digits: ", "--card-key");
  o->sealed = true;
}

static void tls(struct options *o, const char *name, char *text) {
#ifndef WEIR_TLS
  (void)o, (void)text;
  fail("built without mbedTLS (Debian: libmbedtls-dev), so it has no ", name);
#else
  if (strcmp(name, "--tls-pin") == 0) {
    if (octets(name, text, o->tls_pin, sizeof o->tls_pin) != sizeof o->tls_pin) fail("a SHA-256 has 64 hexadecimal digits: ", name);
    o->tls_pinned = true;
  } else {
    char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) fail("is ID:HEX: ", name);
    *colon = 0;
    o->tls_identity = text;
    o->tls_psk_size = octets(name, colon + 1, o->tls_psk, sizeof o->tls_psk);
  }
  if (o->tls_pinned && o->tls_identity != NULL) fail("one of --tls-psk and --tls-pin, not both", "");
#endif
}

static void broker(struct options *o, char *text) {
  char *colon = strrchr(text, ':');
  if (colon != NULL) {
    *colon = 0;
    o->config.port = (uint16_t)number("--broker HOST:PORT", colon + 1, 1, UINT16_MAX);
  }
  o->config.host = text;
}

static void pull(struct options *o, char *text) {
  char *in = strchr(text, ':'), *image = in == NULL ? NULL : strchr(in + 1, ':');
  if (in == NULL) fail("is OUT:IN or OUT:IN:IMAGE: ", "--pull");
  if (o->pull_count == POSIX_PULLS) fail("too many: ", "--pull");
  *in = 0;
  if (image != NULL) *image = 0;
  struct posix_pull *p = &o->pulls[o->pull_count++];
  p->out_us = number("--pull", text, 0, UINT32_MAX) * 1000000u;
  p->in_us = number("--pull", in + 1, 0, UINT32_MAX) * 1000000u;
  p->image = image == NULL ? NULL : image + 1;
}

static bool text_option(struct options *o, const char *name, char *v) {
  static const char *const overflows[] = {"hold", "oldest", "newest"};
  static const char *const acks[] = {"durable", "ring"};
  static const char *const orders[] = {"oldest", "newest"};
  static const char *const walls[] = {"sntp", "gps", "chip"};
  static const char *const parts[] = {"none", "network", "check", "ring", "storage", "uplink", "time", "schema", "board"};
  if (strcmp(name, "--broker") == 0) broker(o, v);
  else if (strcmp(name, "--device") == 0) o->config.device = v;
  else if (strcmp(name, "--user") == 0) o->config.user = v;
  else if (strcmp(name, "--password") == 0) o->config.password = v;
  else if (strcmp(name, "--schema-key") == 0) key(o, v);
  else if (strcmp(name, "--card-key") == 0) card_key(o, v);
  else if (strcmp(name, "--tls-psk") == 0 || strcmp(name, "--tls-pin") == 0) tls(o, name, v);
  else if (strcmp(name, "--slots") == 0) o->slots = v;
  else if (strcmp(name, "--pull") == 0) pull(o, v);
  else if (strcmp(name, "--card") == 0) o->card = v;
  else if (strcmp(name, "--state") == 0) o->state = v;
  else if (strcmp(name, "--log") == 0) o->log = v;
  else if (strcmp(name, "--sense-topic") == 0) o->sense_topic = v;
  else if (strcmp(name, "--overflow") == 0) o->config.overflow = (enum weir_overflow)choice(name, v, overflows, 3);
  else if (strcmp(name, "--ack") == 0) o->config.ack = (enum weir_ack)choice(name, v, acks, 2);
  else if (strcmp(name, "--order") == 0) o->config.order = (enum weir_order)choice(name, v, orders, 2);
  else if (strcmp(name, "--wall") == 0) o->wall_source = (uint8_t)(2 + choice(name, v, walls, 3));
  else if (strcmp(name, "--hang") == 0) posix_hang_part = (enum weir_part)choice(name, v, parts, 9);
  else if (strcmp(name, "--plan") == 0 && o->plan_count < OPTION_LIST) o->plans[o->plan_count++] = v;
  else if (strcmp(name, "--topic") == 0 && o->config.topic_count < OPTION_LIST) o->topics[o->config.topic_count++] = v;
  else return false;
  return true;
}

static bool number_option(struct options *o, const char *name, const char *text) {
  const struct {
    const char *name;
    uint32_t *to;
    uint32_t least;
  } numbers[] = {{"--ring", &o->ring, 1024},
                 {"--linger", &o->config.linger_ms, 1},
                 {"--flush", &o->flush_ms, 1},
                 {"--period", &o->config.uplink_period_s, 0},
                 {"--window", &o->config.uplink_window_s, 0},
                 {"--watchdog", &o->watchdog_ms, 1},
                 {"--stall", &o->config.stall_ms, 1},
                 {"--sense", &o->sense_ms, 1},
                 {"--wall-error", &o->wall_error_ms, 0},
                 {"--wall-after", &o->wall_after_s, 0},
                 {"--link-period", &o->link_period_s, 0}};
  const struct {
    const char *name;
    uint64_t *to;
    uint64_t most;
  } large[] = {{"--base", &o->base_ms, MOST_MS}, {"--readings", &o->readings, INT64_MAX}, {"--virtual", &o->virtual_s, MOST_MS / 1000},
               {"--link-seed", &o->link_seed, UINT64_MAX}, {"--hang-after", &posix_hang_after, INT64_MAX}};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    if (strcmp(name, numbers[i].name) == 0) {
      *numbers[i].to = (uint32_t)number(name, text, numbers[i].least, MOST);
      return true;
    }
  for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
    if (strcmp(name, large[i].name) == 0) {
      *large[i].to = number(name, text, 0, large[i].most);
      return true;
    }
  if (strcmp(name, "--qos") != 0) return false;
  o->config.qos = (uint8_t)number(name, text, 0, 1);
  return true;
}

/* What weir_init would refuse without a word of which it was. */
static void agree(const struct options *o) {
  const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", *device = o->config.device;
  size_t n = strlen(device);
  if (n == 0 || n > 64 || strspn(device, allowed) != n) fail("--device takes 1 to 64 characters of A-Z a-z 0-9 _ -, not ", device);
  if (o->watchdog_ms != 0 && o->state == NULL) fail("--watchdog needs --state FILE: what a reset does not clear says which part hung", "");
  if (o->config.uplink_window_s > o->config.uplink_period_s) fail("--window is at most as long as --period", "");
  for (uint8_t i = 0; i < o->config.topic_count; i++) {
    n = strlen(o->topics[i]);
    if (n == 0 || n > WEIR_MQTT_TOPIC_MAX) fail("--topic takes 1 to 128 bytes, not ", o->topics[i]);
  }
}

void options_read(struct options *o, int argc, char **argv) {
  memset(o, 0, sizeof *o);
  o->config.device = "device";
  o->config.host = "127.0.0.1";
  o->config.qos = 1;
  o->config.topics = o->topics;
  o->ring = 32000;
  o->base_ms = NO_BASE;
  o->sense_topic = "plants/p03/lines/l2/devices/d00123/env";
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      fputs(usage, stdout);
      exit(0);
    }
    if (strcmp(argv[i], "--local-only") == 0) o->config.local_only = true;
    else if (strcmp(argv[i], "--no-sync") == 0) o->no_sync = true;
    else if (strcmp(argv[i], "--hang-card") == 0) o->hang_card = true;
    else if (strcmp(argv[i], "--format") == 0) o->format = true;
    else if (i + 1 == argc) fail("not known, or without its value (--help lists all): ", argv[i]);
    else {
      const char *name = argv[i++];
      if (!text_option(o, name, argv[i]) && !number_option(o, name, argv[i])) fail("not known (--help lists all): ", name);
    }
  }
  agree(o);
}
