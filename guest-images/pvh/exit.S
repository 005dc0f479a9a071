/* SPDX-License-Identifier: MIT */
/*
 * The smallest guest: writes 0 to the debug-exit port at once (exit status 1). It measures what a
 * VMM itself costs, from start to end.
 */
#include "lib/entry.inc"

	pvh_entry
	debug_exit
