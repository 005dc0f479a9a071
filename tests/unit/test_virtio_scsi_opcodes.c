/* SPDX-License-Identifier: MIT */
/*
 * REPORT SUPPORTED OPERATION CODES: what a unit says that it can do.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/support/scsi_fixture.h"

static struct scsi_fixture f;

static void setup(void)
{
	scsi_init(&f, NULL, NULL);
	scsi_start(&f, 1);
}

static void teardown(void)
{
	scsi_fini(&f);
}

TestSuite(virtio_scsi_opcodes, .init = setup, .fini = teardown, .timeout = 30);

static struct scsi_answer ask_opcode(uint8_t option, uint8_t opcode, uint16_t action, uint8_t *data)
{
	struct scsi_ask ask = {
		.cdb = {SCSI_MAINTENANCE_IN, SCSI_REPORT_SUPPORTED_OPCODES, option, opcode}};

	memset(data, 0, 512);
	put_be16(ask.cdb + 4, action);
	put_be32(ask.cdb + 6, 512);
	return scsi_get(&f, ask, data, 512);
}

static bool is_listed(uint8_t opcode)
{
	uint8_t data[512];
	bool found = false;

	scsi_assert_good(ask_opcode(0, 0, 0, data));
	for (unsigned i = 0; i < get_be32(data); i += 8)
		found = found || data[4 + i] == opcode;
	return found;
}

Test(virtio_scsi_opcodes, supported_commands_are_listed)
{
	uint8_t data[512];

	cr_assert(is_listed(SCSI_WRITE_SAME_16));
	cr_assert(is_listed(SCSI_UNMAP));
	cr_assert_not(is_listed(0xd7));
	scsi_assert_good(ask_opcode(1, SCSI_WRITE_SAME_16, 0, data));
	cr_assert_eq(data[1] & 7, 3);
	scsi_assert_good(ask_opcode(1, 0xd7, 0, data));
	cr_assert_eq(data[1] & 7, 1);
}

Test(virtio_scsi_opcodes, commands_are_asked_for_as_they_are)
{
	uint8_t data[512];

	/* With service actions or without: who asks for the other kind is told so. */
	scsi_assert_sense(ask_opcode(1, SCSI_SERVICE_ACTION_IN_16, 0, data), SENSE_INVALID_FIELD);
	scsi_assert_sense(ask_opcode(2, SCSI_READ_10, 0, data), SENSE_INVALID_FIELD);
	for (uint8_t option = 2; option <= 3; option++) {
		scsi_assert_good(
			ask_opcode(option, SCSI_SERVICE_ACTION_IN_16, SCSI_READ_CAPACITY_16, data));
		cr_assert_eq(data[1] & 7, 3, "option %u", option);
		cr_assert_eq(data[5] & 0x1f, SCSI_READ_CAPACITY_16);
		scsi_assert_good(ask_opcode(option, SCSI_PERSISTENT_RESERVE_OUT, 6, data));
		cr_assert_eq(data[1] & 7, 3, "option %u", option);
		scsi_assert_good(ask_opcode(option, SCSI_PERSISTENT_RESERVE_OUT, 7, data));
		cr_assert_eq(data[1] & 7, 1, "option %u", option);
		scsi_assert_good(ask_opcode(option, SCSI_SERVICE_ACTION_IN_16,
					    0x100 | SCSI_READ_CAPACITY_16, data));
		cr_assert_eq(data[1] & 7, 1, "option %u", option);
	}
	scsi_assert_good(ask_opcode(3, SCSI_READ_10, 0, data));
	cr_assert_eq(data[1] & 7, 3);
	scsi_assert_good(ask_opcode(3, SCSI_READ_10, 1, data));
	cr_assert_eq(data[1] & 7, 1);
	scsi_assert_sense(ask_opcode(4, SCSI_READ_10, 0, data), SENSE_INVALID_FIELD);
}

Test(virtio_scsi_opcodes, command_that_the_disk_cannot_do_is_not_listed)
{
	uint8_t data[512];

	scsi_fini(&f);
	scsi_init(&f, NULL, "discard=ignore");
	scsi_start(&f, 1);
	cr_assert_not(is_listed(SCSI_UNMAP));
	cr_assert(is_listed(SCSI_WRITE_SAME_16));
	scsi_assert_good(ask_opcode(1, SCSI_UNMAP, 0, data));
	cr_assert_eq(data[1] & 7, 1);
}
