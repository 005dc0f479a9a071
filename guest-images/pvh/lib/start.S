/* SPDX-License-Identifier: MIT */
/*
 * Entry of the PVH guests: from 32-bit flat mode to long mode, interrupt stubs, and the way of the
 * other processors from SIPI to C. The first 4 GiB are mapped one to one; map_device() adds more.
 */
#include "entry.inc"
#include "start.h"

	.macro enter_long_mode
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx	/* EFER: LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000001, %eax	/* PG, PE */
	movl	%eax, %cr0
	.endm

	pvh_entry
	cld
	movl	$boot_stack_end, %esp
	movl	%ebx, start_info
	lgdt	gdt_pointer
	enter_long_mode
	ljmp	$SEL_CODE64, $start64

	.code64
start64:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	call	rt_main
	halt

/*
 * What SIPI starts: copied to AP_TRAMPOLINE, so addresses are relative to `ap_start`. Each processor takes
 * the next stack; C finds out who it is.
 */
	.globl	ap_start, ap_end
	.code16
ap_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	ap_gdt_pointer - ap_start
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $(AP_TRAMPOLINE + ap_32 - ap_start)
	.code32
ap_32:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	enter_long_mode
	ljmp	$SEL_CODE64, $ap_64
	.align	8
ap_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
ap_end:

	.code64
ap_64:
	movl	$1, %eax
	lock xaddl %eax, ap_started
	cmpl	$AP_MAX, %eax
	jae	1f
	movl	%eax, %edi		/* which one: the argument of ap_main */
	incl	%eax
	shll	$AP_STACK_SHIFT, %eax
	leal	ap_stacks(%eax), %esp
	call	ap_main
1:	halt

/* Interrupts: every stub leaves struct rt_frame on the stack. */
	.globl	isr_stubs
	.align	16
isr_stubs:
	vector = 0
	.rept	256
	.align	16
	.if	vector != 8 && (vector < 10 || vector > 14) && vector != 17
	pushq	$0
	.endif
	pushq	$vector
	jmp	isr_common
	vector = vector + 1
	.endr

isr_common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	cld
	call	rt_interrupt
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbp
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.section .rodata
	.align	8
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* SEL_CODE64 */
	.quad	0x00cf93000000ffff	/* SEL_DATA */
	.quad	0x00cf9b000000ffff	/* SEL_CODE32 */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt

	.data
	.globl	start_info, ap_started
	.align	4
start_info:
	.long	0
ap_started:
	.long	0

/* Page tables, ready-made: emulated ring 0 code is too slow to fill them at each start. */
	.align	4096
	.globl	pdpt
pml4:
	.quad	pdpt + 3
	.fill	511, 8, 0
pdpt:
	.quad	pd + 3, pd + 0x1003, pd + 0x2003, pd + 0x3003
	.fill	508, 8, 0
pd:
	address = 0
	.rept	2048
	.if	address < 0xc0000000
	.quad	address + 0x83		/* 2 MiB page, writable */
	.else
	.quad	address + 0x9b		/* the same, not cached: devices */
	.endif
	address = address + 0x200000
	.endr

	.bss
	.align	16
	.skip	16384
boot_stack_end:
ap_stacks:
	.skip	AP_MAX << AP_STACK_SHIFT
