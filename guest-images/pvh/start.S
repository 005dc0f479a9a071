/* SPDX-License-Identifier: MIT */
/*
 * As exit.S, but first it writes a byte to COM1: when that arrives, the VM has started.
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
	movw	$0x3f8, %dx
	movb	$'.', %al
	outb	%al, %dx
	xorl	%eax, %eax
	outb	%al, $0xf4
1:	cli
	hlt
	jmp	1b
