/* SPDX-License-Identifier: MIT */
/* Opening, locking and measuring an image file or block device. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "block/block.h"
#include "block/raw_file.h"

#define ALIGNMENT_MAX 65536u

static int open_error(int code, const char *path, bool writable, struct vmm_error *err)
{
	switch (code) {
	case EISDIR:
		return error_set(err, EISDIR, "'%s' is a directory, not an image or block device",
				 path);
	case EACCES:
	case EPERM:
	case EROFS:
		return error_set_errno(err, code, "cannot open '%s' for %s%s", path,
				       writable ? "writing" : "reading",
				       writable ? " (readonly=on or snapshot=on only read it)"
						: "");
	default:
		return error_set_errno(err, code, "cannot open '%s'", path);
	}
}

static int no_direct(const char *path, struct vmm_error *err)
{
	return error_set(err, EINVAL,
			 "cache=none: the file system of '%s' has no O_DIRECT; use cache=writeback",
			 path);
}

/*
 * O_NONBLOCK only so that a FIFO given by mistake does not hang the caller; it goes again, as
 * io_uring would take it as a wish for -EAGAIN.
 */
static int file_open(struct raw_file *file, const char *path, struct vmm_error *err)
{
	int flags = (file->writable ? O_RDWR : O_RDONLY) | (file->direct ? O_DIRECT : 0);

	file->fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0) {
		int code = errno;

		if (code == EINVAL && file->direct)
			return no_direct(path, err);
		return open_error(code, path, file->writable, err);
	}
	if (fcntl(file->fd, F_SETFL, flags) < 0)
		return error_set_errno(err, errno, "cannot set the flags of '%s'", path);
	return 0;
}

/* OFD locks belong to the open file: two opens in one process conflict as well. */
static int file_lock(const struct raw_file *file, const char *what, const char *path,
		     const struct log *log, struct vmm_error *err)
{
	struct flock lock = {.l_type = file->writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
	char holder[64] = "another VM (or another disk of this one)";

	if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES) {
		/* Some network file systems have no locks: worth a word, not a failure. */
		log_warn(log, what, "cannot lock '%s': %s", path, strerror(errno));
		return 0;
	}
	lock.l_pid = 0;
	if (fcntl(file->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0)
		snprintf(holder, sizeof(holder), "process %d", (int)lock.l_pid);
	return error_set(err, EAGAIN, "'%s' is locked by %s%s", path, holder,
			 file->writable ? "" : ", which writes to it");
}

/* Read one number from the block device's queue directory in sysfs. A partition's is its disk's. */
static bool queue_attribute(dev_t dev, const char *name, uint64_t *value)
{
	static const char *const places[] = {"queue", "../queue"};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		char path[128];

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev),
			 places[i], name);
		FILE *f = fopen(path, "re");

		if (!f)
			continue;
		bool ok = fscanf(f, "%" SCNu64, value) == 1;

		fclose(f);
		return ok;
	}
	return false;
}

static uint32_t clamp_size(uint64_t v)
{
	return is_power_of_two(v) && v >= BLOCK_SECTOR_SIZE && v <= ALIGNMENT_MAX
		       ? (uint32_t)v
		       : BLOCK_SECTOR_SIZE;
}

static int measure_device(struct raw_file *file, const struct stat *st, const char *path,
			  struct vmm_error *err)
{
	int sector = BLOCK_SECTOR_SIZE;
	unsigned physical = 0, optimal = 0;
	uint64_t granularity = 0, max = 0;

	if (ioctl(file->fd, BLKGETSIZE64, &file->size) < 0)
		return error_set_errno(err, errno, "cannot get the size of device '%s'", path);
	if (ioctl(file->fd, BLKSSZGET, &sector) < 0 || sector <= 0)
		sector = BLOCK_SECTOR_SIZE;
	if (ioctl(file->fd, BLKPBSZGET, &physical) < 0)
		physical = 0;
	if (ioctl(file->fd, BLKIOOPT, &optimal) < 0)
		optimal = 0;
	file->block_device = true;
	file->sector_size = clamp_size((uint64_t)sector);
	file->physical_size = MAX(clamp_size(physical), file->sector_size);
	file->optimal_io_size = optimal;
	file->fallocate_alignment = file->sector_size;
	/* A device punches holes by its own write-zeroes command; trying would destroy data. */
	file->can_punch = !queue_attribute(st->st_rdev, "write_zeroes_max_bytes", &max) || max > 0;
	if (!queue_attribute(st->st_rdev, "discard_granularity", &granularity) ||
	    granularity > UINT32_MAX)
		granularity = 0;
	file->discard_alignment = MAX((uint32_t)granularity, file->sector_size);
	return 0;
}

/* Only these take a buffered write with RWF_NOWAIT. */
static bool buffered_writes_wait(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ||
	       (fs.f_type != XFS_SUPER_MAGIC && fs.f_type != BTRFS_SUPER_MAGIC);
}

static void measure_file(struct raw_file *file, const struct stat *st)
{
	const uint64_t block = clamp_size(MIN((uint64_t)st->st_blksize, UINT64_C(4096)));

	file->dev = st->st_dev;
	file->empty = st->st_blocks == 0;
	file->size = (uint64_t)st->st_size;
	file->sector_size = BLOCK_SECTOR_SIZE;
	file->physical_size = (uint32_t)block;
	file->discard_alignment = (uint32_t)block;
	file->fallocate_alignment = 1;
}

/* Beyond the end there is nothing to lose, and the answer is the same. */
static bool try_punch(const struct raw_file *file)
{
	return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)align_up(file->size, 4096), 4096) == 0;
}

void raw_file_probe(struct raw_file *file, struct block_file_system *fs)
{
	if (file->block_device || !file->writable)
		return;
	if (!fs->known || fs->dev != file->dev)
		*fs = (struct block_file_system){
			.known = true,
			.dev = file->dev,
			.writes_wait = buffered_writes_wait(file->fd),
		};
	if (!fs->can_punch)
		fs->can_punch = try_punch(file);
	file->writes_wait = !file->direct && fs->writes_wait;
	file->can_punch = fs->can_punch;
}

static int measure(struct raw_file *file, const char *path, struct vmm_error *err)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "cannot examine '%s'", path);
	if (S_ISDIR(st.st_mode))
		return open_error(EISDIR, path, file->writable, err);
	if (S_ISBLK(st.st_mode)) {
		int r = measure_device(file, &st, path, err);

		if (r < 0)
			return r;
	} else if (S_ISREG(st.st_mode)) {
		measure_file(file, &st);
	} else {
		return error_set(err, EINVAL, "'%s' is neither a file nor a block device", path);
	}
	if (file->size == 0)
		return error_set(err, EINVAL, "'%s' is empty; set its size with truncate -s SIZE",
				 path);
	return 0;
}

/* True when the kernel knows the alignment; zero alignment means that there is no O_DIRECT. */
static bool direct_from_statx(struct raw_file *file)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		file->memory_alignment = stx.stx_dio_mem_align;
		file->offset_alignment = stx.stx_dio_offset_align;
		return true;
	}
#endif
	(void)file;
	return false;
}

/* Find by reading: the smallest unit that the kernel accepts. */
static void direct_by_probing(struct raw_file *file)
{
	void *buffer = aligned_alloc(ALIGNMENT_MAX, ALIGNMENT_MAX);

	file->offset_alignment = 0;
	for (uint32_t align = BLOCK_SECTOR_SIZE; buffer && align <= ALIGNMENT_MAX; align *= 2) {
		if (pread(file->fd, buffer, align, 0) >= 0 || errno != EINVAL) {
			file->offset_alignment = align;
			break;
		}
	}
	file->memory_alignment = file->offset_alignment;
	free(buffer);
}

static int measure_direct(struct raw_file *file, const char *path, struct vmm_error *err)
{
	struct statfs fs;

	/* tmpfs takes the flag in newer kernels and then uses the page cache, which is all it is.
	 */
	if (!file->block_device && fstatfs(file->fd, &fs) == 0 &&
	    (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
		return no_direct(path, err);
	if (!direct_from_statx(file))
		direct_by_probing(file);
	if (!is_power_of_two(file->memory_alignment) || !is_power_of_two(file->offset_alignment) ||
	    file->offset_alignment > ALIGNMENT_MAX || file->memory_alignment > ALIGNMENT_MAX)
		return no_direct(path, err);
	return 0;
}

int raw_file_open(struct raw_file *file, const char *what, const char *path, bool writable,
		  bool direct, const struct log *log, struct vmm_error *err)
{
	*file = (struct raw_file){.fd = -1, .writable = writable, .direct = direct};
	int r = file_open(file, path, err);

	if (r == 0)
		r = file_lock(file, what, path, log, err);
	/* Under the lock: who holds it may be changing the size. */
	if (r == 0)
		r = measure(file, path, err);
	if (r == 0 && direct)
		r = measure_direct(file, path, err);
	if (r < 0 && file->fd >= 0)
		close(file->fd);
	return r;
}

int raw_file_resize(struct raw_file *file, uint64_t size, struct vmm_error *err)
{
	struct stat st;
	uint64_t now;

	if (size && file->block_device)
		return error_set(
			err, EOPNOTSUPP,
			"it is a device: extend it on the host, then resize without size=");
	if (size && !file->writable)
		return error_set(err, EROFS, "it is read-only");
	if (size && ftruncate(file->fd, (off_t)size) < 0)
		return error_set_errno(err, errno, "cannot make it %" PRIu64 " bytes long", size);
	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "cannot examine it");
	now = (uint64_t)st.st_size;
	if (file->block_device && ioctl(file->fd, BLKGETSIZE64, &now) < 0)
		return error_set_errno(err, errno, "cannot get its size");
	if (file->direct)
		now = align_down(now, file->offset_alignment);
	if (now < file->sector_size)
		return error_set(err, EINVAL, "it is empty");
	file->size = now;
	return 0;
}

static int temporary_fd(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	/* A file system without O_TMPFILE. */
	int n = snprintf(path, sizeof(path), "%s/vmm-overlay-XXXXXX", dir);

	if (n < 0 || (size_t)n >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int raw_file_open_temporary(struct raw_file *file, uint64_t size, struct vmm_error *err)
{
	const char *dir = secure_getenv("TMPDIR");
	struct stat st;

	if (!dir || !*dir)
		dir = "/var/tmp";
	*file = (struct raw_file){.writable = true};
	file->fd = temporary_fd(dir);
	if (file->fd < 0)
		return error_set_errno(
			err, errno,
			"snapshot=on: cannot create a temporary file in '%s' (see TMPDIR)", dir);
	if (ftruncate(file->fd, (off_t)size) < 0 || fstat(file->fd, &st) < 0) {
		int r = error_set_errno(err, errno,
					"snapshot=on: cannot make a sparse file of %" PRIu64
					" bytes in '%s' (see TMPDIR)",
					size, dir);

		close(file->fd);
		return r;
	}
	measure_file(file, &st);
	return 0;
}
