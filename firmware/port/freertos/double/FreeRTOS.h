/*
 * A test double of the few calls of FreeRTOS that the port uses, over POSIX
 * threads. It is NOT FreeRTOS: it shows that the port compiles, passes work
 * between its tasks and has no data race; priorities, stacks and ticks are
 * not simulated.
 */
#ifndef FREERTOS_DOUBLE_H
#define FREERTOS_DOUBLE_H

#include <pthread.h>
#include <stdint.h>

typedef unsigned long UBaseType_t;
typedef long BaseType_t;
typedef uint32_t TickType_t;
typedef uint32_t StackType_t;

#define pdTRUE ((BaseType_t)1)
#define pdPASS ((BaseType_t)1)
#define portMAX_DELAY ((TickType_t)0xFFFFFFFFu)
#define configTICK_RATE_HZ ((TickType_t)1000)
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))

#endif
