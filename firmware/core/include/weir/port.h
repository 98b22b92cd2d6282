/*
 * weir/port.h: what a board gives to the recorder.
 *
 * Time, network, block device, watchdog, random numbers and card power come in
 * as small structs of functions. Each struct carries a ctx that is handed back
 * as the first argument. The rules that hold for all of them:
 *
 *   - No function blocks. What cannot be done now returns WEIR_BUSY (or 0 bytes)
 *     and is asked for again by a later weir_poll().
 *   - No function calls back into the core, and all are called from the one
 *     context that calls weir_poll(). An interrupt handler only notes that
 *     something happened and wakes that context.
 *   - Every return value is listed with its function. A port returns no other.
 *   - A function pointer that may be NULL is marked "optional".
 */
#ifndef WEIR_PORT_H
#define WEIR_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the functions of this library and its ports return as `int`. */
enum weir_status {
  WEIR_OK = 0,
  WEIR_BUSY = 1,         /* under way or not possible yet: ask again later */
  WEIR_E_IO = -1,        /* this operation failed; the next may succeed */
  WEIR_E_GONE = -2,      /* the peer closed, or the card was pulled out */
  WEIR_E_READ_ONLY = -3, /* the medium takes no writes (any more) */
  WEIR_E_ARGUMENT = -4,  /* the call breaks a rule that its comment states */
  WEIR_E_FULL = -5,      /* no room, and the policy says not to make any */
  WEIR_E_INVALID = -6,   /* the bytes are not what they should be */
  WEIR_E_UNKNOWN = -7,   /* no schema, topic, range or slot of that name */
  WEIR_E_REFUSED = -8    /* the peer said no (broker CONNACK, SUBACK) */
};

/* ------------------------------------------------------------------- clock */

struct weir_clock {
  void *ctx;

  /* Microseconds since the start of this program; never goes back, does not
   * stop while the processor sleeps. 64 bits, so it does not wrap. */
  uint64_t (*uptime_us)(void *ctx);

  /* Optional: the time of day from the port (SNTP, a clock chip with battery).
   * WEIR_OK    *unix_us is the time now, *error_us how far it may be off
   * WEIR_BUSY  not known (yet) */
  int (*wall)(void *ctx, int64_t *unix_us, uint32_t *error_us);
  uint8_t wall_source; /* what time records call it: 2 SNTP (also if 0), 3 GPS, 4 clock chip */
};

/* ----------------------------------------------------------------- network */

/*
 * A byte stream to the broker. There is one; TLS is a port that wraps another.
 *
 * Received bytes stay with the port until the core takes them: peek shows a
 * stretch where it lies (a pbuf, a socket buffer of the port), take releases
 * it. Only what was taken may widen the TCP window (lwIP: tcp_recved in take),
 * so a core that has no room slows the broker down and needs no buffer.
 */
struct weir_net {
  void *ctx;

  /* Connects, asynchronously: called again with the same arguments until it
   * ends. host is a name or an address, NUL-terminated, valid until close.
   * WEIR_OK    connected
   * WEIR_BUSY  under way
   * WEIR_E_IO  refused, unreachable, name unknown, or the port's own timeout;
   *            the port is closed again */
  int (*connect)(void *ctx, const char *host, uint16_t port);

  /* Shows received bytes. *data stays valid until the next take or close.
   * WEIR_OK      *data and *size (> 0) are the oldest bytes not yet taken; there may be more behind them
   * WEIR_BUSY    nothing there now
   * WEIR_E_GONE  all was taken and the peer has closed
   * WEIR_E_IO    the connection failed */
  int (*peek)(void *ctx, const uint8_t **data, size_t *size);

  /* Releases the first n bytes of the last peek; n <= its size. */
  void (*take)(void *ctx, size_t n);

  /* Sends. The port copies or has sent what it accepts; data may change after the return.
   * >= 0         how many bytes were accepted, from the first on; 0 means no room now
   * WEIR_E_GONE  the peer has closed
   * WEIR_E_IO    the connection failed */
  int32_t (*write)(void *ctx, const uint8_t *data, size_t n);

  /* Optional: called once after a round of writes; a port that gathers small
   * writes sends them now. */
  void (*flush)(void *ctx);

  /* Ends the connection at once; unsent and untaken bytes are dropped. Harmless when closed. */
  void (*close)(void *ctx);

  /* 0: the arrival of bytes, room to write, and the end of a connect wake the
   * loop that calls weir_poll(). Otherwise: how often to look while connected. */
  uint32_t poll_us;
};

/* ------------------------------------------------------------ block device */

enum { WEIR_SECTOR = 512, WEIR_BLOCK_ALIGN = 4 };

enum weir_block_op {
  WEIR_BLOCK_READ = 1,
  WEIR_BLOCK_WRITE = 2,
  WEIR_BLOCK_SYNC = 3 /* what was written before it survives a power cut once it ended; buffer NULL, count 0 */
};

struct weir_block_info {
  uint32_t sectors;    /* of WEIR_SECTOR bytes */
  uint32_t generation; /* changes whenever a card was taken out, put in, or powered up anew */
  bool read_only;
};

/*
 * A card. One operation at a time: start, then poll until it ends. From start
 * to the end the buffer belongs to the port (DMA may be using it); it is
 * aligned to WEIR_BLOCK_ALIGN and holds count * WEIR_SECTOR bytes.
 */
struct weir_block {
  void *ctx;

  /* WEIR_OK    *info is filled in
   * WEIR_BUSY  a card is being initialised
   * WEIR_E_GONE  no card
   * WEIR_E_IO  a card that does not answer; power it off and on to try again */
  int (*info)(void *ctx, struct weir_block_info *info);

  /* Begins an operation.
   * WEIR_BUSY        begun: poll it
   * WEIR_E_GONE      no card, or not the generation that info showed last
   * WEIR_E_READ_ONLY a write to a card that takes none
   * WEIR_E_ARGUMENT  an operation is under way, beyond the end, unaligned, count 0 on read or write
   * WEIR_E_IO        could not be begun; nothing was written */
  int (*start)(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count);

  /* WEIR_BUSY        still under way
   * WEIR_OK          ended (or none was begun). A write may still be lost by a power cut until a SYNC ended.
   * WEIR_E_GONE      the card was pulled out; what the operation wrote is unknown
   * WEIR_E_READ_ONLY the card takes no writes any more
   * WEIR_E_IO        failed; what a write left in its sectors is unknown
   * The end is reported once; after it the buffer belongs to the caller again. */
  int (*poll)(void *ctx);

  /* 0: the end of an operation wakes the loop that calls weir_poll(). Otherwise: how often to look while one is under way. */
  uint32_t poll_us;
};

/*
 * Optional: the supply of the card (weir_storage_config.power). It is switched on
 * before the card is looked for, off when the recorder is quiet, and off and on
 * again when the card does not answer any more.
 */
struct weir_card_power {
  void *ctx;

  /* Switches it. Called with nothing under way, and with false only after a SYNC ended or for a card that does not answer.
   * WEIR_OK    done; after power-up block.info reports WEIR_BUSY until the card is ready, and another generation
   * WEIR_BUSY  a port that must wait (discharge): it is asked again after 10 ms, with the same argument */
  int (*set)(void *ctx, bool on);
};

/* ------------------------------------------------------------------ random */

struct weir_random {
  void *ctx;

  /* Fills out with unpredictable bytes.
   * WEIR_OK    done
   * WEIR_BUSY  entropy is still being gathered */
  int (*bytes)(void *ctx, uint8_t *out, size_t n);
};

/* ---------------------------------------------------------------- watchdog */

/* The parts of the core that must make progress. */
enum weir_part {
  WEIR_PART_NONE = 0,
  WEIR_PART_NETWORK = 1, /* connecting, MQTT in and out */
  WEIR_PART_CHECK = 2,   /* schema check of a message */
  WEIR_PART_RING = 3,    /* records into and out of the ring */
  WEIR_PART_STORAGE = 4, /* the card */
  WEIR_PART_UPLINK = 5,  /* batches to the gateway */
  WEIR_PART_TIME = 6,    /* learning the time */
  WEIR_PART_SCHEMA = 7,  /* a schema being received, checked, stored */
  WEIR_PART_BOARD = 8,   /* the loop around weir_poll(), interrupts, drivers */
  WEIR_PARTS = 9
};

enum weir_reset {
  WEIR_RESET_POWER = 0,    /* power came on, or nothing is known */
  WEIR_RESET_PIN = 1,      /* the reset button */
  WEIR_RESET_SOFTWARE = 2, /* asked for by the program */
  WEIR_RESET_WATCHDOG = 3,
  WEIR_RESET_FAULT = 4,    /* a fault handler (stack guard, bus error) ended the program */
  WEIR_RESET_BROWNOUT = 5
};

/*
 * A few words of RAM that a reset does not clear (section .noinit). The core
 * writes which part is at work before it enters it, and which part it blames
 * when it stops feeding the watchdog; after the reset weir_init reads it.
 * magic tells whether it survived; the port only provides the memory.
 */
struct weir_retained {
  uint32_t magic;
  uint32_t part;      /* enum weir_part now at work */
  uint32_t blamed;    /* enum weir_part that made no progress; WEIR_PART_NONE when none was blamed */
  uint32_t uptime_s;  /* when it was blamed or last fed */
  uint32_t starts;    /* how often the program started since power came on */
};

struct weir_watchdog {
  void *ctx;

  /* Restarts the countdown. Called only when every part made progress. */
  void (*feed)(void *ctx);

  /* Why the program was started this time. Constant until the next reset. */
  enum weir_reset (*cause)(void *ctx);

  /* Optional: memory that survives a reset, or NULL: the cause is then known, the part is not. */
  volatile struct weir_retained *retained;

  /* The countdown, in milliseconds. weir_next_deadline() is at most half of it away. */
  uint32_t timeout_ms;
};

/* ------------------------------------------------------------------- slots */

/*
 * Optional: a little memory that survives power cuts (internal flash, EEPROM,
 * a file) for schemas and the uplink's place. Each slot holds one blob. Writing
 * is erase, then write from offset 0 on, ascending. A cut in between leaves any
 * bytes: the core frames and checks what it stores, and keeps two slots for
 * each thing, so that one is always whole.
 */
struct weir_slots {
  void *ctx;
  uint32_t count; /* how many slots there are */
  uint32_t size;  /* bytes in each */

  /* Each returns WEIR_OK when done; WEIR_BUSY when under way: call again with
   * the same arguments; WEIR_E_IO when it failed. */
  int (*erase)(void *ctx, uint32_t slot);
  int (*write)(void *ctx, uint32_t slot, uint32_t offset, const void *data, uint32_t n);
  int (*read)(void *ctx, uint32_t slot, uint32_t offset, void *data, uint32_t n);
};

#ifdef __cplusplus
}
#endif

#endif
