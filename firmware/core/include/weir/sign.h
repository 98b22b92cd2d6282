/*
 * weir/sign.h: who may give this device a schema. Ed25519 as in RFC 8032, over
 * the message that docs/format/plan.md names.
 */
#ifndef WEIR_SIGN_H
#define WEIR_SIGN_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the signature of an envelope was made over its plan by the holder of the key. Takes no allocation and a
 * bounded time: some millions of cycles, which is why it is called once for each new version of a schema. */
bool weir_plan_verify(const uint8_t *plan, uint32_t size, const uint8_t signature[64], const uint8_t key[32]);

#ifdef __cplusplus
}
#endif

#endif
