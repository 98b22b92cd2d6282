#ifndef FREERTOS_DOUBLE_TASK_H
#define FREERTOS_DOUBLE_TASK_H

#include "FreeRTOS.h"

typedef struct StaticTask {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t given;
  uint32_t count;
  void (*entry)(void *);
  void *argument;
} StaticTask_t;
typedef StaticTask_t *TaskHandle_t;
typedef void (*TaskFunction_t)(void *);

TaskHandle_t xTaskCreateStatic(TaskFunction_t entry, const char *name, uint32_t stack_words, void *argument, UBaseType_t priority,
                               StackType_t *stack, StaticTask_t *memory);
TaskHandle_t xTaskGetCurrentTaskHandle(void);
BaseType_t xTaskNotifyGive(TaskHandle_t task);
uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks);
void vTaskDelay(TickType_t ticks);

/* Of the double: makes the calling thread a task; ends all tasks at their next wait. */
void double_adopt(StaticTask_t *memory);

#endif
