#include "weir/weir.h"

int main(void) {
  static struct weir recorder;
  return weir_init(&recorder, 0, 0, 0) == WEIR_E_ARGUMENT ? 0 : 1;
}
