/* SPDX-License-Identifier: MIT */
#include "vmm/aml.h"

#include <assert.h>
#include <string.h>

/* ACPI 6.4, 20.2: opcodes. */
enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2e,
	OP_MULTI_NAME = 0x2f,
	OP_EXTENDED = 0x5b,
	OP_LOCAL0 = 0x60,
	OP_ARG0 = 0x68,
	OP_IF = 0xa0,
	OP_ELSE = 0xa1,
	EXT_OPERATION_REGION = 0x80,
	EXT_FIELD = 0x81,
	EXT_DEVICE = 0x82,
};

#define REGION_SYSTEM_IO     1
#define FIELD_WRITE_AS_ZEROS (2 << 5)
#define METHOD_SERIALIZED    (1 << 3)
#define PACKAGE_LENGTH_BYTES 3
#define PACKAGE_LENGTH_MAX   (1u << 20)
#define SEGMENT              4 /* characters of a name segment */

/* ACPI 6.4, section 6.4.3.5: address space descriptors. */
#define WINDOW_MEMORY     0
#define WINDOW_IO         1
#define WINDOW_BUS        2
#define WINDOW_FIXED      0x0c /* minimum and maximum are fixed; producer, positive decode */
#define IO_ENTIRE_RANGE   3
#define MEMORY_READ_WRITE 1
#define MEMORY_CACHEABLE  (1 << 1)

void aml_init(struct aml *aml, void *data, size_t size)
{
	*aml = (struct aml){.data = data, .size = size};
}

void aml_bytes(struct aml *aml, const void *data, size_t len)
{
	if (len > aml->size - aml->len) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->data + aml->len, data, len);
	aml->len += len;
}

void aml_u8(struct aml *aml, uint8_t v)
{
	aml_bytes(aml, &v, sizeof(v));
}

void aml_u16(struct aml *aml, uint16_t v)
{
	aml_bytes(aml, &v, sizeof(v));
}

void aml_u32(struct aml *aml, uint32_t v)
{
	aml_bytes(aml, &v, sizeof(v));
}

void aml_u64(struct aml *aml, uint64_t v)
{
	aml_bytes(aml, &v, sizeof(v));
}

/* ---- operands ---- */

/* A segment ends at '.' or at the end; short ones are padded with '_'. */
static const char *put_segment(struct aml *aml, const char *from)
{
	char segment[SEGMENT];
	size_t len = strcspn(from, ".");

	assert(len >= 1 && len <= SEGMENT);
	memset(segment, '_', sizeof(segment));
	memcpy(segment, from, len);
	aml_bytes(aml, segment, sizeof(segment));
	from += len;
	return *from == '.' ? from + 1 : from;
}

/* ACPI 6.4, 20.2.2: NameString. */
void aml_path(struct aml *aml, const char *path)
{
	unsigned segments = 1;

	if (*path == '\\') {
		aml_u8(aml, '\\');
		path++;
	}
	for (const char *dot = path; (dot = strchr(dot, '.')); dot++)
		segments++;
	if (segments == 2)
		aml_u8(aml, OP_DUAL_NAME);
	if (segments > 2) {
		aml_u8(aml, OP_MULTI_NAME);
		aml_u8(aml, (uint8_t)segments);
	}
	while (*path)
		path = put_segment(aml, path);
}

void aml_integer(struct aml *aml, uint64_t v)
{
	if (v <= 1) {
		aml_u8(aml, v ? OP_ONE : OP_ZERO);
	} else if (v <= UINT8_MAX) {
		aml_u8(aml, OP_BYTE);
		aml_u8(aml, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		aml_u8(aml, OP_WORD);
		aml_u16(aml, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		aml_u8(aml, OP_DWORD);
		aml_u32(aml, (uint32_t)v);
	} else {
		aml_u8(aml, OP_QWORD);
		aml_u64(aml, v);
	}
}

void aml_local(struct aml *aml, unsigned n)
{
	aml_u8(aml, (uint8_t)(OP_LOCAL0 + n));
}

void aml_arg(struct aml *aml, unsigned n)
{
	aml_u8(aml, (uint8_t)(OP_ARG0 + n));
}

void aml_no_target(struct aml *aml)
{
	aml_u8(aml, OP_ZERO);
}

void aml_op(struct aml *aml, enum aml_operator op)
{
	aml_u8(aml, (uint8_t)op);
}

/* ---- bodies ---- */

/* Leave room for the length, which aml_end fills in. */
static void begin(struct aml *aml)
{
	static const uint8_t room[PACKAGE_LENGTH_BYTES];

	assert(aml->depth < AML_MAX_DEPTH);
	aml->open[aml->depth++] = aml->len;
	aml_bytes(aml, room, sizeof(room));
}

/*
 * ACPI 6.4, 20.2.4: PkgLength counts itself. Three bytes always: the first says that two follow and
 * has the low 4 bits.
 */
void aml_end(struct aml *aml)
{
	size_t at, len;

	assert(aml->depth > 0);
	at = aml->open[--aml->depth];
	if (aml->overflow)
		return;
	len = aml->len - at;
	assert(len < PACKAGE_LENGTH_MAX);
	aml->data[at] = (uint8_t)(0x80 | (len & 0xf));
	aml->data[at + 1] = (uint8_t)(len >> 4);
	aml->data[at + 2] = (uint8_t)(len >> 12);
}

void aml_scope(struct aml *aml, const char *path)
{
	aml_u8(aml, OP_SCOPE);
	begin(aml);
	aml_path(aml, path);
}

void aml_device(struct aml *aml, const char *name)
{
	aml_u8(aml, OP_EXTENDED);
	aml_u8(aml, EXT_DEVICE);
	begin(aml);
	aml_path(aml, name);
}

void aml_method(struct aml *aml, const char *name, unsigned args, bool serialized)
{
	aml_u8(aml, OP_METHOD);
	begin(aml);
	aml_path(aml, name);
	aml_u8(aml, (uint8_t)(args | (serialized ? METHOD_SERIALIZED : 0)));
}

void aml_package(struct aml *aml, uint8_t elements)
{
	aml_u8(aml, OP_PACKAGE);
	begin(aml);
	aml_u8(aml, elements);
}

void aml_if(struct aml *aml)
{
	aml_u8(aml, OP_IF);
	begin(aml);
}

void aml_else(struct aml *aml)
{
	aml_u8(aml, OP_ELSE);
	begin(aml);
}

void aml_buffer(struct aml *aml, const void *data, uint8_t len)
{
	aml_u8(aml, OP_BUFFER);
	begin(aml);
	aml_integer(aml, len);
	aml_bytes(aml, data, len);
	aml_end(aml);
}

/* ---- named objects ---- */

void aml_name(struct aml *aml, const char *name)
{
	aml_u8(aml, OP_NAME);
	aml_path(aml, name);
}

void aml_name_integer(struct aml *aml, const char *name, uint64_t v)
{
	aml_name(aml, name);
	aml_integer(aml, v);
}

void aml_name_string(struct aml *aml, const char *name, const char *text)
{
	aml_name(aml, name);
	aml_u8(aml, OP_STRING);
	aml_bytes(aml, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* ACPI 6.4, 19.3.4: three letters of 5 bits and four hexadecimal digits, most significant first. */
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id)
{
	uint32_t v = 0;

	assert(strlen(id) == 7);
	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | (uint32_t)(id[i] - 0x40);
	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	aml_name_integer(aml, name, __builtin_bswap32(v));
}

void aml_operation_region_io(struct aml *aml, const char *name, uint64_t port, uint64_t size)
{
	aml_u8(aml, OP_EXTENDED);
	aml_u8(aml, EXT_OPERATION_REGION);
	aml_path(aml, name);
	aml_u8(aml, REGION_SYSTEM_IO);
	aml_integer(aml, port);
	aml_integer(aml, size);
}

void aml_field_register(struct aml *aml, const char *region, const char *name, unsigned bytes)
{
	/* Access types: 1 byte, 2 word, 3 dword (ACPI 6.4, 19.6.48). */
	unsigned access = bytes == 4 ? 3 : bytes;

	aml_u8(aml, OP_EXTENDED);
	aml_u8(aml, EXT_FIELD);
	begin(aml);
	aml_path(aml, region);
	aml_u8(aml, (uint8_t)(access | FIELD_WRITE_AS_ZEROS));
	aml_path(aml, name);
	aml_u8(aml, (uint8_t)(bytes * 8)); /* a PkgLength of one byte */
	aml_end(aml);
}

/* ---- resources ---- */

void aml_crs_begin(struct aml *aml)
{
	aml_name(aml, "_CRS");
	aml_u8(aml, OP_BUFFER);
	begin(aml);
	aml_u8(aml, OP_WORD);
	aml->buffer_size = aml->len;
	aml_u16(aml, 0);
}

void aml_crs_end(struct aml *aml)
{
	uint16_t size;

	aml_u8(aml, 0x79); /* end tag (6.4.2.9); checksum 0: do not check */
	aml_u8(aml, 0);
	if (!aml->overflow) {
		size = (uint16_t)(aml->len - aml->buffer_size - sizeof(size));
		memcpy(aml->data + aml->buffer_size, &size, sizeof(size));
	}
	aml_end(aml);
}

void aml_io(struct aml *aml, uint16_t port, uint8_t len)
{
	aml_u8(aml, 0x47); /* 6.4.2.5 */
	aml_u8(aml, 1);    /* decodes 16 bits */
	aml_u16(aml, port);
	aml_u16(aml, port);
	aml_u8(aml, 1); /* alignment */
	aml_u8(aml, len);
}

void aml_interrupt(struct aml *aml, uint32_t gsi, bool edge)
{
	aml_u8(aml, 0x89); /* 6.4.3.6 */
	aml_u16(aml, 6);
	aml_u8(aml, (uint8_t)(1 | (edge ? 2 : 0))); /* consumer */
	aml_u8(aml, 1);                             /* one interrupt */
	aml_u32(aml, gsi);
}

void aml_memory32(struct aml *aml, uint32_t base, uint32_t len)
{
	aml_u8(aml, 0x86); /* 6.4.3.4 */
	aml_u16(aml, 9);
	aml_u8(aml, MEMORY_READ_WRITE);
	aml_u32(aml, base);
	aml_u32(aml, len);
}

/* The head that the address space descriptors share. width: bytes of each of the 5 numbers. */
static void window_head(struct aml *aml, uint8_t tag, unsigned width, uint8_t type, uint8_t flags)
{
	aml_u8(aml, tag);
	aml_u16(aml, (uint16_t)(3 + 5 * width));
	aml_u8(aml, type);
	aml_u8(aml, WINDOW_FIXED);
	aml_u8(aml, flags);
}

static void window_word(struct aml *aml, uint8_t type, uint8_t flags, uint16_t base, uint16_t len)
{
	window_head(aml, 0x88, sizeof(uint16_t), type, flags);
	aml_u16(aml, 0); /* granularity */
	aml_u16(aml, base);
	aml_u16(aml, (uint16_t)(base + len - 1));
	aml_u16(aml, 0); /* translation */
	aml_u16(aml, len);
}

void aml_window_bus(struct aml *aml, uint16_t first, uint16_t last)
{
	window_word(aml, WINDOW_BUS, 0, first, (uint16_t)(last - first + 1));
}

void aml_window_io(struct aml *aml, uint16_t base, uint16_t len)
{
	window_word(aml, WINDOW_IO, IO_ENTIRE_RANGE, base, len);
}

void aml_window_memory32(struct aml *aml, uint32_t base, uint32_t len)
{
	window_head(aml, 0x87, sizeof(uint32_t), WINDOW_MEMORY, MEMORY_READ_WRITE);
	aml_u32(aml, 0);
	aml_u32(aml, base);
	aml_u32(aml, base + len - 1);
	aml_u32(aml, 0);
	aml_u32(aml, len);
}

void aml_window_memory64(struct aml *aml, uint64_t base, uint64_t len)
{
	window_head(aml, 0x8a, sizeof(uint64_t), WINDOW_MEMORY,
		    MEMORY_READ_WRITE | MEMORY_CACHEABLE);
	aml_u64(aml, 0);
	aml_u64(aml, base);
	aml_u64(aml, base + len - 1);
	aml_u64(aml, 0);
	aml_u64(aml, len);
}
