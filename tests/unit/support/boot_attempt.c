/* SPDX-License-Identifier: MIT */
#include "boot_attempt.h"

#include <string.h>
#include <unistd.h>

void attempt_begin(struct attempt *a, const void *image, size_t size, uint64_t ram)
{
	uint64_t low = MIN(ram, X86_LOW_RAM_END);

	memset(a, 0, sizeof(*a));
	cr_assert_eq(guest_memory_create(&a->memory, NULL), 0);
	cr_assert_eq(guest_memory_add(a->memory, gpa(0), low, 0, NULL), 0);
	if (ram > low)
		cr_assert_eq(
			guest_memory_add(a->memory, gpa(X86_HIGH_RAM_START), ram - low, 0, NULL),
			0);
	a->kernel_fd = image_file(image, size, a->kernel_path);
}

int attempt_open(struct attempt *a, const char *cmdline, const char *const *initrds,
		 bool guest_unpacks)
{
	const struct boot_config config = {.kernel = a->kernel_path,
					   .cmdline = cmdline,
					   .initrds = initrds,
					   .guest_unpacks = guest_unpacks,
					   .memory = a->memory};

	return boot_open(&a->boot, &config, &a->err);
}

int attempt_load(struct attempt *a)
{
	return boot_load(a->boot, a->memory, gpa(ATTEMPT_RSDP), &a->entry, &a->err);
}

void attempt_end(struct attempt *a)
{
	boot_close(a->boot);
	guest_memory_destroy(a->memory);
	close(a->kernel_fd);
}

void attempt_says(const struct attempt *a, const char *const *words)
{
	cr_assert_neq(a->err.code, 0);
	for (; *words; words++)
		cr_assert(strstr(a->err.message, *words), "\"%s\" lacks \"%s\"", a->err.message,
			  *words);
}

void attempt_peek(const struct attempt *a, uint64_t addr, void *to, size_t len)
{
	cr_assert_eq(guest_read(a->memory, gpa(addr), to, len), 0);
}

void attempt_zero_page(const struct attempt *a, struct boot_params *params)
{
	attempt_peek(a, a->entry.rsi, params, sizeof(*params));
}

void attempt_assert_segments(const struct attempt *a)
{
	static uint8_t text[IMAGE_TEXT_SIZE], data[IMAGE_DATA_SIZE + IMAGE_BSS_SIZE];

	attempt_peek(a, IMAGE_TEXT_ADDR, text, sizeof(text));
	for (unsigned i = 0; i < sizeof(text); i++)
		cr_assert_eq(text[i], image_byte(IMAGE_TEXT_OFFSET + i), "text at %#x", i);
	attempt_peek(a, IMAGE_DATA_ADDR, data, sizeof(data));
	for (unsigned i = 0; i < sizeof(data); i++)
		cr_assert_eq(data[i], i < IMAGE_DATA_SIZE ? image_byte(IMAGE_DATA_OFFSET + i) : 0,
			     "data at %#x", i);
}

void attempt_refused(const void *image, size_t size, const char *word)
{
	struct attempt a;

	attempt_begin(&a, image, size, 64 * MIB);
	cr_assert_lt(attempt_open(&a, NULL, NULL, false), 0);
	SAYS(&a, word, a.kernel_path);
	attempt_end(&a);
}
