/* mqtt_parts.h: what the halves of the MQTT client know of each other. */
#ifndef WEIR_MQTT_PARTS_H
#define WEIR_MQTT_PARTS_H

#include "weir/mqtt.h"

/* CONNACK accepted the connection. */
void weir_mqtt_greeted(struct weir_mqtt *c, bool present);

/* Forgets the packet that was being received. */
void weir_mqtt_in_reset(struct weir_mqtt *c);

/* A message is whole in its headers or its payload, and the owner did not take it yet. */
bool weir_mqtt_in_waits(const struct weir_mqtt *c);

#endif
