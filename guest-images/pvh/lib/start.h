/* SPDX-License-Identifier: MIT */
/* What start.S and C share. */
#ifndef PVH_START_H
#define PVH_START_H

#define SEL_CODE64 0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18

#define AP_TRAMPOLINE  0x10000 /* a page below 1 MiB that the loader leaves alone */
#define AP_MAX         63
#define AP_STACK_SHIFT 11

#endif
