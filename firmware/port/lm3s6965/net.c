/*
 * lwIP's raw interface behind weir_net, and the driver of the Ethernet
 * controller. Received bytes stay in lwIP's buffers until the core takes them,
 * and only then the window opens again: the core needs no buffer, and a broker
 * that sends more than it may cannot flood it.
 */
#include <string.h>

#include "board.h"
#include "frames.h"
#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "measure.h"
#include "regs.h"

enum { CONNECT_US = 10000000 };

enum phase { NO_LINK, NAMING, NAMED, UNKNOWN_NAME, CONNECTING, OPEN, PEER_CLOSED, BROKEN };

static struct netif interface;
static struct {
  enum phase phase;
  struct tcp_pcb *pcb;
  struct pbuf *received; /* not yet taken; its first byte is the oldest */
  uint64_t give_up;
  ip_addr_t address;
  uint32_t naming; /* counts look-ups, so that a late answer to an old one is told */
  u16_t taken;     /* bytes that the core took and TCP has not been told of */
  bool owes;       /* an acknowledgement was put off until it is told */
} link;

/*
 * lwIP's time is that of the last poll, whose uptime is kept with it: reading the
 * clock takes as long as looking at a timer, and a round has no use for two times.
 */
static struct {
  uint64_t us; /* the uptime at `ms` */
  u32_t ms;
} polled;

u32_t sys_now(void) { return polled.ms; }

static void look_at_clock(void) {
  const uint64_t since = clock_uptime_us(NULL) - polled.us;
  const u32_t more = since >> 32 ? (u32_t)(since / 1000u) : (u32_t)since / 1000u; /* 64 bits: a hundred instructions */
  polled.ms += more;
  polled.us += (uint64_t)more * 1000u;
}

/* ------------------------------------------------------ Ethernet controller */

void ethernet_handler(void);

void ethernet_handler(void) {
  MAC_RIS = MAC_INT_RX; /* frames that wait are found by their count */
  board_event = true;
  board_wake_from_isr();
}

/*
 * The first word of a frame in the receive FIFO is its length (with the two
 * length bytes and the checksum) and its first two bytes; in the transmit FIFO
 * it is the length of the payload behind the 14 bytes of header.
 */
static err_t transmit(struct netif *netif, struct pbuf *frame) {
  (void)netif;
  uint32_t word = (uint32_t)(frame->tot_len - ETH_PAD_SIZE - 14);
  uint32_t have = ETH_PAD_SIZE;
  for (struct pbuf *p = frame; p; p = p->next) {
    const uint8_t *b = p->payload, *end = b + p->len;
    if (p == frame) {
      b += ETH_PAD_SIZE; /* the length takes the place of the padding */
    }
    while (b < end) {
      if (have == 0) {
        for (; end - b >= 4; b += 4) {
          memcpy(&word, b, 4);
          MAC_DATA = word;
        }
        word = 0;
        if (b == end) {
          break;
        }
      }
      word |= (uint32_t)*b++ << (8 * have);
      if (++have == 4) {
        MAC_DATA = word;
        word = have = 0;
      }
    }
  }
  if (have) {
    MAC_DATA = word;
  }
  MAC_TR = 1;
  return ERR_OK;
}

static uint32_t frames_dropped;

/* A frame from the FIFO. Its first word lies where lwIP's two bytes of padding and the first two of the frame do, so
 * that the IP header, and all behind it, is aligned. */
static struct pbuf *take_frame(void) {
  const uint32_t first = MAC_DATA, fifo = first & 0xFFFFu; /* with the length and the checksum */
  const uint32_t length = fifo >= 6 ? fifo - 6 : 0;
  uint32_t words = (fifo + 3) / 4 - 1, kept = (length + ETH_PAD_SIZE + 3) / 4 - 1;
  struct pbuf *frame = length ? frames_alloc(length + ETH_PAD_SIZE) : NULL;
  if (frame) {
    uint32_t *to = frame->payload;
    *to++ = first;
    words -= kept;
    for (; kept >= 8; kept -= 8, to += 8) {
      to[0] = MAC_DATA;
      to[1] = MAC_DATA;
      to[2] = MAC_DATA;
      to[3] = MAC_DATA;
      to[4] = MAC_DATA;
      to[5] = MAC_DATA;
      to[6] = MAC_DATA;
      to[7] = MAC_DATA;
    }
    for (; kept; kept--) {
      *to++ = MAC_DATA;
    }
  } else {
    frames_dropped++;
  }
  for (; words; words--) {
    (void)MAC_DATA;
  }
  return frame;
}

static err_t interface_init(struct netif *netif) {
  netif->name[0] = 'e';
  netif->name[1] = '0';
  netif->mtu = 1500;
  netif->hwaddr_len = 6;
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
  netif->output = etharp_output;
  netif->linkoutput = transmit;
  return ERR_OK;
}

void net_start(const uint8_t mac[6]) {
  SYSCTL_RCGC2 |= (1u << 28) | (1u << 30);
  look_at_clock();
  lwip_init();
  netif_add_noaddr(&interface, NULL, interface_init, netif_input);
  memcpy(interface.hwaddr, mac, 6);
  MAC_IA0 = (uint32_t)mac[0] | ((uint32_t)mac[1] << 8) | ((uint32_t)mac[2] << 16) | ((uint32_t)mac[3] << 24);
  MAC_IA1 = (uint32_t)mac[4] | ((uint32_t)mac[5] << 8);
  MAC_IM = 0;
  MAC_RIS = 0x7F;
  MAC_TCTL = 0x13 | 0x04; /* full duplex, checksum, padding, on */
  MAC_RCTL = 0x11;        /* clear the FIFO, on */
  MAC_RCTL = 0x01;
  MAC_IM = MAC_INT_RX;
  irq_enable(IRQ_ETH);
  netif_set_default(&interface);
  netif_set_up(&interface);
  dhcp_start(&interface);
}

/* Tells TCP what the core took. Segments that come together are acknowledged here by one that opens the window again,
 * or that carries what the core sends, not by one each as they come. */
static void settle(void) {
  const u16_t taken = link.taken;
  link.taken = 0;
  if (link.pcb && taken) {
    tcp_recved(link.pcb, taken);
  }
  if (link.pcb && link.owes && (link.pcb->flags & TF_ACK_DELAY)) { /* nothing went out that carried it */
    tcp_set_flags(link.pcb, TF_ACK_NOW);
    (void)tcp_output(link.pcb);
  }
  link.owes = false;
}

void net_poll(void) {
  look_at_clock();
  settle();
  /* A count bounds the loop: frames may come as fast as they are taken. */
  for (int i = 0; i < 8 && (MAC_NP & 0x3F); i++) {
    struct pbuf *frame = take_frame();
    if (frame && interface.input(frame, &interface) != ERR_OK) {
      pbuf_free(frame);
    }
  }
  if (MAC_NP & 0x3F) {
    board_event = true;
  }
  sys_check_timeouts();
}

uint64_t net_deadline_us(void) {
  if (link.taken || link.owes) {
    return 0;
  }
  const u32_t ms = sys_timeouts_sleeptime();
  return ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? UINT64_MAX : polled.us + (uint64_t)ms * 1000u;
}

/* ------------------------------------------------------------ TCP connection */

static void forget(void) {
  if (link.received) {
    pbuf_free(link.received);
    link.received = NULL;
  }
  link.taken = 0;
  link.owes = false;
  link.pcb = NULL;
}

static err_t on_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err) {
  (void)arg;
  (void)err;
  board_event = true;
  if (pcb->flags & TF_ACK_NOW) {
    tcp_clear_flags(pcb, TF_ACK_NOW);
    tcp_set_flags(pcb, TF_ACK_DELAY);
    link.owes = true;
  }
  if (!p) {
    link.phase = PEER_CLOSED;
  } else if (!link.received) {
    link.received = p;
  } else {
    pbuf_cat(link.received, p);
  }
  return ERR_OK;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err) {
  (void)arg;
  (void)pcb;
  link.phase = err == ERR_OK ? OPEN : BROKEN;
  board_event = true;
  return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t n) {
  (void)arg;
  (void)pcb;
  (void)n;
  board_event = true;
  return ERR_OK;
}

static void on_error(void *arg, err_t err) {
  (void)arg;
  (void)err;
  link.pcb = NULL; /* lwIP has freed it */
  link.phase = BROKEN;
  board_event = true;
}

static void on_named(const char *name, const ip_addr_t *address, void *arg) {
  (void)name;
  if ((uint32_t)(uintptr_t)arg != link.naming || link.phase != NAMING) {
    return;
  }
  if (address) {
    link.address = *address;
    link.phase = NAMED;
  } else {
    link.phase = UNKNOWN_NAME;
  }
  board_event = true;
}

static void tcp_end(void *ctx) {
  (void)ctx;
  if (link.pcb) {
    tcp_arg(link.pcb, NULL);
    tcp_recv(link.pcb, NULL);
    tcp_sent(link.pcb, NULL);
    tcp_err(link.pcb, NULL);
    settle();
    if (link.phase != OPEN || tcp_close(link.pcb) != ERR_OK) {
      tcp_abort(link.pcb);
    }
  }
  forget();
  link.phase = NO_LINK;
}

static int fail_connect(void) {
  tcp_end(NULL);
  return WEIR_E_IO;
}

static int dial(uint16_t port) {
  link.pcb = tcp_new();
  if (!link.pcb) {
    return fail_connect();
  }
  tcp_nagle_disable(link.pcb); /* weir_net.flush gathers small writes */
  tcp_recv(link.pcb, on_received);
  tcp_sent(link.pcb, on_sent);
  tcp_err(link.pcb, on_error);
  link.phase = CONNECTING;
  if (tcp_connect(link.pcb, &link.address, port, on_connected) != ERR_OK) {
    return fail_connect();
  }
  return WEIR_BUSY;
}

static int tcp_start(void *ctx, const char *host, uint16_t port) {
  (void)ctx;
  const uint64_t now = clock_uptime_us(NULL);
  switch (link.phase) {
  case NO_LINK:
    link.give_up = now + CONNECT_US;
    link.phase = NAMING;
    link.naming++;
    /* fall through */
  case NAMING:
    if (!dhcp_supplied_address(&interface)) {
      break;
    }
    switch (dns_gethostbyname(host, &link.address, on_named, (void *)(uintptr_t)link.naming)) {
    case ERR_OK:
      return dial(port);
    case ERR_INPROGRESS:
      break;
    default:
      return fail_connect();
    }
    break;
  case NAMED:
    return dial(port);
  case CONNECTING:
    break;
  case OPEN:
    return WEIR_OK;
  default:
    return fail_connect();
  }
  return now > link.give_up ? fail_connect() : WEIR_BUSY;
}

static int tcp_peek(void *ctx, const uint8_t **data, size_t *size) {
  (void)ctx;
  if (link.received) {
    *data = link.received->payload;
    *size = link.received->len;
    return WEIR_OK;
  }
  return link.phase == OPEN ? WEIR_BUSY : link.phase == PEER_CLOSED ? WEIR_E_GONE : WEIR_E_IO;
}

static void tcp_take(void *ctx, size_t n) {
  (void)ctx;
  if (n == 0 || !link.received) {
    return;
  }
  measure_enter(MEASURE_NETWORK);
  link.received = pbuf_free_header(link.received, (u16_t)n);
  link.taken = (u16_t)(link.taken + n); /* the window bounds it */
  measure_leave();
}

static int32_t tcp_send(void *ctx, const uint8_t *data, size_t n) {
  (void)ctx;
  if (link.phase != OPEN || !link.pcb) {
    return link.phase == PEER_CLOSED ? WEIR_E_GONE : WEIR_E_IO;
  }
  const size_t room = tcp_sndbuf(link.pcb);
  if (n > room) {
    n = room;
  }
  measure_enter(MEASURE_NETWORK);
  const err_t taken = n ? tcp_write(link.pcb, data, (u16_t)n, TCP_WRITE_FLAG_COPY) : ERR_MEM;
  measure_leave();
  return taken == ERR_OK ? (int32_t)n : 0; /* out of buffers: what is under way frees some */
}

static void tcp_flush(void *ctx) {
  (void)ctx;
  if (link.pcb) {
    measure_enter(MEASURE_NETWORK);
    settle();
    (void)tcp_output(link.pcb);
    measure_leave();
  }
}

const struct weir_net net_tcp = {
    .ctx = NULL, .connect = tcp_start, .peek = tcp_peek, .take = tcp_take, .write = tcp_send, .flush = tcp_flush, .close = tcp_end, .poll_us = 0};
