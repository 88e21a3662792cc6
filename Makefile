# Thin: what each target does stands in scripts/. Every target installs what it lacks (Debian 12).
PREFIX ?= /usr/local
export PREFIX

.PHONY: all demo check conformance coverage bench soak guest-test guest-soak fuzz format docs install clean

all:
	@scripts/setup build
	@scripts/build plain

demo:
	@scripts/setup build
	@scripts/build plain
	@build/tools/kmcl demo $(ARGS)

check:
	@scripts/setup build check guest
	@scripts/check $(ARGS)

conformance:
	@scripts/setup build check
	@scripts/conformance $(ARGS)

bench:
	@scripts/setup build bench
	@scripts/build plain
	@bench/run.sh $(ARGS)

soak:
	@scripts/setup build check guest
	@scripts/check --soak $(ARGS)

guest-test:
	@scripts/setup build check guest
	@scripts/check --steps guest $(ARGS)

guest-soak:
	@scripts/setup build check guest
	@scripts/check --steps guest --soak $(ARGS)

fuzz:
	@scripts/setup build check
	@scripts/check --steps fuzz $(ARGS)

coverage:
	@scripts/setup build check
	@scripts/coverage --lines $(ARGS)

format:
	@scripts/setup build check
	@scripts/check-format --fix

docs:
	@scripts/setup build docs
	@mkdir -p build/docs
	@doxygen Doxyfile
	@echo build/docs/html/index.html

install:
	@scripts/setup build
	@scripts/build plain
	@meson configure build -Dprefix=$(PREFIX)
	@scripts/build plain
	@meson install -C build --no-rebuild

clean:
	rm -rf build build-asan build-tsan build-fuzz build-coverage
