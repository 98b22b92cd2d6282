#define _POSIX_C_SOURCE 200809L

#include <time.h>

#include "task.h"

static _Thread_local TaskHandle_t current;

static void prepare(StaticTask_t *t) {
  pthread_mutex_init(&t->lock, NULL);
  pthread_cond_init(&t->given, NULL);
  t->count = 0;
}

static void *run(void *argument) {
  current = argument;
  current->entry(current->argument);
  return NULL;
}

TaskHandle_t xTaskCreateStatic(TaskFunction_t entry, const char *name, uint32_t stack_words, void *argument, UBaseType_t priority,
                               StackType_t *stack, StaticTask_t *memory) {
  (void)name;
  (void)stack_words;
  (void)priority;
  (void)stack;
  prepare(memory);
  memory->entry = entry;
  memory->argument = argument;
  return pthread_create(&memory->thread, NULL, run, memory) == 0 ? memory : NULL;
}

void double_adopt(StaticTask_t *memory) {
  prepare(memory);
  current = memory;
}

TaskHandle_t xTaskGetCurrentTaskHandle(void) { return current; }

BaseType_t xTaskNotifyGive(TaskHandle_t task) {
  pthread_mutex_lock(&task->lock);
  task->count++;
  pthread_cond_signal(&task->given);
  pthread_mutex_unlock(&task->lock);
  return pdPASS;
}

uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks) {
  (void)clear;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  const uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)ticks * 1000000u;
  until.tv_sec += (time_t)(ns / 1000000000u);
  until.tv_nsec = (long)(ns % 1000000000u);
  pthread_mutex_lock(&current->lock);
  while (current->count == 0 && pthread_cond_timedwait(&current->given, &current->lock, &until) == 0) {
  }
  const uint32_t had = current->count;
  current->count = 0;
  pthread_mutex_unlock(&current->lock);
  return had;
}

void vTaskDelay(TickType_t ticks) {
  const struct timespec pause = {(time_t)(ticks / 1000u), (long)(ticks % 1000u) * 1000000L};
  nanosleep(&pause, NULL);
}
