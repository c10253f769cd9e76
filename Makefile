# make run    watch the recognizer work: on the built-in demo camera, or on your own with CAMERA='rtsp://...'
# make test   linters, types, import rules and all tests
# Both set up what they need, once: see scripts/setup.sh
SHELL := /bin/bash
BIN := .venv/bin
CAMERA ?=
ARGS ?=
OUT ?= dist
# To recipes it goes by the environment, so that the shell reads no quote or dollar of a password. On its command
# line make reads `$` itself: write CAMERA='...' before `make`, or `$$`; better, keep a password in a file.
export CAMERA

.PHONY: run test test-gpu lint lock wheel bench soak clean

run:
	@scripts/setup.sh runtime
	@if [ -z "$$CAMERA" ]; then exec $(BIN)/swinstream demo $(ARGS); fi; \
	exec $(BIN)/swinstream run --camera "camera=$$CAMERA" $(ARGS)

lint:
	@scripts/setup.sh dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@scripts/test.sh $(ARGS)

# On a machine with an NVIDIA GPU: engines of all precisions, parity, CUDA flow against DIS, states under stress, and
# speeds beside torch.compile. Ends in one page, $(OUT)/gpu-report.md, whether or not all went well.
test-gpu:
	@scripts/setup.sh dev
	$(BIN)/pip install -q --disable-pip-version-check -e '.[gpu]'
	@mkdir -p '$(OUT)'
	@code=0; \
	SWINSTREAM_REQUIRE=gpu $(BIN)/pytest -m needs_gpu -o timeout=3600 -o junit_family=xunit1 \
	    --junitxml='$(OUT)/gpu-tests.xml' $(ARGS) || code=$$?; \
	$(BIN)/python -m benchmarks.gpu_report '$(OUT)/gpu-tests.xml' >'$(OUT)/gpu-report.md' || code=$$?; \
	cat '$(OUT)/gpu-report.md'; \
	exit $$code

# Resolve the pins anew from pyproject.toml. Run it where torch is the CPU build (its local
# version is cut off, so that the pin holds everywhere), and read the difference.
lock:
	$(BIN)/pip-compile -q --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-header -o requirements/runtime.lock pyproject.toml
	$(BIN)/pip-compile -q --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-header --extra train --extra calibrate --extra test -o requirements/dev.lock pyproject.toml
	sed -i 's/^torch==\([0-9.]*\)+cpu/torch==\1/' requirements/dev.lock

wheel:
	@scripts/setup.sh dev
	@rm -rf build
	$(BIN)/python -m build -q --wheel --outdir '$(OUT)'

# What one camera costs and how late its events are; of many: swinstream bench cameras --help
bench:
	@scripts/setup.sh dev
	@$(BIN)/swinstream bench cameras --cameras 1 --no-baseline $(ARGS)

# The real service for as long as you like, with everything going wrong that can: ARGS='--seconds 3600 --report soak.md'
soak:
	@scripts/setup.sh dev
	@$(BIN)/python -m tests.faults.soak $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
