/* check: does the gradient tell the truth? */
#ifndef TRAIN_CHECK_H
#define TRAIN_CHECK_H

#include <stdbool.h>
#include <stdio.h>

/* Compares the gradient of every weight group of a small model with central differences of the loss
 * along it; prints one line a group to `out` unless NULL. True when all agree to 0.5 %. */
bool check_gradient(FILE *out);

#endif
