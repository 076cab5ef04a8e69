# rbee: everything a person runs. The build itself is CMake and Ninja (CMakeLists.txt).
#
# Variants: SAN=address|undefined|thread, CC=clang, DEBUG=1; each builds in a folder of its own.

SAN     ?=
DEBUG   ?=
VARIANT := $(if $(SAN),san-$(SAN),$(if $(DEBUG),debug,release))$(if $(filter clang,$(CC)),-clang,)
DIR     := build/$(VARIANT)
S       ?= 300
T       ?=

.DEFAULT_GOAL := build
.NOTPARALLEL: # the order counts, and ninja runs things at once itself
.PHONY: build-dir help setup setup-test build run test test-neon check fuzz bench compat clean

help:
	@echo 'make          build everything into build/bin'
	@echo 'make run      build, start rbee with the shipped model, ask it something, serve until Ctrl-C'
	@echo 'make test     build and run every test (T=name runs those whose name holds it)'
	@echo 'make test-neon  the kernels of AArch64 under qemu, about 20 minutes (T=test_mat for one); says what it lacks'
	@echo 'make check    formatting, floors, names, headers, sizes: the rules of CONTRIBUTING.md'
	@echo 'make fuzz     every fuzzer for S seconds each (default $(S); T=gguf for one)'
	@echo 'make bench    speed next to llama.cpp, overhead of queen and hive (slow; quiet machine)'
	@echo 'make compat   the npm package @rbee/compat into $(DIR)/compat/package, ready for npm pack'
	@echo 'make clean    remove build/'
	@echo
	@echo 'Variants: SAN=address|undefined|thread, CC=clang, DEBUG=1'

setup:
	@tools/setup build

setup-test:
	@tools/setup test

build: setup | build-dir
	@cmake -S . -B $(DIR) -G Ninja -DRBEE_SAN=$(SAN) -DCMAKE_C_COMPILER=$(if $(filter clang,$(CC)),clang,gcc) \
	    -DCMAKE_BUILD_TYPE=$(if $(DEBUG),Debug,Release) > $(DIR).log 2>&1 || { cat $(DIR).log; exit 1; }
	@ninja -C $(DIR) rbee llm-worker-rbee-cpu
	@mkdir -p build/bin && ln -f $(DIR)/bin/* build/bin/

build-dir:
	@mkdir -p build

run: build
	@build/bin/rbee serve rbee-tiny --ask 'Tell me a story about a fox.' --temperature 0

test: setup-test build
	@ninja -C $(DIR)
	@tests/run --build $(DIR) $(if $(T),--only '$(T)')

test-neon:
	@tools/cross-aarch64 $(T)

check: setup-test build
	@tools/check

fuzz: setup-test
	@tests/fuzz/run --seconds $(S) $(if $(T),--only '$(T)')

bench: setup-test build
	@bench/run $(if $(T),--only '$(T)')

compat: setup-test build
	@ninja -C $(DIR) compat-wasm compat-native
	@tests/run --install
	@packages/compat/build $(DIR)

clean:
	rm -rf build
