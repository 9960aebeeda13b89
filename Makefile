# make adapt      set up, then adapt the bundled backbone to the embedded sample
# make test       set up, then every check and every test but the slow ones; JOBS=1: one process
# make test-all   the same with the slow proofs; GRAFT_TEST_DATA=DIR adds those on real packs (DIR/data/NAME, DIR/weights)
# make server     set up, then a local Prefect server and a worker with prefect.yaml; PORT=4300: there
# make server-stop  end both, and all that they started

PYTHON ?= python3.11
BIN := .venv/bin

PORT ?= 4200
JOBS ?= 2

.PHONY: adapt test test-all server server-stop check setup lock clean

adapt: .venv/.done
	$(BIN)/graft adapt

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

server: .venv/.done
	$(BIN)/python -m flows.local_server start --port $(PORT)

server-stop:
	$(BIN)/python -m flows.local_server stop

check: .venv/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/.done

# Complete or absent: a set-up that was interrupted starts again.
.venv/.packages: requirements.lock
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

.venv/.done: .venv/.packages pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Writes requirements.lock from what is installed now: versions, no index; CUDA packages only where they exist.
lock:
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v "^pip==" \
		| sed -E '/^(nvidia-|cuda-|triton)/s/$$/ ; sys_platform == "linux" and platform_machine == "x86_64"/' \
		> requirements.lock

clean:
	rm -rf .venv .graft .mypy_cache .ruff_cache .pytest_cache
