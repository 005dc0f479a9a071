# SPDX-License-Identifier: MIT
#
# One non-recursive Makefile. Sources are found by wildcard: a new file in a folder is built and
# linked without a change here. `make help` lists the targets.
#
#   O=DIR       where everything is built (default: build)
#   V=1         show the commands
#   CC=clang    the compiler
#   SANITIZE=…  as -fsanitize=… (asan and tsan below set it)
#   LIB_DIRS=…  build the library from these folders only

O      ?= build
PREFIX ?= /usr/local
DESTDIR ?=

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG        ?= clang
CLANG_FORMAT ?= clang-format
PKG_CONFIG   ?= pkg-config
JOBS         ?= $(shell nproc)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

ifeq ($(V),1)
Q   :=
say :=
else
Q   := @
say = @printf '  %-8s %s\n' $(1) '$(patsubst $(O)/%,%,$(2))'
endif

VERSION := $(shell sed -n 's/^.define VMM_VERSION "\(.*\)"/\1/p' include/vmm.h)
SOVERSION := 0

# ---- sources ----------------------------------------------------------------------------------

LIB_DIRS ?= core mmio pci devices virtio block net console qxl agent vmm

# The control socket needs jansson: see PACKAGES below.
HAVE_JANSSON := $(shell $(PKG_CONFIG) --exists jansson 2>/dev/null && echo y)
LIB_SRCS     := $(filter-out $(if $(HAVE_JANSSON),,vmm/qmp%),\
                  $(foreach d,$(LIB_DIRS),$(sort $(wildcard $(d)/*.c))))
CLI_SRCS     := $(filter-out $(if $(HAVE_JANSSON),,cli/control_% cli/config_%),$(sort $(wildcard cli/*.c)))
SUPPORT_SRCS := $(sort $(wildcard tests/unit/support/*.c))
UNIT_SRCS    ?= $(filter-out $(if $(HAVE_JANSSON),,tests/unit/test_qmp% tests/unit/test_prometheus% tests/unit/test_config% tests/unit/test_control%),\
                  $(sort $(wildcard tests/unit/test_*.c)))
CONF_SRCS    ?= $(sort $(wildcard tests/conformance/*.c))
FUZZ_SRCS    ?= $(filter-out $(if $(HAVE_JANSSON),,tests/fuzz/fuzz_qmp%),\
                  $(sort $(wildcard tests/fuzz/fuzz_*.c)))
# Executable scripts only: what they source lies beside them.
LIBRARY_TESTS ?= $(sort $(shell find tests/library -maxdepth 1 -name '*.sh' -perm -u+x 2>/dev/null))
# Programs as others write them: the public header and the shared library.
LIBRARY_SRCS := $(sort $(wildcard tests/library/*.c))
LIBRARY_BINS := $(LIBRARY_SRCS:%.c=$(O)/%)
GUEST_TESTS  ?= $(sort $(shell find tests/guest -maxdepth 1 -name '*.sh' -perm -u+x 2>/dev/null))

LIB_OBJS     := $(LIB_SRCS:%.c=$(O)/obj/%.o)
CLI_OBJS     := $(CLI_SRCS:%.c=$(O)/obj/%.o)
SUPPORT_OBJS := $(SUPPORT_SRCS:%.c=$(O)/obj/%.o)
SUPPORT_A    := $(O)/obj/tests/support.a
CLI_A        := $(O)/obj/tests/cli.a
UNIT_BINS    := $(UNIT_SRCS:%.c=$(O)/%)
CONF_BINS    := $(CONF_SRCS:%.c=$(O)/%)
FUZZ_BINS    := $(FUZZ_SRCS:%.c=$(O)/%)

C_DIRS  := include $(LIB_DIRS) cli tests/unit tests/unit/support tests/tsan tests/conformance tests/fuzz tests/library examples bench \
           guest-images/pvh
C_FILES := $(foreach d,$(C_DIRS),$(sort $(wildcard $(d)/*.[ch])))

# ---- host libraries, each optional ------------------------------------------------------------

PACKAGES := $(foreach p,liburing liblzma libzstd liblz4 zlib jansson,\
              $(if $(shell $(PKG_CONFIG) --exists $(p) 2>/dev/null && echo y),$(p)))
config_liburing := -DCONFIG_LIBURING
config_liblzma  := -DCONFIG_LIBLZMA
config_libzstd  := -DCONFIG_LIBZSTD
config_liblz4   := -DCONFIG_LIBLZ4
config_zlib     := -DCONFIG_ZLIB
config_jansson  := -DCONFIG_JANSSON

# libslirp is loaded when a user network is asked for; only its header is needed here. Its .pc file
# wants that of GLib, which nobody else does.
ifneq ($(shell echo '\#include <slirp/libslirp.h>' | $(CC) -E $(CPPFLAGS) - >/dev/null 2>&1 && echo y),)
HEADERS := -DCONFIG_LIBSLIRP
endif
# Trace points need one header, and nothing when they are used.
ifneq ($(shell echo '\#include <sys/sdt.h>' | $(CC) -E $(CPPFLAGS) - >/dev/null 2>&1 && echo y),)
HEADERS += -DCONFIG_SDT
endif

ifneq ($(PACKAGES),)
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PACKAGES))
PKG_LIBDIR := $(shell $(PKG_CONFIG) --variable=libdir $(firstword $(PACKAGES)))
endif

# The command takes static archives where there are any: each shared library costs it about
# 0.2 ms of start-up. STATIC_DEPS=0 links them dynamically.
STATIC_DEPS ?= 1
archive = $(if $(filter-out 0,$(STATIC_DEPS)),$(wildcard $(PKG_LIBDIR)/lib$(1:-l%=%).a))
CLI_LIBS := $(foreach l,$(PKG_LIBS),$(or $(call archive,$(l)),$(l)))

# ---- flags ------------------------------------------------------------------------------------

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes \
            -Werror=implicit-function-declaration \
            $(if $(findstring clang,$(CC)),-Wno-gnu-variable-sized-type-not-at-end)
CPPFLAGS_ALL := -D_GNU_SOURCE -I. -Iinclude -I$(O)/gen $(foreach p,$(PACKAGES),$(config_$(p))) \
                $(HEADERS) $(PKG_CFLAGS) \
                $(CPPFLAGS)
CFLAGS_ALL := -std=gnu17 $(WARNINGS) -fvisibility=hidden -fPIC -pthread -fno-strict-aliasing $(CFLAGS)
LDFLAGS_ALL := -pthread -Wl,--as-needed -Wl,-O1 -Wl,-z,relro -Wl,-z,now $(LDFLAGS)

ifneq ($(WERROR),)
CFLAGS_ALL += -Werror
endif
ifneq ($(SANITIZE),)
CFLAGS_ALL += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
LDFLAGS_ALL += -fsanitize=$(SANITIZE)
ifneq ($(findstring undefined,$(SANITIZE)),)
CFLAGS_ALL += -fno-sanitize-recover=undefined
endif
else
SO_LDFLAGS := -Wl,-z,defs
endif
ifneq ($(COVERAGE),)
CFLAGS_ALL += --coverage -O1
LDFLAGS_ALL += --coverage
endif

# Objects depend on the command line that makes them: other flags, another compiler, or a library
# that has come or gone rebuild what they touch. The archive depends on the list of its sources, so
# that a deleted file leaves it.
remember = $(shell mkdir -p $(dir $(1)); printf '%s\n' '$(2)' | cmp -s - $(1) || \
                   printf '%s\n' '$(2)' >$(1))
ifneq ($(filter-out help clean deps format lint print-lint-flags install uninstall demo validate bench check asan tsan fuzz \
         coverage,$(or $(MAKECMDGOALS),all)),)
$(call remember,$(O)/.flags,$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL))
$(call remember,$(O)/.sources,$(LIB_SRCS) $(SUPPORT_SRCS) $(CLI_SRCS))
endif
$(O)/.flags $(O)/.sources:
	@mkdir -p $(@D)
	@touch $@

# ---- library and command ----------------------------------------------------------------------

LIB_A  := $(O)/libvmm.a
LIB_SO := $(O)/libvmm.so.$(VERSION)
LIB_MAP := $(wildcard vmm/libvmm.map)
# What a config file may say, from the tables of options.
SCHEMA := $(if $(HAVE_JANSSON),$(O)/config.schema.json)

.PHONY: all
all: $(LIB_A) $(if $(LIB_OBJS),$(O)/libvmm.so) $(if $(CLI_OBJS),$(O)/vmm $(SCHEMA)) $(O)/vmm.pc ## library and command
	@:

$(O)/obj/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(LIB_A): $(LIB_OBJS) $(O)/.sources
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(LIB_OBJS)

$(LIB_SO): $(LIB_OBJS) $(LIB_MAP) $(O)/.sources
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(CFLAGS_ALL) $(LDFLAGS_ALL) $(SO_LDFLAGS) -Wl,-soname,libvmm.so.$(SOVERSION) \
		$(LIB_MAP:%=-Wl,--version-script=%) -o $@ $(LIB_OBJS) $(PKG_LIBS)

$(O)/libvmm.so.$(SOVERSION): $(LIB_SO)
	@ln -sf $(<F) $@

$(O)/libvmm.so: $(O)/libvmm.so.$(SOVERSION)
	@ln -sf $(<F) $@

# The scripts of `vmm validate` become strings in a header, so that an installed vmm needs no files.
VALIDATE_SCRIPTS := $(sort $(wildcard cli/validate/*))
VALIDATE_HEADER  := $(O)/gen/validate_scripts.h

$(VALIDATE_HEADER): $(VALIDATE_SCRIPTS) Makefile
	@mkdir -p $(@D)
	@{ echo 'static const struct { const char *name, *text; } validate_scripts[] = {'; \
	   for f in $(VALIDATE_SCRIPTS); do \
		echo "{\"$${f##*/}\","; sed 's/[\\"]/\\&/g; s/.*/"&\\n"/' $$f; echo '},'; \
	   done; echo '{0}};'; } >$@

$(O)/obj/cli/validate_script.o: $(VALIDATE_HEADER)

$(O)/vmm: $(CLI_OBJS) $(LIB_A)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -pie $(LDFLAGS_ALL) -o $@ $(CLI_OBJS) $(LIB_A) $(CLI_LIBS)

$(SCHEMA): $(O)/vmm
	$(Q)$< config --schema >$@

define VMM_PC
prefix=$(PREFIX)
libdir=$${prefix}/lib
includedir=$${prefix}/include

Name: vmm
Description: Virtual machines for Linux guests on KVM
Version: $(VERSION)
Libs: -L$${libdir} -lvmm
Libs.private: $(PKG_LIBS) -pthread
Cflags: -I$${includedir}
endef
export VMM_PC

# Always made anew: PREFIX is part of it and may differ from call to call.
.PHONY: $(O)/vmm.pc
$(O)/vmm.pc:
	@mkdir -p $(@D)
	@printf '%s\n' "$$VMM_PC" >$@

# ---- tests ------------------------------------------------------------------------------------

# Programs that run as guests. guest-images/pvh/rules.mk adds its own to GUEST_PROGRAMS.
GUEST_PROGRAMS :=
-include guest-images/pvh/rules.mk

# An archive, so that a test links only what it uses.
$(SUPPORT_A): $(SUPPORT_OBJS) $(O)/.sources
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $(SUPPORT_OBJS)

# The command without its main, likewise.
$(CLI_A): $(CLI_OBJS) $(O)/.sources
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $(filter-out %/main.o,$(CLI_OBJS))

# Criterion cannot run under ThreadSanitizer; a runtime of our own stands in.
CRITERION := $(if $(findstring thread,$(SANITIZE)),$(O)/obj/tests/tsan/criterion.o,-lcriterion)

$(UNIT_BINS) $(CONF_BINS): $(O)/tests/%: $(O)/obj/tests/%.o $(SUPPORT_A) $(CLI_A) $(LIB_A) \
		$(filter %.o,$(CRITERION))
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(SUPPORT_A) $(CLI_A) $(LIB_A) $(PKG_LIBS) $(CRITERION)

$(LIBRARY_BINS): $(O)/%: $(O)/obj/%.o $(O)/libvmm.so
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< -L$(O) -lvmm -Wl,-rpath,$(abspath $(O))

.PHONY: tests fuzzers
tests: $(UNIT_BINS) $(CONF_BINS) $(LIBRARY_BINS) $(GUEST_PROGRAMS)

# Fuzz targets bring their own main: they are linked by clang over a library that is instrumented.
$(FUZZ_BINS): $(O)/tests/%: $(O)/obj/tests/%.o $(SUPPORT_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer $(LDFLAGS_ALL) -o $@ $< $(SUPPORT_A) $(LIB_A) \
		$(PKG_LIBS)
fuzzers: $(FUZZ_BINS)

# This Makefile again, for another build folder or after packages have come.
again = $(Q)+$(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

FUZZ_SECONDS       ?= 60
CHECK_FUZZ_SECONDS ?= 2
fuzz_build = $(again) O=$(O)/fuzz CC=$(CLANG) SANITIZE=fuzzer-no-link,address,undefined fuzzers
fuzz_suite = $(if $(FUZZ_SRCS),fuzz $(FUZZ_SRCS:%.c=$(O)/fuzz/%) --)
run_tests  = $(Q)VMM_BUILD=$(abspath $(O)) tests/run

.PHONY: check check-unit check-many check-library check-guest
check: ## everything: unit tests, lint, a short fuzz run, guests
	$(again) deps
	$(again) all tests
	$(if $(FUZZ_SRCS),$(fuzz_build))
	$(run_tests) unit $(UNIT_BINS) $(CONF_BINS) -- lint tests/lint -- \
		library $(LIBRARY_BINS) $(LIBRARY_TESTS) -- \
		$(if $(FUZZ_SRCS),--fuzz-seconds $(CHECK_FUZZ_SECONDS) $(fuzz_suite)) guest $(GUEST_TESTS)

check-unit: $(UNIT_BINS) $(CONF_BINS) ## unit and conformance tests
	$(run_tests) unit $(UNIT_BINS) $(CONF_BINS)

check-many: $(LIBRARY_BINS) $(GUEST_PROGRAMS) ## many VMs in one process
	$(run_tests) library $(LIBRARY_BINS)

check-library: all $(LIBRARY_BINS) $(GUEST_PROGRAMS) ## the library as other programs see it
	$(run_tests) library $(LIBRARY_BINS) $(LIBRARY_TESTS)

check-guest: export VMM_VALIDATE ?= all
check-guest: export VMM_HOTPLUG_ROUNDS ?= 50
check-guest: export TEST_TIMEOUT ?= 12000
check-guest: all $(GUEST_PROGRAMS) ## bare-metal and stock guests
	$(run_tests) guest $(GUEST_TESTS)

.PHONY: asan tsan fuzz coverage
asan: ## unit tests, and many VMs, with AddressSanitizer and UBSan
	$(again) O=$(O)/asan SANITIZE=address,undefined check-unit check-many

tsan: ## unit tests with ThreadSanitizer
	$(again) O=$(O)/tsan SANITIZE=thread check-unit

fuzz: ## fuzz each target for FUZZ_SECONDS
	$(fuzz_build)
	$(run_tests) --fuzz-seconds $(FUZZ_SECONDS) $(fuzz_suite)

coverage: ## lines of the library that the unit tests execute
	$(again) O=$(O)/coverage COVERAGE=1 check-unit
	$(Q)tests/coverage $(O)/coverage $(LIB_SRCS)

# ---- style ------------------------------------------------------------------------------------

.PHONY: lint format print-lint-flags
lint: $(VALIDATE_HEADER) ## formatting, warnings of clang, rules of the house
	$(Q)CLANG=$(CLANG) CLANG_FORMAT=$(CLANG_FORMAT) tests/lint

print-lint-flags:
	@echo $(CPPFLAGS_ALL) $(CFLAGS_ALL)

format: ## apply .clang-format
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)

# ---- demo, benchmarks -------------------------------------------------------------------------

.PHONY: demo validate bench
demo: ## boot a guest that shows what this can do
	$(again) deps
	$(again) all
	$(Q)VMM_BUILD=$(abspath $(O)) guest-images/demo

# Devices measured in one process: sources beside bench/run, linked with the library.
BENCH_OBJS := $(patsubst %.c,$(O)/obj/%.o,$(sort $(wildcard bench/inproc*.c)))
$(O)/bench/inproc: $(BENCH_OBJS) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(BENCH_OBJS) $(LIB_A) $(PKG_LIBS)

validate: ## let a kernel's own drivers prove each device
	$(again) deps
	$(again) all
	$(Q)VMM_BUILD=$(abspath $(O)) tests/guest/30-validate.sh

bench: ## measure
	$(again) all $(O)/bench/inproc
	$(Q)VMM_BUILD=$(abspath $(O)) bench/run

# ---- packages ---------------------------------------------------------------------------------

.PHONY: deps
deps: ## install the Debian packages of packages.txt that are missing
	@command -v dpkg-query >/dev/null || { echo "deps: not Debian: see packages.txt"; exit 0; }; \
	want=$$(sed 's/#.*//' packages.txt); \
	have=" $$(dpkg-query -W -f='$${db:Status-Status}:$${Package} ' $$want 2>/dev/null)"; \
	missing=; \
	for p in $$want; do case "$$have" in *" installed:$$p "*) ;; *) missing="$$missing $$p";; esac; done; \
	[ -n "$$missing" ] || exit 0; \
	echo "deps: installing$$missing"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -q && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing

# ---- documentation and ABI -------------------------------------------------------------------

MAN3 := $(patsubst %;,%.3,$(filter vmm_%;,$(shell cat vmm/libvmm.map)))

# Always made anew: they name a file under PREFIX, which may differ from call to call.
.PHONY: man-pages docs abi
man-pages:
	@mkdir -p $(O)/man
	$(Q)rm -f $(O)/man/*.3
	$(Q)tools/api-docs -v out=$(O)/man -v reference=$(PREFIX)/share/doc/vmm/api.md include/vmm.h

docs: ## docs/api.md from the header
	$(Q)tools/api-docs -v format=md include/vmm.h >docs/api.md

abi: $(O)/libvmm.so ## vmm/libvmm.abi: what programs rely on, after a change that is meant
	$(Q)CC='$(CC)' tools/abi $< >vmm/libvmm.abi

# ---- install ----------------------------------------------------------------------------------

D = $(DESTDIR)$(PREFIX)
INSTALLED = bin/vmm lib/libvmm.a lib/libvmm.so.$(VERSION) lib/libvmm.so.$(SOVERSION) lib/libvmm.so \
            include/vmm.h lib/pkgconfig/vmm.pc share/man/man1/vmm.1 \
            share/doc/vmm/api.md share/bash-completion/completions/vmm $(SCHEMA:$(O)/%=share/vmm/%) $(MAN3:%=share/man/man3/%)

.PHONY: install uninstall
install: all man-pages ## into $(DESTDIR)$(PREFIX)
	install -D -m 755 $(O)/vmm $(D)/bin/vmm
	install -D -m 644 $(LIB_A) $(D)/lib/libvmm.a
	install -D -m 755 $(LIB_SO) $(D)/lib/libvmm.so.$(VERSION)
	ln -sf libvmm.so.$(VERSION) $(D)/lib/libvmm.so.$(SOVERSION)
	ln -sf libvmm.so.$(SOVERSION) $(D)/lib/libvmm.so
	install -D -m 644 include/vmm.h $(D)/include/vmm.h
	install -D -m 644 $(O)/vmm.pc $(D)/lib/pkgconfig/vmm.pc
	install -D -m 644 cli/vmm.1 $(D)/share/man/man1/vmm.1
	install -d $(D)/share/man/man3
	install -m 644 $(O)/man/*.3 $(D)/share/man/man3
	install -D -m 644 docs/api.md $(D)/share/doc/vmm/api.md
	install -D -m 644 cli/vmm.bash-completion \
		$(D)/share/bash-completion/completions/vmm
	$(if $(SCHEMA),install -D -m 644 $(SCHEMA) $(D)/$(SCHEMA:$(O)/%=share/vmm/%))
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

uninstall: ## remove what install put there
	rm -f $(addprefix $(D)/,$(INSTALLED))
	for folder in share/vmm share/doc/vmm; do \
		[ ! -d $(D)/$$folder ] || rmdir --ignore-fail-on-non-empty $(D)/$$folder || exit; \
	done

.PHONY: clean help
clean: ## remove the build folder
	$(Q)rm -rf $(O)

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile guest-images/pvh/rules.mk | \
		while IFS='|' read -r target text; do printf '%-14s %s\n' "$$target" "$$text"; done
	@echo 'Variables: O=DIR (build folder), CC=, V=1 (show commands), PREFIX=, DESTDIR=, SANITIZE='

-include $(wildcard $(LIB_OBJS:.o=.d) $(CLI_OBJS:.o=.d) $(SUPPORT_OBJS:.o=.d) \
           $(patsubst %.c,$(O)/obj/%.d,$(UNIT_SRCS) $(CONF_SRCS) $(FUZZ_SRCS) $(LIBRARY_SRCS)) \
           $(BENCH_OBJS:.o=.d))
