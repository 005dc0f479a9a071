# SPDX-License-Identifier: MIT
#
# Bare-metal guests: $(O)/guest/NAME.elf from guest-images/pvh/NAME.c (or .S) and lib/. Included by
# the Makefile; `make guests` builds them all.

guest_names := blk counter exit fault hello hotplug msix panic pci reboot rings rtc shell smp start uart
guest_lib   := acpi blk irq pci rt start virtio vqueue
GUEST_PROGRAMS += $(guest_names:%=$(O)/guest/%.elf)

# Ring 0 without an FPU, and only instructions that software KVMs emulate.
GUEST_CC     ?= gcc
guest_cflags := -m64 -march=x86-64 -std=gnu17 -O2 -ffreestanding -nostdlib -fno-pic -no-pie \
                -mno-red-zone -mgeneral-regs-only -fcf-protection=none -fno-stack-protector \
                -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns \
                -ffunction-sections -fdata-sections -Wall -Wextra -Wshadow -Wconversion -I. \
                $(if $(WERROR),-Werror)
guest_ldflags := -static -Wl,--build-id=none,--gc-sections,-z,max-page-size=4096,-z,noexecstack \
                 -Wl,--no-warn-rwx-segments -Wl,-T,guest-images/pvh/lib/guest.ld
guest_link    = $(GUEST_CC) $(guest_cflags) $(guest_ldflags) -o $@ $(filter %.o,$^)

.PHONY: guests
guests: $(GUEST_PROGRAMS) ## bare-metal guests
	@:

$(O)/guest/%.o: guest-images/pvh/%.c guest-images/pvh/rules.mk
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(GUEST_CC) $(guest_cflags) -MMD -MP -c -o $@ $<

$(O)/guest/%.o: guest-images/pvh/%.S guest-images/pvh/rules.mk
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(GUEST_CC) $(guest_cflags) -MMD -MP -c -o $@ $<

# These have an entry point of their own and nothing else.
$(O)/guest/exit.elf $(O)/guest/start.elf: $(O)/guest/%.elf: $(O)/guest/%.o guest-images/pvh/lib/guest.ld
	$(call say,LD,$@)
	$(Q)$(guest_link)

$(O)/guest/%.elf: $(O)/guest/%.o $(guest_lib:%=$(O)/guest/lib/%.o) guest-images/pvh/lib/guest.ld
	$(call say,LD,$@)
	$(Q)$(guest_link)

.SECONDARY: $(guest_names:%=$(O)/guest/%.o) $(guest_lib:%=$(O)/guest/lib/%.o)

-include $(wildcard $(O)/guest/*.d $(O)/guest/lib/*.d)
