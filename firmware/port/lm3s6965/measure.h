/*
 * Where the instructions go. In the image that is built to measure
 * (-DWEIR_MEASURE) the time between enter and leave is charged to a part, less
 * what parts within it take; in all others this is nothing. Under the emulator's
 * -icount shift=5 an instruction takes 32 ns, so SysTick's 20 ns count them.
 */
#ifndef LM3S6965_MEASURE_H
#define LM3S6965_MEASURE_H

enum measure_part {
  MEASURE_REST, /* the recorder's own: MQTT, acknowledgements, the loop */
  MEASURE_NETWORK,
  MEASURE_CHECK,
  MEASURE_RECORD,
  MEASURE_CRC,
  MEASURE_CARD, /* the storage manager */
  MEASURE_SPI,  /* moving bytes to and from the card */
  MEASURE_SLEEP,
  MEASURE_PARTS
};

#ifdef WEIR_MEASURE
void measure_start(void);
void measure_enter(enum measure_part part);
void measure_leave(void);
void measure_print(void);
#else
static inline void measure_start(void) {}
static inline void measure_enter(enum measure_part part) { (void)part; }
static inline void measure_leave(void) {}
static inline void measure_print(void) {}
#endif

#endif
