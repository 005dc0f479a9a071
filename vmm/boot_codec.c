/* SPDX-License-Identifier: MIT */
/*
 * The compressions of Linux kernels, as far as the build found their libraries. Memory that a
 * stream asks for is bounded by WINDOW_MAX: `zstd --ultra -22`, which kernels use, needs 128 MiB of
 * window (of which no more is touched than the kernel is long), xz 32 MiB.
 */
#include <errno.h>
#include <stdlib.h>

#ifdef CONFIG_ZLIB
#include <zlib.h>
#endif
#ifdef CONFIG_LIBLZMA
#include <lzma.h>
#endif
#ifdef CONFIG_LIBZSTD
#include <zstd.h>
#endif
#ifdef CONFIG_LIBLZ4
#include <lz4.h>
#endif

#include "vmm/boot_internal.h"

#define WINDOW_LOG_MAX 27
#define WINDOW_MAX     (UINT64_C(1) << WINDOW_LOG_MAX)

#ifdef CONFIG_ZLIB
static void *gzip_open(void)
{
	z_stream *z = calloc(1, sizeof(*z));

	if (z && inflateInit2(z, 16 + MAX_WBITS) != Z_OK) { /* 16: with gzip's header */
		free(z);
		z = NULL;
	}
	return z;
}

static int gzip_code(void *state, const uint8_t *in, size_t *in_len, uint8_t *out, size_t *out_len)
{
	z_stream *z = state;
	int ret;

	/* The caller's buffers are far below 4 GiB but for hostile segments. */
	*out_len = MIN(*out_len, (size_t)(1u << 30));
	z->next_in = (z_const Bytef *)in;
	z->avail_in = (uInt)*in_len;
	z->next_out = out;
	z->avail_out = (uInt)*out_len;
	ret = inflate(z, Z_NO_FLUSH);
	*in_len -= z->avail_in;
	*out_len -= z->avail_out;
	if (ret == Z_STREAM_END)
		return 1;
	/* Z_BUF_ERROR: no progress was possible; the caller sees that too. */
	return ret == Z_OK || ret == Z_BUF_ERROR ? 0 : -EINVAL;
}

static void gzip_close(void *state)
{
	inflateEnd(state);
	free(state);
}

static const struct boot_codec gzip = {
	.name = "gzip",
	.magic = {0x1f, 0x8b, 0x08},
	.magic_len = 3,
	.open = gzip_open,
	.code = gzip_code,
	.close = gzip_close,
};
#endif

#ifdef CONFIG_LIBLZMA
static void *xz_open(void)
{
	static const lzma_stream initial = LZMA_STREAM_INIT;
	lzma_stream *xz = malloc(sizeof(*xz));

	if (!xz)
		return NULL;
	*xz = initial;
	if (lzma_stream_decoder(xz, WINDOW_MAX, 0) != LZMA_OK) {
		free(xz);
		xz = NULL;
	}
	return xz;
}

static int xz_code(void *state, const uint8_t *in, size_t *in_len, uint8_t *out, size_t *out_len)
{
	lzma_stream *xz = state;
	lzma_ret ret;

	xz->next_in = in;
	xz->avail_in = *in_len;
	xz->next_out = out;
	xz->avail_out = *out_len;
	ret = lzma_code(xz, LZMA_RUN);
	*in_len -= xz->avail_in;
	*out_len -= xz->avail_out;
	if (ret == LZMA_STREAM_END)
		return 1;
	return ret == LZMA_OK || ret == LZMA_BUF_ERROR ? 0 : -EINVAL;
}

static void xz_close(void *state)
{
	lzma_end(state);
	free(state);
}

static const struct boot_codec xz = {
	.name = "xz",
	.magic = {0xfd, '7', 'z', 'X', 'Z', 0x00},
	.magic_len = 6,
	.open = xz_open,
	.code = xz_code,
	.close = xz_close,
};
#endif

#ifdef CONFIG_LIBZSTD
static void *zstd_open(void)
{
	ZSTD_DCtx *ctx = ZSTD_createDCtx();

	if (ctx && ZSTD_isError(ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
		ZSTD_freeDCtx(ctx);
		ctx = NULL;
	}
	return ctx;
}

static int zstd_code(void *state, const uint8_t *in, size_t *in_len, uint8_t *out, size_t *out_len)
{
	ZSTD_inBuffer from = {in, *in_len, 0};
	ZSTD_outBuffer to = {out, *out_len, 0};
	size_t ret = ZSTD_decompressStream(state, &to, &from);

	*in_len = from.pos;
	*out_len = to.pos;
	if (ZSTD_isError(ret))
		return -EINVAL;
	return ret == 0 ? 1 : 0;
}

static void zstd_close(void *state)
{
	ZSTD_freeDCtx(state);
}

static const struct boot_codec zstd = {
	.name = "zstd",
	.magic = {0x28, 0xb5, 0x2f, 0xfd},
	.magic_len = 4,
	.open = zstd_open,
	.code = zstd_code,
	.close = zstd_close,
};
#endif

const struct boot_codec *const boot_codecs[] = {
#ifdef CONFIG_ZLIB
	&gzip,
#endif
#ifdef CONFIG_LIBLZMA
	&xz,
#endif
#ifdef CONFIG_LIBZSTD
	&zstd,
#endif
	NULL,
};

#ifdef CONFIG_LIBLZ4
/* LZ4's legacy frame: a magic number, then blocks of a length and that many bytes, each of which
 * unpacks to LZ4_BLOCK but for the last. */
#define LZ4_BLOCK ((int)(8 * MIB))
#define LZ4_MAGIC 4u

/* Unpack one block, in place if the sink has room for a whole one, else through `bounce`. */
static int unlz4_block(const char *in, int in_len, char *bounce, struct boot_sink *sink)
{
	size_t space;
	char *out = (char *)boot_sink_space(sink, &space);
	bool direct = space >= (size_t)LZ4_BLOCK;
	int n;

	n = LZ4_decompress_safe(in, direct ? out : bounce, in_len, LZ4_BLOCK);
	if (n <= 0) {
		sink->why = "its data is damaged";
		return -EINVAL;
	}
	return direct ? boot_sink_advance(sink, (size_t)n)
		      : boot_sink_write(sink, bounce, (size_t)n);
}

static int unlz4_blocks(const struct boot_file *file, uint64_t offset, uint64_t size, char *in,
			char *bounce, struct boot_sink *sink)
{
	while (size > 0) {
		uint32_t len;
		int ret = boot_file_read(file, offset, &len, sizeof(len));

		if (ret < 0)
			return ret;
		if (size < sizeof(len) || len > size - sizeof(len) ||
		    len > (uint32_t)LZ4_compressBound(LZ4_BLOCK)) {
			sink->why = "its data is damaged";
			return -EINVAL;
		}
		ret = boot_file_read(file, offset + sizeof(len), in, len);
		if (ret == 0)
			ret = unlz4_block(in, (int)len, bounce, sink);
		if (ret < 0)
			return ret;
		offset += sizeof(len) + len;
		size -= sizeof(len) + len;
	}
	return 0;
}

int boot_unlz4(const struct boot_file *file, uint64_t offset, uint64_t in_size,
	       struct boot_sink *sink)
{
	char *in = malloc((size_t)LZ4_compressBound(LZ4_BLOCK));
	char *bounce = malloc((size_t)LZ4_BLOCK);
	int ret = -ENOMEM;

	if (in && bounce)
		ret = unlz4_blocks(file, offset + LZ4_MAGIC, in_size - LZ4_MAGIC, in, bounce, sink);
	free(in);
	free(bounce);
	return ret;
}
#endif
