/* SPDX-License-Identifier: MIT */
/*
 * The smallest guest: writes 0 to the debug-exit port at once (exit status 1). It measures what a
 * VMM itself costs, from start to end.
 */
	.section .note.pvh, "a", @note
	.align 4
	.long	4, 8, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.quad	_start

	.text
	.code32
	.globl	_start
_start:
	xorl	%eax, %eax
	outb	%al, $0xf4
1:	cli
	hlt
	jmp	1b
