# Two commands set everything up on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV     := 0.13.8
AXE    := web-output/node_modules/axe-core/axe.min.js
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
          --no-emit-index-url --no-emit-find-links --no-annotate --no-header
IMAGES := deploy/requirements
# See worker/app.py.
export GOMP_SPINCOUNT ?= 2000
# Accepted by the fault tests on each database.
JOBS   ?= 1000

.PHONY: demo up secrets test test-slow test-faults test-security test-web test-deploy test-gpu check audit sbom format \
        bench bench-privacy bench-hiding bench-attacks lock clean

demo: $(STAMP)  ## protect and restore a real photo through the real service
	$(BIN)/python -m deploy.demo

up: $(STAMP)  ## start every part on this machine; Ctrl-C stops all
	$(BIN)/sider up $(if $(PORT),--port $(PORT))

secrets:  ## passwords for docker-compose.yml, made once, in deploy/secrets; needs nothing but sh
	sh deploy/secrets.sh

test: $(STAMP)  ## everything that takes minutes at most; what .ci/run calls
	$(BIN)/python -m pytest -m "not (slow or faults or security or web or deploy or gpu)"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

test-faults: $(STAMP)  ## kills, cuts and fills every part under load, then audits; writes two sections, too
	$(BIN)/python -m pytest -m faults -s tests/faults --jobs $(JOBS)

test-security: $(STAMP)  ## hostile uploads, every call of the API, secrets in what is left behind; prints a report
	$(BIN)/python -m pytest -m security

test-web: $(STAMP) $(AXE)  ## the pages in a real Chromium; writes web-output/ and the pictures of docs/
	$(BIN)/python -m pytest -m web

test-deploy: $(STAMP)  ## what the Dockerfiles install, in clean environments, on real servers; 7 GB of disk
	$(BIN)/python -m pytest -m deploy -s

test-gpu: $(STAMP)  ## every method on an accelerator; skips, and says so, where there is none
	$(BIN)/python -m pytest -m gpu

# The accessibility checker is for the test only; without npm its part is skipped.
$(AXE):
	-npm install --silent --no-save --prefix web-output axe-core@4.14.1

check: $(STAMP)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(STAMP)  ## known vulnerabilities of the pinned packages; asks an advisory service on the internet
	$(BIN)/pip-audit --requirement requirements.lock --require-hashes --disable-pip

sbom: $(STAMP)  ## what is installed, as CycloneDX in sbom.json; works offline
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file sbom.json

bench: $(STAMP)  ## speed and promise of the engine; writes its section of benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.engine

bench-privacy: $(STAMP)  ## what strangers' networks and eyes make of protected faces; writes another section
	$(BIN)/python -m benchmarks.privacy

bench-hiding: $(STAMP)  ## the methods that hide a face from machines, beside filters and attacks
	$(BIN)/python -m benchmarks.hiding

bench-attacks: $(STAMP)  ## attackers who own pairs, linkage and purification; hours, but it goes on where it stopped
	$(BIN)/python -m benchmarks.attacks

# Reinstalls only when the pins or the extras changed.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

lock:  ## pins of everything, with hashes and without addresses; the images' are among them
	$(COMPILE) --all-extras --output-file requirements.lock
	$(COMPILE) --extra api --extra postgres --extra tracing --constraint requirements.lock --output-file $(IMAGES)/api.lock
	$(COMPILE) --extra worker --extra postgres --extra tracing --constraint requirements.lock --output-file $(IMAGES)/worker-cuda.lock
	awk '/^[a-z]/ {drop = /^(torch|torchvision|triton|nvidia-|cuda-)/} !drop' $(IMAGES)/worker-cuda.lock \
	  > $(IMAGES)/worker-cpu.lock

clean:
	rm -rf $(VENV) sbom.json demo-output web-output .local .mypy_cache .ruff_cache .pytest_cache
