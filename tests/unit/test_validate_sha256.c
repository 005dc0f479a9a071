/* SPDX-License-Identifier: MIT */
/*
 * `vmm validate`: SHA-256, with the examples of FIPS 180-2 and the sums of long and odd pieces.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "cli/validate.h"

static void sum_is(const void *data, size_t len, size_t piece, const char *wanted)
{
	const char *p = data;
	char text[SHA256_TEXT];
	struct sha256 sum;

	sha256_init(&sum);
	for (size_t n; len > 0; p += n, len -= n) {
		n = len < piece ? len : piece;
		sha256_add(&sum, p, n);
	}
	sha256_end(&sum, text);
	cr_assert_str_eq(text, wanted, "pieces of %zu: %s", piece, text);
}

Test(validate_sha256, known_answers)
{
	static const struct {
		const char *text, *sum;
	} cases[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
		 "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		 "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};

	for (size_t i = 0; i < CLI_COUNT(cases); i++) {
		size_t len = strlen(cases[i].text);

		for (size_t piece = 1; piece <= len + 1; piece++)
			sum_is(cases[i].text, len, piece, cases[i].sum);
	}
}

Test(validate_sha256, a_million_letters)
{
	static const size_t pieces[] = {1, 3, 55, 56, 63, 64, 65, 119, 1000, 65536, 1000000};
	static char data[1000000];

	memset(data, 'a', sizeof(data));
	for (size_t i = 0; i < CLI_COUNT(pieces); i++)
		sum_is(data, sizeof(data), pieces[i],
		       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Where the padding just fits into the last block, and where it no longer does. */
Test(validate_sha256, lengths_around_a_block)
{
	static const struct {
		size_t len;
		const char *sum;
	} cases[] = {
		{54, "ea659cdc838619b3767c057fdf8e6d99fde2680c5d8517eb06761c0878d40c40"},
		{55, "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"},
		{56, "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"},
		{63, "c7723fa1e0127975e49e62e753db53924c1bd84b8ac1ac08df78d09270f3d971"},
		{64, "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"},
		{65, "98ce42deef51d40269d542f5314bef2c7468d401ad5d85168bfab4c0108f75f7"},
		{119, "f616b0d54e78571a9611f343c9f8e022e859e920381ab0e4d3da01e193a7bd7e"},
		{120, "6edd9f6f9cc92cded36e6c4a580933f9c9f1b90562b46903b806f21902a1a54f"},
		{128, "38723a2e5e8a17aa7950dc008209944e898f69a7bd10a23c839d341e935fd5ca"},
	};
	static const char data[130];

	for (size_t i = 0; i < CLI_COUNT(cases); i++) {
		sum_is(data, cases[i].len, cases[i].len + 1, cases[i].sum);
		sum_is(data, cases[i].len, 7, cases[i].sum);
	}
}
