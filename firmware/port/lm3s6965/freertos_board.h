/*
 * The board's drivers as FreeRTOS tasks. lwIP is called by the network task only, the card by the
 * storage task only.
 */
#ifndef LM3S6965_FREERTOS_BOARD_H
#define LM3S6965_FREERTOS_BOARD_H

#include "weir/port.h"

struct rtos_ports {
  const struct weir_block *block;
  const struct weir_net *net;
};

/* Starts clock, card, network and scheduler; core runs as the core task and does not return. */
void freertos_run(void (*core)(const struct rtos_ports *ports)) __attribute__((noreturn));
uint32_t freertos_stack_left(void); /* the least that any task's stack had left, in bytes */

#endif
