#include "freertos_board.h"

#include "board.h"
#include "regs.h"
#include "weir_freertos.h"

enum { CORE_WORDS = 384, NET_WORDS = 320, CARD_WORDS = 160 };
enum { CARD_PRIORITY = 1, CORE_PRIORITY = 2, NET_PRIORITY = 3 };

static StackType_t core_stack[CORE_WORDS], net_stack[NET_WORDS], card_stack[CARD_WORDS];
static StaticTask_t core_memory;
static TaskHandle_t core_task;
static uint8_t in[1024], out[1024];
static struct weir_rtos_card card;
static struct weir_rtos_net net;
static struct rtos_ports ports;
static void (*core_entry)(const struct rtos_ports *);

static void service(void *ctx) {
  (void)ctx;
  net_poll();
}

/* lwIP's callbacks and the Ethernet interrupt set board_event; here they wake the network task. */
void board_wake_from_isr(void);
void board_wake_from_isr(void) {
  BaseType_t switch_now = pdFALSE;
  if (net.task) {
    vTaskNotifyGiveFromISR(net.task, &switch_now);
  }
  portYIELD_FROM_ISR(switch_now);
}

static void core_run(void *ctx) {
  (void)ctx;
  static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  card_start();
  net_start(mac);
  card = (struct weir_rtos_card){.driver = &card_block, .core = core_task};
  net = (struct weir_rtos_net){.driver = &net_tcp,
                               .core = core_task,
                               .in = {.data = in, .size = sizeof in},
                               .out = {.data = out, .size = sizeof out},
                               .service = service,
                               .round_ms = 10};
  ports.block = weir_rtos_card_start(&card, CARD_PRIORITY, card_stack, CARD_WORDS);
  ports.net = weir_rtos_net_start(&net, NET_PRIORITY, net_stack, NET_WORDS);
  core_entry(&ports);
  board_reset();
}

void freertos_run(void (*core)(const struct rtos_ports *)) {
  core_entry = core;
  core_task = xTaskCreateStatic(core_run, "core", CORE_WORDS, NULL, CORE_PRIORITY, core_stack, &core_memory);
  /* Interrupts that wake tasks must not be above configMAX_SYSCALL_INTERRUPT_PRIORITY. */
  NVIC_IPR(IRQ_ETH) = 5u << 5;
  NVIC_IPR(IRQ_UART0) = 5u << 5;
  vTaskStartScheduler();
  board_reset();
}

static uint32_t less(uint32_t a, TaskHandle_t task) {
  const uint32_t b = (uint32_t)uxTaskGetStackHighWaterMark(task) * (uint32_t)sizeof(StackType_t);
  return b < a ? b : a;
}

uint32_t freertos_stack_left(void) { return less(less(less(UINT32_MAX, core_task), card.task), net.task); }
