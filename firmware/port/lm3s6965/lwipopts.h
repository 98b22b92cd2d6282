/*
 * lwIP without an operating system: IPv4, DHCP, one TCP connection, names. All
 * memory is static: the sizes below are the network's whole share of RAM, and
 * the budget test counts them.
 */
#ifndef LM3S6965_LWIPOPTS_H
#define LM3S6965_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0 /* interrupt handlers do not call lwIP */
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_SINGLE_NETIF 1
#define LWIP_NETIF_TX_SINGLE_PBUF 0

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_UDP 1
#define LWIP_DHCP 1
#define LWIP_DHCP_DOES_ACD_CHECK 0
#define DHCP_DOES_ARP_CHECK 0
#define LWIP_DNS 1
#define DNS_TABLE_SIZE 1
#define DNS_MAX_NAME_LENGTH 64
#define DNS_MAX_SERVERS 1
#define LWIP_TCP 1
#define IP_REASSEMBLY 0
#define IP_FRAG 0
#define ARP_TABLE_SIZE 4
#define ARP_QUEUEING 0
#define LWIP_STATS 0
#define LWIP_NOASSERT 1
#define LWIP_CHECKSUM_ON_COPY 1
#define ETH_PAD_SIZE 2 /* in front of a frame, so that the IP header is aligned */

#define MEM_ALIGNMENT 4
#define MEM_SIZE 2560
#define MEMP_NUM_PBUF 4
#define MEMP_NUM_UDP_PCB 2 /* DHCP, DNS */
#define MEMP_NUM_TCP_PCB 2 /* one alive, one of the connection before it in TIME_WAIT */
#define MEMP_NUM_TCP_PCB_LISTEN 1
#define MEMP_NUM_TCP_SEG 8
#define PBUF_POOL_SIZE 0 /* received frames lie in frames.c */
#define LWIP_SUPPORT_CUSTOM_PBUF 1

/* The window bounds what the broker can have in flight towards us: bytes are
 * acknowledged to lwIP only after the core took them, so it must fit the ring of
 * frames.c. */
#define TCP_MSS 536
#define TCP_WND (3 * TCP_MSS)
#define TCP_SND_BUF (2 * TCP_MSS)
#define TCP_SND_QUEUELEN 6
#define TCP_QUEUE_OOSEQ 0
#define LWIP_TCP_TIMESTAMPS 0
#define TCP_LISTEN_BACKLOG 0

#endif
