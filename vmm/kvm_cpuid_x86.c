/* SPDX-License-Identifier: MIT */
/*
 * The CPUID of a vCPU: what KVM supports, with the parts that describe this vCPU and an honest
 * topology filled in: one package, as many cores as vCPUs, one thread each. The template came from
 * one physical CPU, so every leaf that says "where am I" is rewritten.
 *
 * References: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E.
 */
#include "vmm/kvm_internal.h"

#include <stdlib.h>
#include <string.h>

#define LEAF1_ECX_MONITOR      (1u << 3)
#define LEAF1_ECX_X2APIC       (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT          (1u << 28)
#define LEAF81_ECX_CMP_LEGACY  (1u << 1)

/* Leaf 0, EBX: the start of "AuthenticAMD" and "HygonGenuine". */
#define VENDOR_AMD   0x68747541u
#define VENDOR_HYGON 0x6f677948u

#define LEVEL_SMT  1u
#define LEVEL_CORE 2u

/* Bits of the APIC id that number the cores of the package. */
static unsigned core_bits(unsigned cpus)
{
	unsigned bits = 0;

	while ((1u << bits) < cpus)
		bits++;
	return bits;
}

static void leaf_1(struct kvm_cpuid_entry2 *e, unsigned index, unsigned cpus)
{
	unsigned count = cpus > 255 ? 255 : cpus;

	e->ebx = (e->ebx & 0x0000ffff) | (count << 16) | (index << 24);
	/* MWAIT would exit or hold a host CPU: the guest idles with HLT. */
	e->ecx &= ~LEAF1_ECX_MONITOR;
	e->ecx |= LEAF1_ECX_X2APIC | LEAF1_ECX_HYPERVISOR;
	e->edx &= ~LEAF1_EDX_HTT;
	if (cpus > 1)
		e->edx |= LEAF1_EDX_HTT;
}

/*
 * Deterministic cache parameters (leaf 4, and 8000001Dh on AMD): caches up to level 2 belong to one
 * core, the last level is shared by all.
 */
static void leaf_cache(struct kvm_cpuid_entry2 *e, unsigned cpus, bool intel)
{
	unsigned type = e->eax & 0x1f, level = (e->eax >> 5) & 7;

	if (type == 0)
		return;

	unsigned sharing = level >= 3 ? (1u << core_bits(cpus)) - 1 : 0;
	unsigned cores = (1u << core_bits(cpus)) - 1;

	e->eax = (e->eax & 0x3fff) | (sharing << 14);
	if (intel)
		e->eax |= (cores > 63 ? 63 : cores) << 26;
}

/* Extended topology (leaves Bh and 1Fh), one entry for each level. */
static void leaf_topology(struct kvm_cpuid_entry2 *e, unsigned index, unsigned cpus)
{
	e->ecx = e->index & 0xff;
	e->edx = index;
	e->eax = e->ebx = 0;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= LEVEL_SMT << 8;
	} else if (e->index == 1) {
		e->eax = core_bits(cpus);
		e->ebx = cpus;
		e->ecx |= LEVEL_CORE << 8;
	}
}

/* On Intel these bits are reserved. */
static void leaf_amd_sizes(struct kvm_cpuid_entry2 *e, unsigned cpus)
{
	e->ecx = (e->ecx & ~0xf0ffu) | (cpus > 256 ? 255 : cpus - 1) | (core_bits(cpus) << 12);
}

static void leaf_amd_topology(struct kvm_cpuid_entry2 *e, unsigned index)
{
	e->eax = index;        /* extended APIC id */
	e->ebx = index & 0xff; /* core id; one thread a core */
	e->ecx = 0;            /* node 0, one node */
}

/* The guest is not one with encrypted memory, whatever the host can do. */
static void leaf_amd_encryption(struct kvm_cpuid_entry2 *e)
{
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

static void fill(struct kvm_cpuid_entry2 *e, unsigned index, unsigned cpus, bool amd)
{
	switch (e->function) {
	case 0x1:
		leaf_1(e, index, cpus);
		break;
	case 0x4:
		leaf_cache(e, cpus, true);
		break;
	case 0xb:
	case 0x1f:
		leaf_topology(e, index, cpus);
		break;
	case 0x80000001:
		e->ecx &= ~LEAF81_ECX_CMP_LEGACY;
		if (amd && cpus > 1)
			e->ecx |= LEAF81_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		if (amd)
			leaf_amd_sizes(e, cpus);
		break;
	case 0x8000001d:
		leaf_cache(e, cpus, false);
		break;
	case 0x8000001e:
		leaf_amd_topology(e, index);
		break;
	case 0x8000001f:
		leaf_amd_encryption(e);
		break;
	default:
		break;
	}
}

static const struct kvm_cpuid_entry2 *find_leaf(const struct kvm_cpuid2 *cpuid, uint32_t function,
						uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

static bool is_amd(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *e = find_leaf(cpuid, 0, 0);

	return e && (e->ebx == VENDOR_AMD || e->ebx == VENDOR_HYGON);
}

uint64_t kvm_address_limit(const struct kvm_vm *vm)
{
	const struct kvm_cpuid_entry2 *e = find_leaf(vm->cpuid, 0x80000008, 0);
	unsigned bits = e ? e->eax & 0xff : 36;
	unsigned guest = e ? (e->eax >> 16) & 0xff : 0; /* 0: as many as the processor has */

	if (guest && guest < bits)
		bits = guest;
	return UINT64_C(1) << MIN(MAX(bits, 32u), 52u);
}

/* The levels that the template lacks: KVM gives level 0 alone where it leaves topology to us. */
static void add_levels(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	for (uint32_t level = 0; level < 3; level++) {
		if (find_leaf(cpuid, function, level) || cpuid->nent >= KVM_MAX_CPUIDS)
			continue;
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = level,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
	}
}

/* Leaf Bh exists on every x2APIC system; 1Fh, where it exists, is what kernels prefer. */
static void add_topology(struct kvm_cpuid2 *cpuid)
{
	add_levels(cpuid, 0xb);
	if (find_leaf(cpuid, 0x1f, 0))
		add_levels(cpuid, 0x1f);
}

struct kvm_cpuid2 *kvm_cpuid_for(const struct kvm_vm *vm, unsigned index)
{
	size_t size = sizeof(*vm->cpuid) + KVM_MAX_CPUIDS * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *cpuid = malloc(size);
	bool amd = is_amd(vm->cpuid);

	if (!cpuid)
		return NULL;
	memcpy(cpuid, vm->cpuid, size);
	add_topology(cpuid);
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 0 && e->eax < 0xb)
			e->eax = 0xb;
		if (e->function == 1 && vm->tsc_deadline)
			e->ecx |= LEAF1_ECX_TSC_DEADLINE;
		fill(e, index, vm->cpus, amd);
	}
	return cpuid;
}
