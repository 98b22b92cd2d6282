/*
 * An SD card in SPI mode (SD Physical Layer Simplified Specification, chapter
 * 7) behind weir_block: each poll moves at most one sector, and waits for
 * nothing.
 */
#include "board.h"
#include "measure.h"
#include "regs.h"

enum command {
  GO_IDLE_STATE = 0,
  SEND_IF_COND = 8,
  SEND_CSD = 9,
  SEND_STATUS = 13,
  READ_SINGLE_BLOCK = 17,
  WRITE_BLOCK = 24,
  APP_SEND_OP_COND = 41,
  APP_CMD = 55,
  READ_OCR = 58
};

enum { R1_READY = 0x00, R1_IDLE = 0x01, R1_ILLEGAL = 0x04, R1_NONE = 0xFF };
enum { TOKEN_BLOCK = 0xFE, TOKEN_ACCEPTED = 0x05 };
enum { INIT_TRIES = 200, BUSY_US = 500000, READ_US = 200000, INIT_PAUSE_US = 5000, AGAIN_US = 500000 };

enum state { OFF, RESET, INTERFACE, ASK, CAPACITY, READY, BEGIN, TOKEN, BUSY, FLUSH, FAILED };

static struct {
  enum state state;
  bool blocks; /* addressed by block, not by byte: SDHC and SDXC */
  enum weir_block_op op;
  uint32_t sector, left;
  uint8_t *buffer;
  uint64_t until; /* when waiting ends, or the next try may begin */
  uint32_t tries;
  struct weir_block_info info;
} card;

static uint8_t transfer(uint8_t out) {
  SSI0_DR = out;
  while (!(SSI0_SR & SSI_SR_RNE)) {
  }
  return (uint8_t)SSI0_DR;
}

/* The answer to a FIFO's worth of bytes is there when the receive FIFO is full. */
static void await_full(void) {
  while (!(SSI0_SR & SSI_SR_RFF)) {
  }
}

/* Reads n bytes, n a multiple of the FIFO's depth. */
static void receive(uint8_t *p, uint32_t n) {
  for (uint8_t *end = p + n; p != end; p += SSI_FIFO) {
#pragma GCC unroll 8
    for (int i = 0; i < SSI_FIFO; i++) {
      SSI0_DR = 0xFF;
    }
    await_full();
#pragma GCC unroll 8
    for (int i = 0; i < SSI_FIFO; i++) {
      p[i] = (uint8_t)SSI0_DR;
    }
  }
}

/* Sends n bytes, as many at a time as the FIFO holds. */
static void send(const uint8_t *p, uint32_t n) {
  for (; n >= SSI_FIFO; n -= SSI_FIFO, p += SSI_FIFO) {
#pragma GCC unroll 8
    for (int i = 0; i < SSI_FIFO; i++) {
      SSI0_DR = p[i];
    }
    await_full();
#pragma GCC unroll 8
    for (int i = 0; i < SSI_FIFO; i++) {
      (void)SSI0_DR;
    }
  }
  for (; n; n--) {
    (void)transfer(*p++);
  }
}

static void select_card(bool on) {
  GPIOD_PD0 = on ? 0 : 1;
  if (!on) {
    (void)transfer(0xFF); /* the card lets go of the line with the next clock */
  }
}

/* Sends a command and returns its R1 response; it comes within 8 bytes. */
static uint8_t command(enum command c, uint32_t argument) {
  const uint8_t crc = c == GO_IDLE_STATE ? 0x95 : c == SEND_IF_COND ? 0x87 : 0x01; /* others are not checked in SPI mode */
  const uint8_t frame[7] = {0xFF, (uint8_t)(0x40u | (uint8_t)c), (uint8_t)(argument >> 24), (uint8_t)(argument >> 16),
                            (uint8_t)(argument >> 8), (uint8_t)argument, crc};
  send(frame, sizeof frame);
  uint8_t r = R1_NONE;
  for (int i = 0; i < 9 && (r & 0x80); i++) {
    r = transfer(0xFF);
  }
  return r;
}

static void fail(void) {
  select_card(false);
  card.until = clock_uptime_us(NULL) + AGAIN_US;
  card.state = FAILED;
}

/* The size in sectors from the card-specific data register (5.3.2, 5.3.3). */
static bool read_size(void) {
  uint8_t csd[16];
  if (command(SEND_CSD, 0) != R1_READY) {
    return false;
  }
  uint8_t token = 0xFF;
  for (int i = 0; i < 64 && token == 0xFF; i++) {
    token = transfer(0xFF);
  }
  if (token != TOKEN_BLOCK) {
    return false;
  }
  receive(csd, sizeof csd);
  (void)transfer(0xFF);
  (void)transfer(0xFF);
  if (csd[0] >> 6 == 1) {
    const uint32_t size = ((uint32_t)(csd[7] & 0x3F) << 16) | ((uint32_t)csd[8] << 8) | csd[9];
    card.info.sectors = (size + 1) * 1024;
  } else {
    const uint32_t size = ((uint32_t)(csd[6] & 3) << 10) | ((uint32_t)csd[7] << 2) | (csd[8] >> 6);
    const uint32_t multiplier = ((uint32_t)(csd[9] & 3) << 1) | (csd[10] >> 7);
    const uint32_t length = csd[5] & 0x0F;
    if (length < 9) {
      return false;
    }
    card.info.sectors = (size + 1) << (multiplier + 2 + length - 9);
  }
  card.info.read_only = (csd[14] & 0x30) != 0;
  return true;
}

/* One step of bringing up a card. */
static void bring_up(void) {
  const uint64_t now = clock_uptime_us(NULL);
  uint8_t r;
  switch (card.state) {
  case RESET:
    select_card(false);
    for (int i = 0; i < 10; i++) {
      (void)transfer(0xFF); /* at least 74 clocks with the card deselected (6.4.1.1) */
    }
    select_card(true);
    r = command(GO_IDLE_STATE, 0);
    select_card(false);
    card.tries = 0;
    card.state = INTERFACE;
    if (r != R1_IDLE) {
      fail();
    }
    break;
  case INTERFACE:
    select_card(true);
    r = command(SEND_IF_COND, 0x1AA);
    if (!(r & R1_ILLEGAL)) {
      for (int i = 0; i < 4; i++) {
        (void)transfer(0xFF);
      }
    }
    select_card(false);
    card.state = ASK;
    break;
  case ASK:
    if (now < card.until) {
      return;
    }
    select_card(true);
    (void)command(APP_CMD, 0);
    select_card(false);
    select_card(true);
    r = command(APP_SEND_OP_COND, 1u << 30);
    select_card(false);
    if (r == R1_READY) {
      card.state = CAPACITY;
    } else if (++card.tries > INIT_TRIES) {
      fail();
      break;
    }
    card.until = now + (card.tries > 2 ? INIT_PAUSE_US : 0);
    break;
  case CAPACITY: {
    select_card(true);
    uint8_t ocr[4];
    (void)command(READ_OCR, 0);
    for (int i = 0; i < 4; i++) {
      ocr[i] = transfer(0xFF);
    }
    select_card(false);
    card.blocks = (ocr[0] & 0x40) != 0;
    select_card(true);
    const bool ok = read_size();
    select_card(false);
    card.state = READY;
    if (!ok) {
      fail();
    }
    break;
  }
  default:
    break;
  }
}

static int card_info(void *ctx, struct weir_block_info *info) {
  (void)ctx;
  if (card.state == FAILED && clock_uptime_us(NULL) >= card.until) { /* is there one (again)? */
    card.info.generation++;
    card.state = RESET;
  }
  if (card.state >= RESET && card.state < READY) {
    bring_up();
  }
  if (card.state == FAILED || card.state == OFF) {
    return WEIR_E_GONE;
  }
  if (card.state < READY) {
    return WEIR_BUSY;
  }
  *info = card.info;
  return WEIR_OK;
}

static int card_begin(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  (void)ctx;
  if (card.state != READY) {
    return card.state > READY && card.state != FAILED ? WEIR_E_ARGUMENT : WEIR_E_IO;
  }
  if (op == WEIR_BLOCK_SYNC) {
    /* A card in SPI mode holds the line busy until what it took is programmed,
     * and each write waits for that: nothing is left to do. */
    card.op = op;
    card.state = FLUSH;
    return WEIR_BUSY;
  }
  if (count == 0 || sector >= card.info.sectors || count > card.info.sectors - sector || ((uintptr_t)buffer & 3u)) {
    return WEIR_E_ARGUMENT;
  }
  if (op == WEIR_BLOCK_WRITE && card.info.read_only) {
    return WEIR_E_READ_ONLY;
  }
  card.op = op;
  card.sector = sector;
  card.buffer = buffer;
  card.left = count;
  card.state = BEGIN;
  return WEIR_BUSY;
}

static int end_operation(int status) {
  select_card(false);
  card.state = READY;
  return status;
}

/* A sector is through: the next one, or the end. */
static int next_sector(void) {
  select_card(false);
  card.sector++;
  card.buffer += WEIR_SECTOR;
  card.left--;
  card.state = card.left ? BEGIN : READY;
  return card.left ? WEIR_BUSY : WEIR_OK;
}

static int begin_sector(void) {
  const bool writes = card.op == WEIR_BLOCK_WRITE;
  select_card(true);
  const uint8_t r = command(writes ? WRITE_BLOCK : READ_SINGLE_BLOCK, card.blocks ? card.sector : card.sector * WEIR_SECTOR);
  if ((r & (R1_IDLE | R1_ILLEGAL)) != 0) { /* nobody answers, or a card that was just powered up: not the one that was brought up */
    fail();
    return WEIR_E_GONE;
  }
  if (r != R1_READY) {
    return end_operation(WEIR_E_IO);
  }
  const uint64_t now = clock_uptime_us(NULL);
  if (!writes) {
    card.until = now + READ_US;
    card.state = TOKEN;
    return WEIR_BUSY;
  }
  (void)transfer(0xFF);
  (void)transfer(TOKEN_BLOCK);
  send(card.buffer, WEIR_SECTOR);
  (void)transfer(0xFF); /* the block's CRC, which a card does not check unless CMD59 asked for it */
  (void)transfer(0xFF);
  if ((transfer(0xFF) & 0x1F) != TOKEN_ACCEPTED) {
    return end_operation(WEIR_E_IO);
  }
  card.until = now + BUSY_US;
  card.state = BUSY;
  return WEIR_BUSY;
}

static int await_token(void) {
  const uint8_t token = transfer(0xFF);
  if (token == TOKEN_BLOCK) {
    receive(card.buffer, WEIR_SECTOR);
    (void)transfer(0xFF);
    (void)transfer(0xFF);
    return next_sector();
  }
  if (token != 0xFF || clock_uptime_us(NULL) > card.until) {
    return end_operation(WEIR_E_IO);
  }
  return WEIR_BUSY;
}

static int await_ready(void) {
  if (transfer(0xFF) != 0xFF) {
    if (clock_uptime_us(NULL) <= card.until) {
      return WEIR_BUSY;
    }
    fail();
    return WEIR_E_IO;
  }
  return next_sector();
}

static int step(void) {
  int status = WEIR_BUSY;
  /* Each state falls into the next without waiting where the card is quick. */
  if (card.state == BEGIN) {
    status = begin_sector();
  }
  if (card.state == TOKEN) {
    status = await_token();
  } else if (card.state == BUSY) {
    status = await_ready();
  } else if (card.state == FLUSH) {
    card.state = READY;
    status = WEIR_OK;
  } else if (card.state == READY && status == WEIR_BUSY) {
    status = WEIR_OK;
  }
  return status;
}

static int card_poll(void *ctx) {
  (void)ctx;
  measure_enter(MEASURE_SPI);
  const int status = step();
  measure_leave();
  return status;
}

void card_start(void) {
  SYSCTL_RCGC1 |= 1u << 4;
  SYSCTL_RCGC2 |= (1u << 0) | (1u << 3);
  GPIOA_AFSEL |= 0x34; /* PA2, PA4, PA5 */
  GPIOA_DEN |= 0x34;
  GPIOD_DIR |= 1;
  GPIOD_DEN |= 1;
  GPIOD_PD0 = 1;
  SSI0_CR1 = 0;
  SSI0_CPSR = 4;   /* 12.5 MHz */
  SSI0_CR0 = 0x07; /* 8 bits, SPI mode 0 */
  SSI0_CR1 = 2;
  card.info.generation = 1;
  card.state = RESET;
}

const struct weir_block card_block = {
    .ctx = NULL, .info = card_info, .start = card_begin, .poll = card_poll, .poll_us = 50};
