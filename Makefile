# Every target is one line; the work is in meson and in tools/.
.PHONY: demo build test check bench nightly asan tsan fmt sim clean
demo:     ; tools/setup.sh demo && $(MAKE) build && .peers/venv/bin/python tests/interop/demo.py
build:    ; tools/build.sh
test:     ; tools/build.sh checks && meson test -C build-checks --print-errorlogs --suite unit --suite style --suite sim
check:    ; tools/setup.sh check && tools/check.py
bench:    ; tools/setup.sh check && $(MAKE) build && .peers/venv/bin/python bench/bench.py
nightly:  ; tools/setup.sh nightly && tools/check.py --nightly
asan:     ; tools/build.sh asan && meson test -C build-asan --print-errorlogs -t 8 --suite unit --suite oom --suite fuzz
tsan:     ; tools/setup.sh check && tools/build.sh tsan && tools/tsan.sh
fmt:      ; git ls-files '*.c' '*.h' | xargs clang-format -i
sim:      ; tools/build.sh checks && build-checks/tests/sim/sim $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(SEED),--seed $(SEED)) $(if $(WITHOUT),--without $(WITHOUT)) $(if $(SPAN),--span $(SPAN))
clean:    ; rm -rf build build-* demo-out
