# make adapt      set up, then adapt the bundled backbone to the embedded sample
# make test       set up, then every check and every test but the slow ones; JOBS=1: one process
# make test-all   the same with the slow proofs; GRAFT_TEST_DATA=DIR adds those on real packs (DIR/data/NAME, DIR/weights)
# make server     set up, then a local Prefect server and a worker with prefect.yaml; PORT=4300: there
# make server-stop  end both, and all that they started
# make sbom       build/sbom.cdx.json: what a server is made of, as CycloneDX

PYTHON ?= python3.11
BIN := .venv/bin

PORT ?= 4200
JOBS ?= 2

.PHONY: adapt test test-all server server-stop check setup lock sbom clean

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
	$(PYTHON) -m venv --clear --without-pip build/serve
	$(BIN)/python -m pip --python build/serve/bin/python install --quiet --constraint requirements.lock ".[serve]"
	$(BIN)/python -m pip --python build/serve/bin/python freeze --exclude graft > deploy/requirements.lock

# In environments of its own: a list is no reason to set .venv up anew.
sbom:
	$(PYTHON) -m venv --clear --without-pip build/serve
	$(PYTHON) -m venv --clear build/sbom
	build/sbom/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock cyclonedx-bom
	build/sbom/bin/python -m pip --python build/serve/bin/python install --quiet --disable-pip-version-check --no-deps \
		--requirement deploy/requirements.lock .
	build/sbom/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom.cdx.json build/serve/bin/python

clean:
	rm -rf .venv .graft build .mypy_cache .ruff_cache .pytest_cache
