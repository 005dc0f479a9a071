/* SPDX-License-Identifier: MIT */
/*
 * Writing AML, the byte code of ACPI's DSDT (ACPI 6.4, chapter 20) and its resource descriptors
 * (6.4, section 6.4). A function here writes one term; what has a body is opened by its function
 * and closed by aml_end. The functions are named as the terms are in ASL.
 *
 * Nothing fails: what does not fit is dropped and `overflow` is set, for one check at the end.
 */
#ifndef VMM_AML_H
#define VMM_AML_H

#include "core/types.h"

#define AML_MAX_DEPTH 8

struct aml {
	uint8_t *data;
	size_t len, size;
	bool overflow;
	unsigned depth;
	size_t open[AML_MAX_DEPTH]; /* where the length of each open body is */
	size_t buffer_size;         /* where the size of the open resource template is */
};

/* data: size bytes, owned by the caller. */
void aml_init(struct aml *aml, void *data, size_t size);

/* Raw bytes, little-endian. */
void aml_bytes(struct aml *aml, const void *data, size_t len);
void aml_u8(struct aml *aml, uint8_t v);
void aml_u16(struct aml *aml, uint16_t v);
void aml_u32(struct aml *aml, uint32_t v);
void aml_u64(struct aml *aml, uint64_t v);

/* Operands. path: name segments of up to 4 characters, "PCI0", "\\_SB.PCI0". */
void aml_path(struct aml *aml, const char *path);
void aml_integer(struct aml *aml, uint64_t v);
void aml_local(struct aml *aml, unsigned n);
void aml_arg(struct aml *aml, unsigned n);

/* Bodies, closed by aml_end. */
void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *name);
void aml_method(struct aml *aml, const char *name, unsigned args, bool serialized);
void aml_package(struct aml *aml, uint8_t elements);
void aml_if(struct aml *aml); /* the predicate follows, then the body */
void aml_else(struct aml *aml);
void aml_end(struct aml *aml);

/* Named objects. aml_name: the object follows. */
void aml_name(struct aml *aml, const char *name);
void aml_name_integer(struct aml *aml, const char *name, uint64_t v);
void aml_name_string(struct aml *aml, const char *name, const char *text);
/* id: "PNP0501", in the compressed form of EISA. */
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id);
void aml_operation_region_io(struct aml *aml, const char *name, uint64_t port, uint64_t size);
/* One field that is the whole region. bytes: 1, 2 or 4: its width and the width of accesses. */
void aml_field_register(struct aml *aml, const char *region, const char *name, unsigned bytes);

/* Statements and operators; operands follow. */
enum aml_operator {
	AML_STORE = 0x70,  /* Store (source, target) */
	AML_AND = 0x7b,    /* And (a, b, target): aml_no_target if the result is used in place */
	AML_OR = 0x7d,     /* Or (a, b, target) */
	AML_NOTIFY = 0x86, /* Notify (object, value) */
	AML_CREATE_DWORD_FIELD = 0x8a, /* CreateDWordField (buffer, byte index, name) */
	AML_EQUAL = 0x93,              /* LEqual (a, b) */
	AML_RETURN = 0xa4,             /* Return (value) */
};
void aml_op(struct aml *aml, enum aml_operator op);
void aml_no_target(struct aml *aml);
void aml_buffer(struct aml *aml, const void *data, uint8_t len);

/* Name (_CRS, ResourceTemplate () { descriptors }). */
void aml_crs_begin(struct aml *aml);
void aml_crs_end(struct aml *aml);

/* Descriptors. Windows are what a bridge hands on (producer), the others what a device uses. */
void aml_io(struct aml *aml, uint16_t port, uint8_t len);
void aml_interrupt(struct aml *aml, uint32_t gsi, bool edge); /* active high, exclusive */
void aml_memory32(struct aml *aml, uint32_t base, uint32_t len);
void aml_window_bus(struct aml *aml, uint16_t first, uint16_t last);
void aml_window_io(struct aml *aml, uint16_t base, uint16_t len);
void aml_window_memory32(struct aml *aml, uint32_t base, uint32_t len);
void aml_window_memory64(struct aml *aml, uint64_t base, uint64_t len);

#endif
