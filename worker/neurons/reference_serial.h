/* reference_serial: the serial half of the twin; called by reference_neurons.c. */
#ifndef WORKER_REFERENCE_SERIAL_H
#define WORKER_REFERENCE_SERIAL_H

#include "worker/neurons/reference_neurons.h"

void reference_serial_forward(const struct reference_neuron *r);
void reference_serial_backward(const struct reference_neuron *r);

#endif
