/*
 * FreeRTOS: drivers that may block run in tasks of their own, and the recorder
 * sees the asynchronous structs of weir/port.h.
 *
 *   core task      weir_poll(), then weir_rtos_wait() until the next deadline
 *   storage task   one operation of the card at a time
 *   network task   connects, receives, sends
 *
 * Static allocation only: the caller owns every stack, control block and
 * buffer. Between tasks there is one writer for each word, and words are read
 * and written whole (C11 atomics without read-modify-write, which Cortex-M0+ lacks).
 */
#ifndef WEIR_FREERTOS_H
#define WEIR_FREERTOS_H

#ifdef __cplusplus
extern "C" {
#else
#include <stdatomic.h>
#endif

#include "FreeRTOS.h"
#include "task.h"
#include "weir/port.h"

#ifdef __cplusplus
typedef uint32_t weir_rtos_word;
#else
typedef _Atomic uint32_t weir_rtos_word;
#endif

/* ---------------------------------------------------------------- the core */

/* Waits until the uptime is deadline_us or a driver has news. Called by the core task only. */
void weir_rtos_wait(uint64_t now_us, uint64_t deadline_us);

/* ---------------------------------------------------------------- the card */

struct weir_rtos_card {
  /* Given by the caller before weir_rtos_card_start. */
  const struct weir_block *driver; /* its functions may block */
  TaskHandle_t core;               /* woken when an operation ends */

  /* Of this port. */
  struct weir_block block;
  TaskHandle_t task;
  StaticTask_t memory;
  weir_rtos_word request, answer; /* equal: nothing is under way */
  weir_rtos_word shown;           /* counts versions of what the card is: odd while it changes */
  weir_rtos_word card, sectors, generation, read_only;
  enum weir_block_op op;
  uint32_t sector, count;
  void *buffer;
  int result;
};

/* Starts the storage task and returns what weir_storage_config.block takes. */
const struct weir_block *weir_rtos_card_start(struct weir_rtos_card *c, UBaseType_t priority, StackType_t *stack, uint32_t stack_words);

/* ------------------------------------------------------------- the network */

struct weir_rtos_ring {
  uint8_t *data;
  uint32_t size; /* a power of two */
  weir_rtos_word written, taken;
};

struct weir_rtos_net {
  /* Given by the caller before weir_rtos_net_start. */
  const struct weir_net *driver; /* its functions may block for a short while */
  TaskHandle_t core;
  struct weir_rtos_ring in, out; /* data and size */
  void (*service)(void *ctx);    /* optional: called in each round of the task, for stacks that want polling */
  void *service_ctx;
  uint32_t round_ms;             /* the longest pause between two rounds */

  /* Of this port. */
  struct weir_net net;
  TaskHandle_t task;
  StaticTask_t memory;
  weir_rtos_word wanted; /* counts connects and closes: odd while a connection is wanted */
  weir_rtos_word served; /* the value of wanted that the task acts on */
  weir_rtos_word state;  /* of that: a weir_status */
  const char *host;
  uint16_t port;
};

/* Starts the network task and returns what weir_ports.net takes. */
const struct weir_net *weir_rtos_net_start(struct weir_rtos_net *n, UBaseType_t priority, StackType_t *stack, uint32_t stack_words);

/* Wakes the network task: from a driver's callback, or, with the FromISR form of FreeRTOS on n->task, from an interrupt. */
void weir_rtos_net_wake(struct weir_rtos_net *n);

#ifdef __cplusplus
}
#endif

#endif
