# spiked: build, test and run. `make help` lists the targets; everything is written below build/.
# Nothing here runs a compiler or pkg-config while the file is read: `make run` and `make test`
# install the packages first (deploy/setup.sh) and then call make again.

PORT ?= 8080
DATA_DIR ?= data
BUILD ?= build
CC = gcc
CFLAGS ?= -O2 -g
SANITIZE ?=
# For kernels and neurons; empty below a sanitizer, which takes minutes over unrolled loops at -O3.
KERNEL_OPT ?= -O3
export SPIKED_TEST_DATA ?= $(wildcard $(abspath ../shared/data))
export SPIKED_TEST_GOLDEN ?= $(wildcard $(abspath ../shared/golden))

VERSION = 0.1.0
STRICT = -Wall -Wextra -Wshadow -Wconversion -Werror
BASE = -std=gnu11 -D_GNU_SOURCE -I. -I$(BUILD)/gen -ffp-contract=off -fno-math-errno -MMD -MP $(SANITIZE)
PKG = pkg-config
COMMON_LIBS = -lcjson -lsodium -lzstd -lpthread -lm
WORKER_LIBS = -larchive -lcurl -lz $(COMMON_LIBS)
SERVER_LIBS = -lmicrohttpd -lgnutls -luv -lsqlite3 $(COMMON_LIBS)
TEST_LIBS = -lcriterion -lcurl -lz

MACHINE = $(shell uname -m)
ISAS = generic $(if $(filter x86_64,$(MACHINE)),avx2 avx512)
ISA_FLAGS_generic =
ISA_FLAGS_avx2 = -mavx2 -mfma
ISA_FLAGS_avx512 = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512

common_src = $(wildcard common/*.c)
isa_src = $(wildcard worker/*/isa_*.c)
worker_src = $(filter-out $(isa_src),$(wildcard worker/*/*.c worker/*.c))
server_src = $(wildcard server/*/*.c server/*.c)

# One short line a file; make V=1 shows whole commands.
say = $(if $(V),,@echo "  $(1) $(2)";)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
common_obj = $(call obj,$(common_src))
isa_obj = $(foreach isa,$(ISAS),$(patsubst %.c,$(BUILD)/obj/%.$(isa).o,$(isa_src)))
worker_obj = $(call obj,$(worker_src)) $(isa_obj)
server_obj = $(call obj,$(server_src)) $(BUILD)/obj/gen/migrations.o $(BUILD)/obj/gen/web_files.o

MAKEFLAGS += --no-builtin-rules
.PHONY: FORCE all help run test check prove bench bench-peer instructions bench-thesis bench-presets install format tidy fuzz clean setup units stories web fuzz-build chaos load soak
all: $(BUILD)/spiked $(BUILD)/spiked-worker ## build the daemon, the worker and the page

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## install the packages that build, run and tests need
	@sh deploy/setup.sh

run: ## set up, build, start the daemon and train the quick start (PORT=8080, DATA_DIR=data)
	@sh deploy/setup.sh build run
	@$(MAKE) --no-print-directory -j2 all
	@sh deploy/run.sh '$(PORT)' '$(DATA_DIR)'

docs/spec.md: $(BUILD)/spiked ## the reference of the spec, from the tables in the code
	$(BUILD)/spiked spec-docs >$@

test: ## set up, build and run every test; the last line counts them
	@sh deploy/setup.sh build run test
	@sh deploy/setup.sh aarch64 || true
	@bash tests/run.sh all

check: ## build, tidy and unit tests, in under a minute
	@bash tests/run.sh check

prove: ## the long proofs, figures for docs/proofs.md
	@bash tests/run.sh prove

bench: ## time kernels and whole steps
	@sh deploy/setup.sh build bench
	@$(MAKE) --no-print-directory all $(BUILD)/bench_kernels $(BUILD)/bench_psn $(BUILD)/bench_gemm
	@bash bench/run.sh

bench-peer: all $(BUILD)/bench_neurons ## beside SpikingJelly: SPIKINGJELLY_DIR=checkout, ROWS="fashion-lif ..."
	@sh bench/compare_spikingjelly.sh $(ROWS)

bench-thesis: $(BUILD)/spiked-worker ## all time-steps at once against one by one, T = 2 ... 64, as tables
	@bash bench/thesis.sh

bench-presets: $(BUILD)/spiked-worker ## a training step of every preset at its paper's size
	@sh bench/presets.sh

instructions: $(BUILD)/spiked-worker ## count instructions anew: bench/instructions.json, which tests hold code to
	@bash bench/instructions.sh update
	@git --no-pager diff --stat -- bench/instructions.json

install: prefix = $(or $(PREFIX),/usr/local)
install: all ## install below PREFIX (default /usr/local), with the unit; an existing /etc/spiked/spiked.conf stays
	install -D -m 755 $(BUILD)/spiked $(DESTDIR)$(prefix)/bin/spiked
	install -D -m 755 $(BUILD)/spiked-worker $(DESTDIR)$(prefix)/bin/spiked-worker
	install -D -m 644 docs/operations.md $(DESTDIR)$(prefix)/share/doc/spiked/operations.md
	install -D -m 644 deploy/systemd/spiked.sysusers $(DESTDIR)$(prefix)/lib/sysusers.d/spiked.conf
	install -d $(DESTDIR)$(prefix)/lib/systemd/system
	sed 's|@PREFIX@|$(prefix)|; s|///usr/share|//$(prefix)/share|' deploy/systemd/spiked.service >$(DESTDIR)$(prefix)/lib/systemd/system/spiked.service
	test -e $(DESTDIR)/etc/spiked/spiked.conf || install -D -m 644 deploy/systemd/spiked.conf $(DESTDIR)/etc/spiked/spiked.conf

format: ## format the lines of C files that differ from the last commit; tables keep their columns
	@sh deploy/setup.sh format
	@git add --intent-to-add -- '*.c' '*.h'
	@git diff -U0 HEAD -- '*.c' '*.h' | clang-format-diff -p1 -i

tidy: ## check include rules, banned calls and limits
	@sh tests/tidy/check_tree.sh
	@sh tests/tidy/test_check_tree.sh

clean: ## remove everything built
	rm -rf $(BUILD)

# ---- programs -----------------------------------------------------------------------------------
$(BUILD)/spiked: $(server_obj) $(common_obj)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(SERVER_LIBS)
$(BUILD)/spiked-worker: $(worker_obj) $(common_obj)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(WORKER_LIBS)

build_id = $(shell git describe --always --dirty 2>/dev/null || echo unknown)
$(BUILD)/gen/build_id.h: FORCE
	@mkdir -p $(@D)
	@printf '#define SPIKED_VERSION "%s"\n#define SPIKED_BUILD "%s"\n' '$(VERSION)' '$(build_id)' >$@.new
	@cmp -s $@.new $@ || cp $@.new $@; rm -f $@.new
FORCE:

$(BUILD)/obj/worker/kernels/%.o $(BUILD)/obj/worker/neurons/%.o $(BUILD)/obj/worker/layers/%.o: kernel_opt = $(KERNEL_OPT)
$(BUILD)/obj/%.o: %.c | $(BUILD)/gen/build_id.h
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CFLAGS) $(kernel_opt) $(STRICT) $(BASE) -c -o $@ $<
define isa_rule
$(BUILD)/obj/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$$(call say,CC,$$<)$(CC) $(CFLAGS) $(KERNEL_OPT) $(STRICT) -Wno-psabi $(BASE) $(ISA_FLAGS_$(1)) -DSPIKED_ISA_NAME=$(1) -c -o $$@ $$<
endef
$(foreach isa,generic avx2 avx512,$(eval $(call isa_rule,$(isa))))

# ---- generated: migrations and the page, compiled in ---------------------------------------------
$(BUILD)/gen/migrations.c: deploy/build/migrations.sh $(wildcard migrations/*.sql)
	@mkdir -p $(@D)
	sh deploy/build/migrations.sh migrations >$@.new && mv $@.new $@
$(BUILD)/gen/web_files.c: deploy/build/web_files.sh $(BUILD)/web/.stamp
	@mkdir -p $(@D)
	sh deploy/build/web_files.sh $(BUILD)/web >$@.new && mv $@.new $@
$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CFLAGS) $(STRICT) $(BASE) -c -o $@ $<

web: $(BUILD)/web/.stamp
web/node_modules/.stamp: web/package-lock.json web/package.json
	@command -v npm >/dev/null || { echo "npm is missing; run: make setup" >&2; exit 1; }
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
$(BUILD)/web/.stamp: $(wildcard web/*.js web/*.css web/*.html examples/*.json) web/node_modules/.stamp
	@mkdir -p $(@D)
	web/node_modules/.bin/esbuild web/main.js --bundle --minify --format=esm --target=es2020 --legal-comments=none --log-level=warning --outfile=$(@D)/app.js
	web/node_modules/.bin/esbuild web/app.css --bundle --minify --legal-comments=none --log-level=warning --outfile=$(@D)/app.css
	cp web/*.html web/login.js $(@D)/
	@touch $@

# ---- tests: one Criterion program for each file, linked with its layer ---------------------------
unit_src = $(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c)
story_src = $(wildcard tests/integration/test_*.c)
support_obj = $(call obj,$(wildcard tests/support/*.c))
twin_obj = $(call obj,$(wildcard tests/twin/*.c))
unit_bin = $(patsubst tests/%.c,$(BUILD)/tests/%,$(unit_src))
story_bin = $(patsubst tests/%.c,$(BUILD)/tests/%,$(story_src))
TEST_STRICT = -Wall -Wextra -Wshadow -Werror
worker_lib_obj = $(filter-out $(BUILD)/obj/worker/worker_main.o,$(worker_obj))
server_lib_obj = $(filter-out $(BUILD)/obj/server/server_main.o,$(server_obj))

units: $(twin_obj) $(unit_bin) # named, or a new file of the twin would be passed over
stories: $(story_bin)
$(BUILD)/obj/tests/%.o: tests/%.c | $(BUILD)/gen/build_id.h
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CFLAGS) $(TEST_STRICT) $(BASE) -c -o $@ $<
$(BUILD)/tests/unit/common/%: $(BUILD)/obj/tests/unit/common/%.o $(common_obj) $(support_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(TEST_LIBS) $(COMMON_LIBS)
$(BUILD)/tests/unit/server/%: $(BUILD)/obj/tests/unit/server/%.o $(server_lib_obj) $(common_obj) $(support_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(TEST_LIBS) $(SERVER_LIBS)
$(BUILD)/tests/unit/twin/%: $(BUILD)/obj/tests/unit/twin/%.o $(twin_obj) $(worker_lib_obj) $(common_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(TEST_LIBS) $(WORKER_LIBS)
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(worker_lib_obj) $(common_obj) $(support_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(TEST_LIBS) $(WORKER_LIBS)
$(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o $(common_obj) $(support_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(TEST_LIBS) $(COMMON_LIBS)
# The fault campaign (tests/chaos): both programs once more with crash points in them, the library that
# fills disks, loses answers and moves clocks, and the judge. Only files with crash points differ.
crash_obj := $(patsubst %.c,$(BUILD)/obj/%.o,$(shell grep -lE '/(crash|change_crash)\.h"' $(common_src) $(worker_src) $(server_src)))
crashing = $(foreach o,$(1),$(if $(filter $(o),$(crash_obj)),$(patsubst $(BUILD)/obj/%,$(BUILD)/obj/chaos/%,$(o)),$(o)))
chaos_programs = $(addprefix $(BUILD)/chaos/,spiked spiked-worker faults.so judge)
stories: $(chaos_programs)
$(BUILD)/obj/chaos/%.o: %.c | $(BUILD)/gen/build_id.h
	@mkdir -p $(@D)
	$(call say,CC,$< with crash points)$(CC) $(CFLAGS) $(STRICT) $(BASE) -DSPIKED_CRASH_POINTS -c -o $@ $<
$(BUILD)/chaos/spiked: $(call crashing,$(server_obj) $(common_obj))
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(SERVER_LIBS)
$(BUILD)/chaos/spiked-worker: $(call crashing,$(worker_obj) $(common_obj))
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(WORKER_LIBS)
$(BUILD)/chaos/faults.so: tests/chaos/faults.c tests/chaos/faults.h
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) -O1 -g $(TEST_STRICT) -std=gnu11 -D_GNU_SOURCE -I. -fPIC -shared -o $@ $< -ldl
$(BUILD)/chaos/judge: $(call obj,$(wildcard tests/chaos/judge*.c)) $(common_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -lcurl $(COMMON_LIBS)
$(patsubst %,$(BUILD)/tests/integration/test_%,artifacts chaos crashes disk judge sweeps systemd): $(call obj,$(wildcard tests/chaos/chaos*.c))
chaos: $(BUILD)/tests/integration/test_chaos $(chaos_programs) $(BUILD)/spiked-worker ## 200 rounds of the fault campaign: CHAOS_ROUNDS=200 CHAOS_SEED=1
	@CHAOS_ROUNDS=$(or $(CHAOS_ROUNDS),200) CHAOS_SEED=$(or $(CHAOS_SEED),1) $< --filter='chaos/*' -j1

# The load table and the soak (tests/load): the daemon with a worker that only talks.
load_bin = $(patsubst tests/load/%.c,$(BUILD)/load/%,$(wildcard tests/load/test_*.c))
load_obj = $(call obj,$(filter-out tests/load/test_%.c tests/load/fake_worker.c,$(wildcard tests/load/*.c)))
stories: $(load_bin) $(BUILD)/load/fake-worker
$(BUILD)/load/test_%: $(BUILD)/obj/tests/load/test_%.o $(load_obj) $(common_obj) $(support_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(TEST_LIBS) $(COMMON_LIBS)
$(BUILD)/load/fake-worker: $(BUILD)/obj/tests/load/fake_worker.o $(common_obj)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(COMMON_LIBS)
load: all $(load_bin) $(BUILD)/load/fake-worker ## the load table: LOAD_SECONDS=60 LOAD_ROWS=rest,points
	@sh deploy/setup.sh load
	@LOAD_FULL=1 LOAD_SECONDS='$(LOAD_SECONDS)' LOAD_ROWS='$(LOAD_ROWS)' $(BUILD)/load/test_load -j1
soak: all $(load_bin) $(BUILD)/load/fake-worker ## churn and watchers for SOAK_SECONDS (3600): memory, files, logs stay
	@SOAK_SECONDS='$(or $(SOAK_SECONDS),3600)' $(BUILD)/load/test_soak -j1

bench_obj = $(call obj,$(filter-out bench/bench_%.c,$(wildcard bench/*.c)))
$(BUILD)/bench_%: $(BUILD)/obj/bench/bench_%.o $(bench_obj) $(worker_lib_obj) $(common_obj)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(WORKER_LIBS) -lopenblas

# tests/bits: kernels and neurons for this machine and, with CROSS=1 and a static C library alone, for
# others: what spec_neuron.c has for JSON is never called and dropped there.
bits_common = $(if $(CROSS),$(addprefix common/,err.c mem.c philox.c spec_neuron.c),$(common_src))
bits_src = $(wildcard tests/bits/*.c) $(bits_common) \
    $(filter worker/kernels/% worker/neurons/% worker/tensor/%,$(worker_src))
bits_libs = $(if $(CROSS),-static -Xlinker --gc-sections -lpthread -lm,$(COMMON_LIBS))
$(BUILD)/bits: $(call obj,$(bits_src)) $(isa_obj)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $(bits_libs)

fuzz_bin = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz-build: $(fuzz_bin)
fuzz: fuzz-build ## run every fuzzer for FUZZ_SECONDS (default 10)
	@bash tests/fuzz/run.sh
$(BUILD)/fuzz/%: tests/fuzz/%.c $(common_src)
	@mkdir -p $(@D)
	$(call say,CLANG,$<)clang -g -O1 -std=gnu11 -D_GNU_SOURCE -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $^ $(COMMON_LIBS)

.PRECIOUS: $(BUILD)/obj/%.o $(BUILD)/gen/%.c
.SECONDARY:
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
