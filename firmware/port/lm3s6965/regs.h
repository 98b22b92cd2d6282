/*
 * Registers of the LM3S6965 and of its Cortex-M3, as far as this port uses them.
 * Names and offsets are those of the LM3S6965 data sheet and of the ARMv7-M
 * Architecture Reference Manual (SysTick B3.3, NVIC B3.4, MPU B3.5, SCB B3.2).
 */
#ifndef LM3S6965_REGS_H
#define LM3S6965_REGS_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))

/* System control */
#define SYSCTL_RCC REG(0x400FE060u)
#define SYSCTL_RESC REG(0x400FE05Cu)
#define SYSCTL_RCGC0 REG(0x400FE100u)
#define SYSCTL_RCGC1 REG(0x400FE104u)
#define SYSCTL_RCGC2 REG(0x400FE108u)

/* Watchdog 0 */
#define WDT_LOAD REG(0x40000000u)
#define WDT_CTL REG(0x40000008u)
#define WDT_ICR REG(0x4000000Cu)
#define WDT_LOCK REG(0x40000C00u)
#define WDT_UNLOCK 0x1ACCE551u
#define IRQ_WDT 18

/* GPIO ports A (SPI pins) and D (card select) */
#define GPIOA_AFSEL REG(0x40004420u)
#define GPIOA_DEN REG(0x4000451Cu)
#define GPIOD_DIR REG(0x40007400u)
#define GPIOD_DEN REG(0x4000751Cu)
#define GPIOD_PD0 REG(0x40007004u) /* data, masked to bit 0 by the address */

/* SSI0, a PL022 */
#define SSI0_CR0 REG(0x40008000u)
#define SSI0_CR1 REG(0x40008004u)
#define SSI0_DR REG(0x40008008u)
#define SSI0_SR REG(0x4000800Cu)
#define SSI0_CPSR REG(0x40008010u)
#define SSI_SR_RNE 0x4u /* receive FIFO not empty */
#define SSI_SR_RFF 0x8u /* receive FIFO full */
enum { SSI_FIFO = 8 };

/* UART0, a PL011 */
#define UART0_DR REG(0x4000C000u)
#define UART0_FR REG(0x4000C018u)
#define UART0_IBRD REG(0x4000C024u)
#define UART0_FBRD REG(0x4000C028u)
#define UART0_LCRH REG(0x4000C02Cu)
#define UART0_CTL REG(0x4000C030u)
#define UART0_IM REG(0x4000C038u)
#define UART0_ICR REG(0x4000C044u)
#define UART_FR_RXFE 0x10u
#define UART_FR_TXFF 0x20u
#define IRQ_UART0 5

/* General purpose timer 0, A half, used as a 32-bit one-shot */
#define TIMER0_CFG REG(0x40030000u)
#define TIMER0_TAMR REG(0x40030004u)
#define TIMER0_CTL REG(0x4003000Cu)
#define TIMER0_IMR REG(0x40030018u)
#define TIMER0_ICR REG(0x40030024u)
#define TIMER0_TAILR REG(0x40030028u)
#define IRQ_TIMER0A 19

/* Ethernet controller */
#define MAC_RIS REG(0x40048000u) /* write: acknowledge */
#define MAC_IM REG(0x40048004u)
#define MAC_RCTL REG(0x40048008u)
#define MAC_TCTL REG(0x4004800Cu)
#define MAC_DATA REG(0x40048010u)
#define MAC_IA0 REG(0x40048014u)
#define MAC_IA1 REG(0x40048018u)
#define MAC_NP REG(0x40048034u)
#define MAC_TR REG(0x40048038u)
#define MAC_INT_RX 0x1u
#define IRQ_ETH 42

/* Cortex-M3 */
#define SYST_CSR REG(0xE000E010u)
#define SYST_RVR REG(0xE000E014u)
#define SYST_CVR REG(0xE000E018u)
#define NVIC_ISER(n) REG(0xE000E100u + 4u * (n))
#define NVIC_ICPR(n) REG(0xE000E280u + 4u * (n))
#define NVIC_IPR(n) (*(volatile uint8_t *)(0xE000E400u + (n)))
#define SCB_ICSR REG(0xE000ED04u)
#define SCB_AIRCR REG(0xE000ED0Cu)
#define SCB_SHCSR REG(0xE000ED24u)
#define SCB_CFSR REG(0xE000ED28u)
#define SCB_MMFAR REG(0xE000ED34u)
#define MPU_CTRL REG(0xE000ED94u)
#define MPU_RNR REG(0xE000ED98u)
#define MPU_RBAR REG(0xE000ED9Cu)
#define MPU_RASR REG(0xE000EDA0u)

static inline void irq_enable(unsigned irq) { NVIC_ISER(irq / 32u) = 1u << (irq % 32u); }
static inline void irqs_off(void) { __asm volatile("cpsid i" ::: "memory"); }
static inline void irqs_on(void) { __asm volatile("cpsie i" ::: "memory"); }
static inline void wait_for_interrupt(void) { __asm volatile("dsb\n\twfi" ::: "memory"); }

#endif
